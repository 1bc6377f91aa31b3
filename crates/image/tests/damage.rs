//! No change to an image goes unnoticed, and none makes the reader panic.
#![allow(clippy::unwrap_used)]

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use rethaw_image::record::{ComputationV1, PipeV1};
use rethaw_image::{Compression, Error, Identity, ImageReader, ImageWriter, PAGE, Result, SectionKind};

/// A small image with everything in it: raw, packed and zero pages, records, padding.
fn sample(folder: &Path, compression: Compression) -> PathBuf {
    let path = folder.join("image");
    let identity = Identity {
        computation: "0123456789abcdef".into(),
        generation: 1,
        agent: 0,
        agents: 1,
    };
    let mut writer = ImageWriter::create(&path, &identity, compression).unwrap();
    let pipe = PipeV1 {
        packets: vec![b"in flight".to_vec()],
        ..PipeV1::default()
    };
    writer.record(SectionKind::Pipe, &pipe).unwrap();
    let mut state = 1_u32;
    let noise = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    let noise: Vec<u8> = (0..PAGE).map(noise).collect();
    writer.pages(1, 0, &vec![0; 5 * PAGE]).unwrap();
    writer.pages(1, 1 << 20, &vec![3; 2 * PAGE]).unwrap();
    writer.pages(2, 0, &noise).unwrap();
    let computation = ComputationV1 {
        id: "0123456789abcdef".into(),
        ..ComputationV1::default()
    };
    writer.record(SectionKind::Computation, &computation).unwrap();
    writer.finish().unwrap();
    path
}

fn read_all(path: &Path) -> Result<()> {
    let reader = ImageReader::open(path)?;
    reader.records::<ComputationV1>(SectionKind::Computation)?;
    reader.records::<PipeV1>(SectionKind::Pipe)?;
    reader.verify(&|_, _| ())
}

#[test]
fn every_changed_byte_is_found() {
    let folder = tempfile::tempdir().unwrap();
    for compression in [Compression::None, Compression::Zstd] {
        let path = sample(folder.path(), compression);
        let whole = fs::read(&path).unwrap();
        read_all(&path).unwrap();
        let file = OpenOptions::new().write(true).open(&path).unwrap();
        for (at, byte) in whole.iter().enumerate() {
            let changed = byte ^ (1 << (at % 8));
            file.write_all_at(&[changed], at as u64).unwrap();
            assert!(read_all(&path).is_err(), "byte {at} of {}", whole.len());
            file.write_all_at(&[*byte], at as u64).unwrap();
        }
        read_all(&path).unwrap();
    }
}

#[test]
fn every_truncation_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let path = sample(folder.path(), Compression::Zstd);
    let file = OpenOptions::new().write(true).open(&path).unwrap();
    let whole = fs::metadata(&path).unwrap().len();
    file.set_len(whole + 1).unwrap();
    assert!(ImageReader::open(&path).is_err());
    for len in (0..whole).rev() {
        file.set_len(len).unwrap();
        let error = ImageReader::open(&path).err().unwrap();
        assert!(
            len < 8 || error.to_string().contains("is truncated"),
            "{len}: {error}"
        );
    }
}

#[test]
fn a_file_that_shrinks_under_the_reader_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = sample(folder.path(), Compression::None);
    let reader = ImageReader::open(&path).unwrap();
    OpenOptions::new()
        .write(true)
        .open(&path)
        .unwrap()
        .set_len(5000)
        .unwrap();
    assert!(reader.verify(&|_, _| ()).is_err());
}

#[test]
fn what_is_not_an_image_is_said_to_be_none() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("text");
    fs::write(&path, vec![b'x'; 10_000]).unwrap();
    assert!(matches!(ImageReader::open(&path), Err(Error::Foreign { .. })));
    fs::write(&path, b"").unwrap();
    assert!(matches!(ImageReader::open(&path), Err(Error::Foreign { .. })));
    assert!(matches!(
        ImageReader::open(folder.path()),
        Err(Error::Foreign { .. })
    ));
    assert!(matches!(
        ImageReader::open(Path::new("/dev/zero")),
        Err(Error::Foreign { .. })
    ));
    let missing = ImageReader::open(&folder.path().join("missing")).err().unwrap();
    assert!(missing.is_not_found() && missing.to_string().contains("missing"));
}

proptest! {
    #[test]
    fn garbage_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..9000), magic in any::<bool>()) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("garbage");
        let start: &[u8] = if magic { b"\x89RTHW\r\n\x1a\x01\0\0\0" } else { b"" };
        fs::write(&path, [start, &bytes].concat()).unwrap();
        prop_assert!(read_all(&path).is_err());
    }

    #[test]
    fn several_changes_are_found(changes in proptest::collection::vec((any::<proptest::sample::Index>(), 1_u8..), 1..6)) {
        let folder = tempfile::tempdir().unwrap();
        let path = sample(folder.path(), Compression::Zstd);
        let whole = fs::read(&path).unwrap();
        let mut changed = whole.clone();
        for (at, bits) in changes {
            changed[at.index(whole.len())] ^= bits;
        }
        prop_assume!(changed != whole);
        fs::write(&path, changed).unwrap();
        prop_assert!(read_all(&path).is_err());
    }
}
