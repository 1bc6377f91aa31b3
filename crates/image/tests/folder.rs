//! The checkpoint folder: what exists, with others writing and reading at the same time.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use rethaw_image::{Compression, Folder, Identity, ImageReader, ImageWriter, PAGE, Result};

fn identity(generation: u64) -> Identity {
    Identity {
        computation: "0123456789abcdef".into(),
        generation,
        agent: 0,
        agents: 1,
    }
}

fn write_image(path: &Path, identity: &Identity) -> Result<()> {
    let mut writer = ImageWriter::create(path, identity, Compression::None)?;
    writer.pages(1, 0, &[identity.generation as u8; 4 * PAGE])?;
    writer.finish().map(drop)
}

fn checkpoint(folder: &Folder, generation: u64) {
    let path = folder.image_path(generation);
    write_image(&path, &identity(generation)).unwrap();
    folder.commit(generation, &[path]).unwrap();
}

fn numbers(folder: &Folder) -> Vec<u64> {
    folder
        .generations()
        .unwrap()
        .iter()
        .map(|generation| generation.number)
        .collect()
}

fn count(path: &Path) -> usize {
    fs::read_dir(path).unwrap().count()
}

#[test]
fn generations_come_newest_first_and_only_committed() {
    let temporary = tempfile::tempdir().unwrap();
    let folder = Folder::create(&temporary.path().join("a/b")).unwrap();
    assert_eq!(
        fs::metadata(folder.path()).unwrap().permissions().mode() & 0o777,
        0o700
    );
    assert_eq!(folder.next_generation().unwrap(), 1);
    for generation in [1, 2, 100_000_000, 9, 10] {
        checkpoint(&folder, generation);
    }
    write_image(&folder.image_path(11), &identity(11)).unwrap();
    assert_eq!(numbers(&folder), [100_000_000, 10, 9, 2, 1]);
    let newest = &folder.generations().unwrap()[0];
    assert_eq!(newest.computation, "0123456789abcdef");
    assert_eq!(
        newest.bytes(),
        fs::metadata(&newest.images[0].path).unwrap().len()
    );
    newest.images[0].open().unwrap().verify(&|_, _| ()).unwrap();
    assert_eq!(folder.next_generation().unwrap(), 100_000_001);
    // Uncommitted 11 is older than the newest: nobody commits it any more.
    folder.prune(2).unwrap();
    assert_eq!(numbers(&folder), [100_000_000, 10]);
    assert_eq!(count(folder.path()), 4);
    folder.prune(0).unwrap();
    assert_eq!(numbers(&folder), [100_000_000]);
}

#[test]
fn pruning_leaves_an_image_that_is_about_to_be_committed() {
    let temporary = tempfile::tempdir().unwrap();
    let folder = Folder::create(temporary.path()).unwrap();
    checkpoint(&folder, 1);
    write_image(&folder.image_path(2), &identity(2)).unwrap();
    let writer = ImageWriter::create(&folder.image_path(3), &identity(3), Compression::None).unwrap();
    fs::write(
        folder.path().join(".ckpt-00000003.rethaw.1-1.partial"),
        "left by the dead",
    )
    .unwrap();
    fs::write(folder.path().join("notes.txt"), "the user's").unwrap();
    folder.prune(1).unwrap();
    folder.commit(2, &[folder.image_path(2)]).unwrap();
    writer.finish().unwrap();
    folder.commit(3, &[folder.image_path(3)]).unwrap();
    assert_eq!(numbers(&folder), [3, 2, 1]);
    assert_eq!(count(folder.path()), 7);
    folder.clear().unwrap();
    assert_eq!(count(folder.path()), 1);
}

#[test]
fn only_what_belongs_together_is_committed() {
    let temporary = tempfile::tempdir().unwrap();
    let folder = Folder::create(temporary.path()).unwrap();
    let none: [&Path; 0] = [];
    assert!(folder.commit(1, &none).is_err());
    assert!(folder.commit(1, &[folder.image_path(1)]).is_err());
    write_image(&folder.image_path(1), &identity(2)).unwrap();
    assert!(folder.commit(1, &[folder.image_path(1)]).is_err());
    let elsewhere = folder.path().join("other.rethaw");
    write_image(&elsewhere, &identity(1)).unwrap();
    assert!(folder.commit(1, &[elsewhere]).is_err());
    let agents = |agent| Identity {
        agent,
        agents: 2,
        ..identity(4)
    };
    let paths = [folder.agent_image_path(4, 1), folder.agent_image_path(4, 0)];
    write_image(&paths[0], &agents(1)).unwrap();
    write_image(&paths[1], &agents(0)).unwrap();
    assert!(folder.commit(4, &paths[..1]).is_err());
    assert!(folder.commit(4, &[&paths[0], &paths[0]]).is_err());
    folder.commit(4, &paths).unwrap();
    let images = folder.generations().unwrap().remove(0).images;
    assert_eq!([&images[1].path, &images[0].path], [&paths[0], &paths[1]]);
}

