//! Every step that changes the file system fails, and is the last one before a crash, in turn.
#![allow(clippy::unwrap_used)]

use std::path::Path;

use crate::fault::{Fault, run_with};
use crate::record::ComputationV1;
use crate::{Compression, Folder, Identity, ImageReader, ImageWriter, PAGE, Result, SectionKind};

fn write_image(path: &Path, generation: u64) -> Result<()> {
    let identity = Identity {
        computation: "00000000deadbeef".into(),
        generation,
        agent: 0,
        agents: 1,
    };
    let mut writer = ImageWriter::create(path, &identity, Compression::None)?;
    writer.record(SectionKind::Computation, &ComputationV1::default())?;
    // Large enough for a write of its own in the middle.
    writer.pages(1, 0, &vec![generation as u8; 80 * PAGE])?;
    writer.pages(1, 1 << 30, &vec![1; 3 * PAGE])?;
    writer.finish().map(drop)
}

fn checkpoint(folder: &Folder, generation: u64) -> Result<()> {
    let path = folder.image_path(generation);
    write_image(&path, generation)?;
    folder.commit(generation, &[path])
}

fn names(path: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(path)
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// Numbers of the complete generations, all of which must be sound.
fn sound_generations(path: &Path) -> Vec<u64> {
    let survey = Folder::open(path).unwrap().survey().unwrap();
    assert!(survey.damaged.is_empty(), "{:?}", survey.damaged);
    for image in survey.complete.iter().flat_map(|generation| &generation.images) {
        image.open().unwrap().verify(&|_, _| ()).unwrap();
    }
    survey
        .complete
        .iter()
        .map(|generation| generation.number)
        .collect()
}

/// Runs `work` on a folder with generations 1 and 2, once for each step of it and each fault, until it
/// has no further step. `check` sees the fault, the outcome and the folder.
fn at_every_step(work: impl Fn(&Folder) -> Result<()>, check: impl Fn(Fault, Result<()>, &Folder)) {
    for fault in [Fault::Fails, Fault::Crash] {
        for step in 0.. {
            let temporary = tempfile::tempdir().unwrap();
            let folder = Folder::create(temporary.path()).unwrap();
            checkpoint(&folder, 1).unwrap();
            checkpoint(&folder, 2).unwrap();
            let (outcome, reached) = run_with(fault, step, || work(&folder));
            if !reached {
                assert!(step > 0);
                outcome.unwrap();
                break;
            }
            check(fault, outcome, &folder);
        }
    }
}

#[test]
fn an_image_is_complete_or_the_old_one_stays() {
    let work = |folder: &Folder| write_image(&folder.image_path(2), 5);
    at_every_step(work, |fault, outcome, folder| {
        let image = ImageReader::open(&folder.image_path(2)).unwrap();
        image.verify(&|_, _| ()).unwrap();
        let generation = image.identity().generation;
        assert!(generation == 2 || generation == 5);
        assert!(outcome.is_err());
        if fault == Fault::Fails {
            assert_eq!(names(folder.path()).len(), 4, "no partial file is left");
        }
        // What a crash left is removed by the next writer of that name.
        write_image(&folder.image_path(2), 2).unwrap();
        assert_eq!(names(folder.path()).len(), 4);
    });
}

#[test]
fn a_checkpoint_exists_or_does_not() {
    at_every_step(
        |folder| checkpoint(folder, 3),
        |_, _, folder| {
            let found = sound_generations(folder.path());
            assert!(found == [2, 1] || found == [3, 2, 1], "{found:?}");
            let next = folder.next_generation().unwrap();
            checkpoint(folder, next).unwrap();
            folder.prune(1).unwrap();
            assert_eq!(sound_generations(folder.path()), [next]);
            assert_eq!(names(folder.path()).len(), 2, "{:?}", names(folder.path()));
        },
    );
}

#[test]
fn pruning_keeps_the_newest_at_every_step() {
    at_every_step(
        |folder| folder.prune(1),
        |_, _, folder| {
            let found = sound_generations(folder.path());
            assert!(found == [2, 1] || found == [2], "{found:?}");
            folder.prune(1).unwrap();
            assert_eq!(
                names(folder.path()),
                ["ckpt-00000002.manifest", "ckpt-00000002.rethaw"]
            );
        },
    );
}

#[test]
fn clearing_in_part_stays_finished() {
    let work = |folder: &Folder| {
        folder.mark_finished("exit status 0")?;
        folder.clear()
    };
    at_every_step(work, |_, _, folder| {
        let found = sound_generations(folder.path());
        let finished = folder.finished().unwrap();
        assert!(
            found.is_empty() || found == [2, 1] || finished.is_some(),
            "{found:?}"
        );
        if let Some(text) = finished {
            assert_eq!(text, "exit status 0");
        }
        folder.clear().unwrap();
        assert!(names(folder.path()).is_empty(), "{:?}", names(folder.path()));
    });
}

#[test]
fn a_failed_write_cannot_be_finished() {
    let temporary = tempfile::tempdir().unwrap();
    let path = temporary.path().join("image");
    let identity = Identity {
        computation: "00000000deadbeef".into(),
        generation: 1,
        agent: 0,
        agents: 1,
    };
    let mut writer = ImageWriter::create(&path, &identity, Compression::None).unwrap();
    let megabyte = vec![1; crate::MAX_RUN];
    let (outcome, _) = run_with(Fault::Fails, 0, || writer.pages(1, 0, &megabyte));
    let message = outcome.unwrap_err().to_string();
    assert!(
        message.contains("image") && message.contains("No space left"),
        "{message}"
    );
    assert!(writer.finish().is_err());
    assert!(names(temporary.path()).is_empty());
}
