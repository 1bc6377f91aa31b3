//! What is written is what is read.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;

use proptest::prelude::*;
use rethaw_image::record::{ComputationV1, DescriptionV1, PipeV1};
use rethaw_image::{Compression, Identity, ImageReader, ImageWriter, MAX_RUN, PAGE, RunKind, SectionKind};

fn identity() -> Identity {
    Identity {
        computation: "0123456789abcdef".into(),
        generation: 7,
        agent: 0,
        agents: 1,
    }
}

#[test]
fn pages_and_records_come_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("one.rethaw");
    for compression in [Compression::None, Compression::Zstd] {
        let mut writer = ImageWriter::create(&path, &identity(), compression).unwrap();
        let mut data = vec![0; 10 * PAGE];
        data[3 * PAGE..5 * PAGE].fill(1);
        writer.pages(1, 0x7000_0000, &data).unwrap();
        writer.pages(2, 0, &vec![7; 3 * PAGE]).unwrap();
        let computation = ComputationV1 {
            id: "x".into(),
            ..ComputationV1::default()
        };
        writer.record(SectionKind::Computation, &computation).unwrap();
        for id in 0..3 {
            let record = DescriptionV1 {
                id,
                ..DescriptionV1::default()
            };
            writer.record(SectionKind::Description, &record).unwrap();
        }
        assert!(!path.exists() || compression == Compression::Zstd);
        let summary = writer.finish().unwrap();
        assert_eq!(summary.bytes, std::fs::metadata(&path).unwrap().len());
        assert_eq!((summary.memory_pages, summary.zero_pages), (13, 8));
        assert_eq!(
            std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );

        let reader = ImageReader::open(&path).unwrap();
        assert_eq!(*reader.identity(), identity());
        assert_eq!(
            reader.records::<ComputationV1>(SectionKind::Computation).unwrap(),
            [computation]
        );
        let ids = reader.records::<DescriptionV1>(SectionKind::Description).unwrap();
        assert_eq!(ids.iter().map(|d| d.id).collect::<Vec<_>>(), [0, 1, 2]);
        let runs = reader.runs(1).unwrap();
        let shape: Vec<_> = runs.iter().map(|run| (run.start, run.pages, run.kind)).collect();
        let expected = [
            (0x7000_0000, 3, RunKind::Zero),
            (0x7000_3000, 2, RunKind::Data),
            (0x7000_5000, 5, RunKind::Zero),
        ];
        assert_eq!(shape, expected);
        let mut buffer = Vec::new();
        reader.read_run(&runs[1], &mut buffer).unwrap();
        assert_eq!(buffer, vec![1; 2 * PAGE]);
        assert!(reader.runs(9).unwrap().is_empty());
        reader.verify(&|done, total| assert!(done <= total)).unwrap();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}

/// What a page is filled with: zeros, text-like, or noise.
fn fill(sort: u8, seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    match sort {
        0 => vec![0; PAGE],
        1 => (0..PAGE)
            .map(|at| if at % 16 == 0 { next() } else { at as u8 % 16 + 1 })
            .collect(),
        _ => (0..PAGE).map(|_| next()).collect(),
    }
}

/// One call of `pages`: stream, first page, sort of each page.
type Call = (u32, u64, Vec<u8>);