#[test]
fn damage_is_told_and_older_checkpoints_remain() {
    let temporary = tempfile::tempdir().unwrap();
    let folder = Folder::create(temporary.path()).unwrap();
    (1..=5).for_each(|generation| checkpoint(&folder, generation));
    fs::remove_file(folder.image_path(5)).unwrap();
    fs::OpenOptions::new()
        .write(true)
        .open(folder.image_path(4))
        .unwrap()
        .set_len(100)
        .unwrap();
    fs::write(folder.path().join("ckpt-00000003.manifest"), "nonsense").unwrap();
    let survey = folder.survey().unwrap();
    assert_eq!(numbers(&folder), [2, 1]);
    assert_eq!(
        survey
            .damaged
            .iter()
            .map(|(number, _)| *number)
            .collect::<Vec<_>>(),
        [5, 4, 3]
    );
    assert!(
        survey.damaged[2]
            .1
            .to_string()
            .contains("is not a rethaw manifest")
    );
    // An image of the right size that is not the committed one.
    write_image(&folder.image_path(2), &identity(9)).unwrap();
    let message = folder.generations().unwrap()[0].images[0]
        .open()
        .err()
        .unwrap()
        .to_string();
    assert!(message.contains("is not the image"), "{message}");
    assert_eq!(folder.next_generation().unwrap(), 6);
    checkpoint(&folder, 6);
    folder.prune(1).unwrap();
    assert_eq!(count(folder.path()), 2);
}

#[test]
fn a_finished_computation_says_how() {
    let temporary = tempfile::tempdir().unwrap();
    let folder = Folder::create(temporary.path()).unwrap();
    assert_eq!(folder.finished().unwrap(), None);
    folder.mark_finished("exit status 0").unwrap();
    folder.mark_finished("exit status 3").unwrap();
    assert_eq!(folder.finished().unwrap().as_deref(), Some("exit status 3"));
    folder.clear().unwrap();
    assert_eq!(folder.finished().unwrap(), None);
    assert!(
        Folder::open(&temporary.path().join("missing"))
            .err()
            .unwrap()
            .is_not_found()
    );
}

#[test]
fn two_writers_of_one_name_do_not_mix() {
    let temporary = tempfile::tempdir().unwrap();
    let path = temporary.path().join("ckpt_program.dmtcp");
    let create = |generation| ImageWriter::create(&path, &identity(generation), Compression::None).unwrap();
    let (mut first, mut second) = (create(1), create(2));
    first.pages(1, 0, &[1; PAGE]).unwrap();
    second.pages(1, 0, &[2; PAGE]).unwrap();
    drop(create(3));
    second.finish().unwrap();
    assert_eq!(ImageReader::open(&path).unwrap().identity().generation, 2);
    first.finish().unwrap();
    let reader = ImageReader::open(&path).unwrap();
    assert_eq!(reader.identity().generation, 1);
    reader.verify(&|_, _| ()).unwrap();
    assert_eq!(count(temporary.path()), 1);
}

#[test]
fn a_vanished_folder_is_an_error() {
    let temporary = tempfile::tempdir().unwrap();
    let folder = Folder::create(&temporary.path().join("gone")).unwrap();
    let path = folder.image_path(1);
    let mut writer = ImageWriter::create(&path, &identity(1), Compression::None).unwrap();
    writer.pages(1, 0, &[1; PAGE]).unwrap();
    fs::remove_dir_all(folder.path()).unwrap();
    let error = writer.finish().unwrap_err();
    assert!(
        error.is_not_found() && error.to_string().contains("ckpt-00000001.rethaw"),
        "{error}"
    );
    assert!(ImageWriter::create(&path, &identity(1), Compression::None).is_err());
    assert!(folder.generations().is_err());
}

#[test]
fn a_reader_at_the_same_time_sees_whole_checkpoints() {
    let temporary = tempfile::tempdir().unwrap();
    let folder = Folder::create(temporary.path()).unwrap();
    checkpoint(&folder, 1);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            (2..60).for_each(|generation| {
                checkpoint(&folder, generation);
                folder.prune(2).unwrap();
            });
            done.store(true, Ordering::Relaxed);
        });
        while !done.load(Ordering::Relaxed) {
            let survey = folder.survey().unwrap();
            assert!(survey.damaged.is_empty(), "{:?}", survey.damaged);
            match survey.complete[0].images[0].open() {
                Ok(reader) => reader.verify(&|_, _| ()).unwrap(),
                Err(error) => assert!(error.is_not_found(), "{error}"),
            }
        }
    });
    assert_eq!(numbers(&folder), [59, 58]);
}
