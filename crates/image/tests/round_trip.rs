//! What is written is what is read.
#![allow(clippy::unwrap_used)]

use std::os::unix::fs::PermissionsExt;

use rethaw_image::record::{ComputationV1, DescriptionV1};
use rethaw_image::{Compression, Identity, ImageReader, ImageWriter, PAGE, RunKind, SectionKind};

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