fn calls() -> impl Strategy<Value = Vec<Call>> {
    let sorts = prop_oneof![
        proptest::collection::vec(0_u8..3, 0..12),
        (0_u8..3, 1_usize..=MAX_RUN / PAGE).prop_map(|(sort, pages)| vec![sort; pages]),
    ];
    // Neighbours and gaps, each page at most once: calls of a stream follow each other.
    proptest::collection::vec((0_u32..3, 0_u64..3, sorts), 0..12).prop_map(|raw| {
        let mut next = BTreeMap::new();
        let place = |(stream, gap, sorts): Call| {
            let at = next.entry(stream).or_insert(u64::from(stream) << 30);
            let start = *at + gap.saturating_sub(1);
            *at = start + sorts.len() as u64;
            (stream, start, sorts)
        };
        raw.into_iter().map(place).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_written_is_read(
        mut calls in calls(),
        zstd in any::<bool>(),
        backwards in any::<bool>(),
        packets in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 0..5),
    ) {
        if backwards {
            calls.reverse();
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("image");
        let compression = if zstd { Compression::Zstd } else { Compression::None };
        let mut writer = ImageWriter::create(&path, &identity(), compression).unwrap();
        let mut expected: BTreeMap<(u32, u64), Vec<u8>> = BTreeMap::new();
        let mut pipes = Vec::new();
        for (number, (stream, first, sorts)) in calls.iter().enumerate() {
            let pages: Vec<Vec<u8>> = sorts.iter().zip(number as u64 * 1000..).map(|(s, n)| fill(*s, n)).collect();
            writer.pages(*stream, first * PAGE as u64, &pages.concat()).unwrap();
            expected.extend(pages.into_iter().zip(*first..).map(|(page, at)| ((*stream, at), page)));
            let pipe = PipeV1 { pipe: number as u32, packets: packets.clone(), ..PipeV1::default() };
            writer.record(SectionKind::Pipe, &pipe).unwrap();
            pipes.push(pipe);
        }
        let before = writer.bytes_written();
        let summary = writer.finish().unwrap();
        prop_assert!(before <= summary.bytes);
        prop_assert_eq!(summary.memory_pages, expected.len() as u64);

        let reader = ImageReader::open(&path).unwrap();
        prop_assert_eq!(reader.records::<PipeV1>(SectionKind::Pipe).unwrap(), pipes);
        let mut found = BTreeMap::new();
        let mut buffer = vec![9; 100];
        for stream in reader.streams() {
            for run in reader.runs(stream).unwrap() {
                reader.read_run(run, &mut buffer).unwrap();
                if run.kind == RunKind::Zero {
                    prop_assert!(buffer.is_empty());
                    buffer.resize(run.bytes() as usize, 0);
                }
                prop_assert_eq!(buffer.len() as u64, run.bytes());
                for (page, at) in buffer.chunks(PAGE).zip(run.start / PAGE as u64..) {
                    found.insert((stream, at), page.to_vec());
                }
                if let Some(offset) = run.raw_offset() {
                    prop_assert_eq!(offset % PAGE as u64, 0);
                }
            }
        }
        prop_assert!(found == expected);
        reader.verify(&|done, total| assert!(done <= total)).unwrap();
    }
}

#[test]
fn pages_of_another_stream_take_no_room_and_come_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("image");
    let page = PAGE as u64;
    let mut writer = ImageWriter::create(&path, &identity(), Compression::Zstd).unwrap();
    let first: Vec<u8> = (0..8).flat_map(|n| fill((n % 3) as u8, n + 1)).collect();
    writer.pages(1, 0, &first).unwrap();
    writer.same_pages(2, 0, 3 * page, 1).unwrap();
    writer.pages(2, 3 * page, &fill(2, 77)).unwrap();
    writer.same_pages(2, 4 * page, 2 * page, 1).unwrap();
    writer.same_pages(2, 6 * page, page, 1).unwrap();
    writer.same_pages(3, 2 * page, 4 * page, 2).unwrap();
    let summary = writer.finish().unwrap();
    assert_eq!(summary.memory_pages, 8 + 7 + 4);
    assert!(summary.bytes < 15 * page);

    let reader = ImageReader::open(&path).unwrap();
    reader.verify(&|_, _| ()).unwrap();
    let contents = |stream: u32| {
        let mut bytes = vec![0xee; 8 * PAGE];
        let mut buffer = Vec::new();
        for piece in reader.pieces(stream).unwrap() {
            let target = &mut bytes[piece.start as usize..piece.end as usize];
            match reader.read_piece(&piece, &mut buffer).unwrap() {
                [] => target.fill(0),
                read => target.copy_from_slice(read),
            }
        }
        bytes
    };
    let mut second = first.clone();
    second[3 * PAGE..4 * PAGE].copy_from_slice(&fill(2, 77));
    second[7 * PAGE..].fill(0xee);
    let mut third = second.clone();
    third[..2 * PAGE].fill(0xee);
    third[6 * PAGE..].fill(0xee);
    assert!(contents(1) == first && contents(2) == second && contents(3) == third);
    let sizes = reader.sizes().unwrap();
    let same: Vec<u64> = sizes
        .streams
        .iter()
        .map(|stream| stream.same_bytes / page)
        .collect();
    assert_eq!(same, [0, 6, 4]);
    assert_eq!(reader.runs(2).unwrap().len(), 3);
}

#[test]
fn pages_that_another_stream_does_not_have_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("image");
    let page = PAGE as u64;
    let mut writer = ImageWriter::create(&path, &identity(), Compression::None).unwrap();
    assert!(writer.same_pages(2, 0, page, 2).is_err());
    assert!(writer.same_pages(2, 0, 100, 1).is_err());
    writer.pages(1, 0, &fill(1, 1)).unwrap();
    writer.same_pages(2, 0, 2 * page, 1).unwrap();
    assert!(writer.finish().is_err());
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn what_compresses_is_small_and_what_does_not_is_raw() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("image");
    let mut writer = ImageWriter::create(&path, &identity(), Compression::Zstd).unwrap();
    let text: Vec<u8> = (0..256).flat_map(|n| fill(1, n)).collect();
    let noise: Vec<u8> = (0..256).flat_map(|n| fill(2, n)).collect();
    writer.pages(1, 0, &text).unwrap();
    writer.pages(2, 0, &noise).unwrap();
    writer.finish().unwrap();
    let sizes = ImageReader::open(&path).unwrap().sizes().unwrap();
    assert_eq!(sizes.streams[0].data_bytes, MAX_RUN as u64);
    assert!(sizes.streams[0].stored_bytes < MAX_RUN as u64 / 2);
    assert_eq!(sizes.streams[1].stored_bytes, MAX_RUN as u64);
}

