//! Named files whose contents are in the image: what is at their place at the restart, and what follows.

use super::{born_ns, contents, name_of};
use crate::error::Error;
use crate::resource::file::{Held, path_of};
use crate::restart::{Files, Places};
use crate::{Result, mtime_ns};
use rethaw_image::ImageReader;
use rethaw_image::record::{FileIdentityV1, SharedObjectV1};
use rustix::fs::{Access, OFlags, access};
use std::fs::{File, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Extended attribute of a file that a restart made again: the identity of the computation that it belongs to, by
/// which a second restart knows it.
pub(crate) const MARK: &str = "user.rethaw";

/// Where an object comes from at the restart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Placement {
    /// The file is there as it was, or is taken as it is.
    There,
    /// It is there, and gets back its contents of the checkpoint when everything else is done.
    PutBack,
    /// It is gone, and is made again under its name.
    Made,
    /// It comes back from the image without a name: it had none, or another file has it now that is not to be
    /// touched, or its folder cannot be written to.
    Nameless,
}

/// Decides about one object. Changes nothing.
///
/// # Errors
/// When the program could write to the file and another one is there now: whose it is, only the user knows.
pub(crate) fn place(
    record: &SharedObjectV1,
    computation: &str,
    files: Files,
    places: &Places,
    reader: Option<&ImageReader>,
    held: &mut Held,
    warnings: &mut Vec<String>,
) -> Result<Placement> {
    let Some(saved) = record.ghost.as_ref().filter(|_| record.named) else {
        if record.linked_elsewhere {
            warnings.push(format!(
                "{} was deleted, but had another name that was not found: the program goes on with a copy of it",
                name_of(record)
            ));
        }
        return Ok(Placement::Nameless);
    };
    let path = places.path(&saved.path);
    let Ok(now) = held.look(&path) else {
        return Ok(placement_of_gone(record, places, &path, warnings));
    };
    let readable = now.is_file().then(|| held.open(&path, OFlags::RDONLY).ok());
    let file = readable.flatten().map(File::from);
    let as_it_was = now.is_file() && now.size() == saved.size && mtime_ns(&now) == saved.mtime_ns;
    let same = now.is_file() && is_same(saved, &now, file.as_ref());
    let contents = || {
        file.as_ref()
            .is_some_and(|file| contents::begins_as(file, record, reader))
    };
    if !record.writable {
        let taken = as_it_was
            || !record.mapped_private && (same || files == Files::Keep)
            || now.size() == saved.size && contents();
        if !taken {
            warnings.push(format!(
                "{} has changed since the checkpoint: the program goes on with its old contents, from the image",
                path.display()
            ));
        }
        return Ok(if taken {
            Placement::There
        } else {
            Placement::Nameless
        });
    }
    let ours = || same || file.as_ref().is_some_and(|f| has_mark(f, computation));
    match files {
        Files::Keep => Ok(Placement::There),
        _ if as_it_was && !record.mapped_writable => Ok(Placement::There),
        Files::Refuse if !as_it_was => Err(changed(&path, "has changed since the checkpoint")),
        _ if now.is_file() && (ours() || contents()) => Ok(Placement::PutBack),
        _ => Err(changed(&path, "is another file than the program had")),
    }
}

pub(super) fn changed(path: &Path, what: &str) -> Error {
    Error::CannotRestart {
        what: format!("{} {what}", path.display()),
        remedy: "move it away, then it is made again from the image; or take it as it is with --files keep"
            .to_owned(),
    }
}

/// The inode number may be used again; the time when the file was made tells.
fn is_same(saved: &FileIdentityV1, now: &Metadata, file: Option<&File>) -> bool {
    let born = file.map_or(0, born_ns);
    (now.dev(), now.ino()) == (saved.dev, saved.ino)
        && (born == 0 || saved.born_ns == 0 || born == saved.born_ns)
}

fn has_mark(file: &File, computation: &str) -> bool {
    let mut value = vec![0; computation.len() + 1];
    rustix::fs::fgetxattr(file, MARK, &mut value).is_ok_and(|len| value[..len] == *computation.as_bytes())
}

