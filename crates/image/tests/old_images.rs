//! Images written by earlier versions of the format are read for ever.
#![allow(clippy::unwrap_used)]

use std::path::Path;

use rethaw_image::record::{ComputationV1, PipeV1};
use rethaw_image::{Compression, Identity, ImageReader, ImageWriter, PAGE, RunKind, SectionKind};

fn identity() -> Identity {
    Identity {
        computation: "0123456789abcdef".into(),
        generation: 3,
        agent: 0,
        agents: 1,
    }
}

/// What is in `images/v1.rethaw`.
fn write(path: &Path) {
    let mut writer = ImageWriter::create(path, &identity(), Compression::Zstd).unwrap();
    let pipe = PipeV1 {
        packet_mode: false,
        pipe: 1,
        capacity: 65536,
        packets: vec![b"in flight".to_vec()],
        ..PipeV1::default()
    };
    writer.record(SectionKind::Pipe, &pipe).unwrap();
    writer.pages(1, 0x7000_0000_0000, &[0; 5 * PAGE]).unwrap();
    writer.pages(1, 0x7000_0010_0000, &[3; 2 * PAGE]).unwrap();
    writer.pages(2, 0, &noise()).unwrap();
    let computation = ComputationV1 {
        id: identity().computation,
        main_pid: 42,
        ..ComputationV1::default()
    };
    writer.record(SectionKind::Computation, &computation).unwrap();
    writer.finish().unwrap();
}

/// A page that does not compress.
fn noise() -> Vec<u8> {
    let mut state = 1_u32;
    let next = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    (0..PAGE).map(next).collect()
}

fn check(path: &Path) {
    let reader = ImageReader::open(path).unwrap();
    reader.verify(&|_, _| ()).unwrap();
    assert_eq!(*reader.identity(), identity());
    let computation = reader
        .records::<ComputationV1>(SectionKind::Computation)
        .unwrap()
        .remove(0);
    assert_eq!(
        (computation.id.as_str(), computation.main_pid),
        ("0123456789abcdef", 42)
    );
    let pipe = reader.records::<PipeV1>(SectionKind::Pipe).unwrap().remove(0);
    assert_eq!(
        (pipe.capacity, pipe.packets),
        (65536, vec![b"in flight".to_vec()])
    );
    let memory = reader.runs(1).unwrap();
    let shape: Vec<_> = memory
        .iter()
        .map(|run| (run.start, run.pages, run.kind))
        .collect();
    assert_eq!(
        shape,
        [
            (0x7000_0000_0000, 5, RunKind::Zero),
            (0x7000_0010_0000, 2, RunKind::Data)
        ]
    );
    let mut buffer = Vec::new();
    reader.read_run(&memory[1], &mut buffer).unwrap();
    assert_eq!(buffer, [3; 2 * PAGE]);
    reader.read_run(&reader.runs(2).unwrap()[0], &mut buffer).unwrap();
    assert_eq!(buffer, noise());
}

#[test]
fn version_1_is_read() {
    check(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/images/v1.rethaw"));
}

#[test]
fn what_is_written_now_reads_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("now.rethaw");
    write(&path);
    check(&path);
    // To add the first image of a new version: RETHAW_KEEP_IMAGE=tests/images/vN.rethaw
    if let Some(keep) = std::env::var_os("RETHAW_KEEP_IMAGE") {
        assert!(!Path::new(&keep).exists(), "old images are never rewritten");
        std::fs::copy(&path, keep).unwrap();
    }
}
