//! A file system that is really full: a small tmpfs in namespaces of our own.
#![allow(clippy::unwrap_used)]

use std::process::Command;

use rethaw_image::{Compression, Folder, Identity, ImageWriter, MAX_RUN, Result};

const INSIDE: &str = "RETHAW_TEST_SMALL_DISK";

fn checkpoint(folder: &Folder, generation: u64, megabytes: u64) -> Result<()> {
    let identity = Identity {
        computation: "0123456789abcdef".into(),
        generation,
        agent: 0,
        agents: 1,
    };
    let path = folder.image_path(generation);
    let mut writer = ImageWriter::create(&path, &identity, Compression::None)?;
    for at in 0..megabytes {
        writer.pages(1, at << 20, &vec![1; MAX_RUN])?;
    }
    writer.finish()?;
    folder.commit(generation, &[path])
}

#[test]
fn a_full_disk_costs_only_the_checkpoint_being_written() {
    if let Some(path) = std::env::var_os(INSIDE) {
        return inside(&Folder::open(path.as_ref()).unwrap());
    }
    let temporary = tempfile::tempdir().unwrap();
    let script = r#"mount -t tmpfs -o size=4m none "$1" && RETHAW_TEST_SMALL_DISK="$1" exec "$2" --exact a_full_disk_costs_only_the_checkpoint_being_written"#;
    let sandbox = Command::new("unshare").args(["-Urm", "true"]).status();
    if !sandbox.is_ok_and(|status| status.success()) {
        eprintln!("skipped: no user namespaces (unshare -Urm) here");
        return;
    }
    let status = Command::new("unshare")
        .args(["-Urm", "sh", "-c", script, "sh"])
        .arg(temporary.path())
        .arg(std::env::current_exe().unwrap())
        .status()
        .unwrap();
    assert!(status.success());
}

fn inside(folder: &Folder) {
    checkpoint(folder, 1, 1).unwrap();
    for _ in 0..3 {
        let message = checkpoint(folder, 2, 8).unwrap_err().to_string();
        assert!(
            message.contains("ckpt-00000002") && message.contains("No space left"),
            "{message}"
        );
        let names = std::fs::read_dir(folder.path()).unwrap().count();
        assert_eq!(names, 2, "nothing of it is left");
    }
    let generations = folder.generations().unwrap();
    assert_eq!(generations.len(), 1);
    generations[0].images[0]
        .open()
        .unwrap()
        .verify(&|_, _| ())
        .unwrap();
    checkpoint(folder, 2, 1).unwrap();
    assert_eq!(folder.generations().unwrap().len(), 2);
}