#[test]
fn small_pieces_become_large_frames() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("image");
    let mut writer = ImageWriter::create(&path, &identity(), Compression::None).unwrap();
    for at in 0..512 {
        writer.pages(1, at * PAGE as u64, &fill(2, at)).unwrap();
    }
    writer.finish().unwrap();
    let reader = ImageReader::open(&path).unwrap();
    let runs = reader.runs(1).unwrap();
    assert_eq!(runs.len(), 2);
    assert_eq!(
        runs[0].raw_offset().unwrap() + runs[0].bytes(),
        runs[1].raw_offset().unwrap()
    );
}

#[test]
fn what_an_image_cannot_hold_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("image");
    let mut writer = ImageWriter::create(&path, &identity(), Compression::None).unwrap();
    assert!(writer.pages(1, 1, &[0; PAGE]).is_err());
    assert!(writer.pages(1, 0, &[0; 100]).is_err());
    assert!(writer.pages(1, 0, &vec![0; MAX_RUN + PAGE]).is_err());
    assert!(writer.pages(1, u64::MAX - 4095, &[0; PAGE]).is_err());
    writer.pages(1, 0, &[1; 2 * PAGE]).unwrap();
    writer.pages(1, PAGE as u64, &[0; PAGE]).unwrap();
    let message = writer.finish().unwrap_err().to_string();
    assert!(message.contains("given twice"), "{message}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    for wrong in [
        Identity {
            computation: "short".into(),
            ..identity()
        },
        Identity {
            generation: 0,
            ..identity()
        },
        Identity {
            agent: 1,
            ..identity()
        },
    ] {
        assert!(ImageWriter::create(&path, &wrong, Compression::None).is_err());
    }
}

#[test]
fn a_reader_is_shared_by_threads() {
    fn shared<T: Send + Sync>() {}
    shared::<ImageReader>();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("image");
    let mut writer = ImageWriter::create(&path, &identity(), Compression::Zstd).unwrap();
    for at in 0..64 {
        writer.pages(1, at * 2 * PAGE as u64, &fill(1, at)).unwrap();
    }
    writer.finish().unwrap();
    let reader = ImageReader::open(&path).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut buffer = Vec::new();
                for (run, at) in reader.runs(1).unwrap().iter().zip(0..) {
                    reader.read_run(run, &mut buffer).unwrap();
                    assert_eq!(buffer, fill(1, at));
                }
            });
        }
    });
}
