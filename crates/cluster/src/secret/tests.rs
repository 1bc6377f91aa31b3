#![allow(clippy::unwrap_used)]

use super::*;
use std::os::unix::fs::PermissionsExt;

fn mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
}

fn refusal(path: &Path) -> String {
    Secret::load(path).unwrap_err().to_string()
}

#[test]
fn comes_back_as_it_was_stored() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("secret");
    let (one, two) = (Secret::generate().unwrap(), Secret::generate().unwrap());
    assert!(one != two);
    one.store(&path).unwrap();
    assert!(Secret::load(&path).unwrap() == one);
    two.store(&path).unwrap();
    assert!(Secret::load(&path).unwrap() == two);
    assert_eq!(path.metadata().unwrap().mode() & 0o777, 0o600);
    assert_eq!(
        folder.path().read_dir().unwrap().count(),
        1,
        "nothing else is left"
    );
}

#[test]
fn a_file_that_others_may_use_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("secret");
    Secret::generate().unwrap().store(&path).unwrap();
    for bad in [0o640, 0o604, 0o620, 0o602, 0o610] {
        mode(&path, bad);
        assert!(refusal(&path).contains("others may use it"), "{bad:o}");
    }
    mode(&path, 0o400);
    Secret::load(&path).unwrap();
}

#[test]
fn the_file_of_another_user_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("secret");
    Secret::generate().unwrap().store(&path).unwrap();
    // Only root can give it away; others meet a file of root.
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::chown(&path, Some(1), None).unwrap();
        assert!(refusal(&path).contains("belongs to user 1"));
    } else {
        assert!(refusal(Path::new("/etc/passwd")).contains("belongs to user 0"));
    }
}

#[test]
fn what_is_no_secret_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("secret");
    assert!(refusal(&path).contains("No such file"));
    assert!(refusal(folder.path()).contains("not a file"));
    Secret::generate().unwrap().store(&path).unwrap();
    let whole = std::fs::read(&path).unwrap();
    for length in 0..whole.len() {
        std::fs::write(&path, &whole[..length]).unwrap();
        // Cut between two fields it is still a record, but lacks one.
        assert!(refusal(&path).contains("damaged"), "{length}");
    }
}

#[test]
fn a_link_left_by_somebody_is_not_followed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("secret");
    let elsewhere = folder.path().join("elsewhere");
    let partial = folder.path().join(format!("secret.{}.tmp", std::process::id()));
    std::os::unix::fs::symlink(&elsewhere, &partial).unwrap();
    Secret::generate().unwrap().store(&path).unwrap();
    assert!(!elsewhere.exists());
}

#[test]
fn debug_does_not_show_it() {
    let secret = Secret::generate().unwrap();
    assert_eq!(format!("{secret:?}"), "Secret");
}