/// Made again, if one of its folders is there and can be written to.
fn placement_of_gone(
    record: &SharedObjectV1,
    places: &Places,
    path: &Path,
    warnings: &mut Vec<String>,
) -> Placement {
    if record.spare && !record.writable {
        warnings.push(format!(
            "{} is gone: the program goes on with its contents, from the image",
            path.display()
        ));
        return Placement::Nameless;
    }
    let known = |folder: &Path| record.folders.iter().any(|f| places.path(&f.path) == *folder);
    let mut folder = path.parent();
    // The folders that are missing have to be among those that the record knows.
    while let Some(missing) = folder.filter(|folder| !folder.is_dir()) {
        if !known(missing) {
            break;
        }
        folder = missing.parent();
    }
    if folder.is_some_and(|f| f.is_dir() && access(f, Access::WRITE_OK | Access::EXEC_OK).is_ok()) {
        return Placement::Made;
    }
    warnings.push(cannot_be_made(path));
    Placement::Nameless
}

pub(super) fn cannot_be_made(path: &Path) -> String {
    format!(
        "{} is gone and cannot be made again there: the program goes on with it, but it has no name any more",
        path.display()
    )
}

/// Where a named object is.
pub(super) fn path(record: &SharedObjectV1, places: &Places) -> std::path::PathBuf {
    match &record.ghost {
        Some(ghost) => places.path(&ghost.path),
        None => path_of(&record.name),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::fs;

    /// A saved file, after something was done to it, and what was decided.
    fn decide(writable: bool, files: Files, change: impl Fn(&Path)) -> (Result<Placement>, usize) {
        static NUMBER: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("rethaw-home-{}-{number}", std::process::id()));
        fs::create_dir(&folder).unwrap();
        let path = folder.join("file");
        fs::write(&path, "text").unwrap();
        let file = File::open(&path).unwrap();
        let mut saved = crate::file_identity(&path);
        saved.born_ns = born_ns(&file);
        let record = SharedObjectV1 {
            ghost: Some(saved),
            named: true,
            writable,
            ..SharedObjectV1::default()
        };
        change(&path);
        let mut warnings = Vec::new();
        let decided = place(
            &record,
            "0123456789abcdef",
            files,
            &Places::default(),
            None,
            &mut Held::default(),
            &mut warnings,
        );
        fs::remove_dir_all(&folder).unwrap();
        (decided, warnings.len())
    }

    fn change(path: &Path) {
        let file = File::options().write(true).open(path).unwrap();
        file.set_len(2).unwrap();
    }

    fn replace(path: &Path) {
        fs::write(path.with_extension("new"), "another").unwrap();
        fs::rename(path.with_extension("new"), path).unwrap();
    }

    #[test]
    fn what_is_there_as_it_was_is_taken() {
        for writable in [false, true] {
            let (decided, warnings) = decide(writable, Files::Rewind, |_| {});
            assert_eq!((decided.unwrap(), warnings), (Placement::There, 0));
        }
    }

    #[test]
    fn what_is_gone_is_made_again() {
        let (decided, warnings) = decide(true, Files::Rewind, |path| fs::remove_file(path).unwrap());
        assert_eq!((decided.unwrap(), warnings), (Placement::Made, 0));
        let (decided, warnings) = decide(true, Files::Rewind, |path| {
            fs::remove_dir_all(path.parent().unwrap()).unwrap();
            fs::create_dir(path.parent().unwrap()).unwrap();
            let read_only = std::os::unix::fs::PermissionsExt::from_mode(0o500);
            fs::set_permissions(path.parent().unwrap(), read_only).unwrap();
        });
        if !rustix::process::geteuid().is_root() {
            assert_eq!((decided.unwrap(), warnings), (Placement::Nameless, 1));
        }
    }

    #[test]
    fn what_has_changed_is_put_back_or_refused() {
        assert_eq!(decide(true, Files::Rewind, change).0.unwrap(), Placement::PutBack);
        assert_eq!(decide(true, Files::Keep, change).0.unwrap(), Placement::There);
        assert!(decide(true, Files::Refuse, change).0.is_err());
        assert!(decide(true, Files::Rewind, replace).0.is_err());
        assert_eq!(decide(true, Files::Keep, replace).0.unwrap(), Placement::There);
    }

    #[test]
    fn what_the_program_only_reads_is_never_touched() {
        let (decided, warnings) = decide(false, Files::Rewind, replace);
        assert_eq!((decided.unwrap(), warnings), (Placement::Nameless, 1));
        let (decided, warnings) = decide(false, Files::Rewind, change);
        assert_eq!((decided.unwrap(), warnings), (Placement::There, 0));
    }
}
