//! A file that is complete or does not exist: written under a temporary name in the same folder, made
//! durable, then renamed.
//!
//! The temporary name is `.NAME.PID-COUNT.partial`, so two writers of one name never share a file: the
//! last to publish wins, with a whole file. The writer holds a lock (flock) on it; what nobody holds was
//! left by a writer that died, and the next writer of that name removes it.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::{Error, Result, fault};

const SUFFIX: &[u8] = b".partial";

pub(crate) struct Partial {
    file: File,
    path: PathBuf,
    target: PathBuf,
    published: bool,
}

impl Partial {
    /// Starts a file that will be called `target`, mode 0600.
    pub(crate) fn create(target: &Path) -> Result<Partial> {
        let Some(name) = target.file_name() else {
            return Err(Error::refused(target, "it is not the name of a file"));
        };
        let folder = folder_of(target);
        // Clearing up may fail (another user's file, say) without harm to what we write.
        let _ = remove_stale(folder, |owner| owner == name, Unlocked::Keep);
        let cannot = |e| Error::io("create", target, e);
        loop {
            let path = folder.join(temporary_name(name));
            fault::point().map_err(cannot)?;
            let mut options = OpenOptions::new();
            options.write(true).read(true).create_new(true).mode(0o600);
            let file = match options.open(&path) {
                Ok(file) => file,
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => continue,
                Err(e) => return Err(cannot(e)),
            };
            if claim(&file).map_err(cannot)? {
                return Ok(Partial {
                    file,
                    path,
                    target: target.to_owned(),
                    published: false,
                });
            }
        }
    }

    /// Path of the finished file, for messages.
    pub(crate) fn target(&self) -> &Path {
        &self.target
    }

    pub(crate) fn write_at(&self, data: &[u8], offset: u64) -> Result<()> {
        fault::point()
            .and_then(|()| self.file.write_all_at(data, offset))
            .map_err(|e| Error::io("write", &self.target, e))
    }

    /// Makes it durable and visible under its name. On error the temporary file is gone and what had the
    /// name before still has it (except when only the folder's own sync failed: then the new file has
    /// the name but may not survive a loss of power).
    pub(crate) fn publish(mut self) -> Result<()> {
        fault::point()
            .and_then(|()| self.file.sync_all())
            .map_err(|e| Error::io("write to disk", &self.target, e))?;
        fault::point()
            .and_then(|()| fs::rename(&self.path, &self.target))
            .map_err(|e| Error::io("put in place", &self.target, e))?;
        self.published = true;
        sync_folder(folder_of(&self.target))
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if !self.published && fault::point().is_ok() {
            // Nothing can be done about a failure here; the next writer tries again.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Locks a new temporary file. False when someone who looks for stale files has taken it for one in the
/// moment between its creation and the lock: then it is (about to be) removed.
fn claim(file: &File) -> io::Result<bool> {
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => Ok(false),
        // Some cluster file systems have no locks; then nobody removes it as stale either.
        Err(TryLockError::Error(_)) => Ok(true),
        Ok(()) => Ok(file.metadata()?.nlink() > 0),
    }
}

fn temporary_name(name: &OsStr) -> OsString {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let mut bytes = b".".to_vec();
    bytes.extend_from_slice(name.as_bytes());
    bytes.extend_from_slice(format!(".{}-{count}", std::process::id()).as_bytes());
    bytes.extend_from_slice(SUFFIX);
    OsString::from_vec(bytes)
}

/// The name that a temporary file was to get, if `name` is one of ours.
pub(crate) fn final_name(name: &OsStr) -> Option<&OsStr> {
    let rest = name.as_bytes().strip_prefix(b".")?.strip_suffix(SUFFIX)?;
    let dot = rest.iter().rposition(|b| *b == b'.')?;
    let digits = |b: &[u8]| !b.is_empty() && b.iter().all(u8::is_ascii_digit);
    let mut numbers = rest[dot + 1..].split(|b| *b == b'-');
    let ours = numbers.next().is_some_and(digits) && numbers.next().is_some_and(digits);
    (ours && numbers.next().is_none() && dot > 0).then(|| OsStr::from_bytes(&rest[..dot]))
}

/// What to do with a temporary file on a file system without locks, where it cannot be known whether its
/// writer lives.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unlocked {
    Keep,
    Remove,
}

/// Removes the temporary files of dead writers whose final name satisfies `wanted`.
pub(crate) fn remove_stale(folder: &Path, wanted: impl Fn(&OsStr) -> bool, unlocked: Unlocked) -> Result<()> {
    let cannot = |e| Error::io("read folder", folder, e);
    for entry in fs::read_dir(folder).map_err(cannot)? {
        let entry = entry.map_err(cannot)?;
        let name = entry.file_name();
        if final_name(&name).is_some_and(&wanted) {
            remove_if_abandoned(&entry.path(), unlocked)?;
        }
    }
    Ok(())
}

fn remove_if_abandoned(path: &Path, unlocked: Unlocked) -> Result<()> {
    // Write access, because NFS gives an exclusive lock to nothing less.
    let file = match OpenOptions::new().read(true).write(true).open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(Error::io("open", path, e)),
    };
    // The lock is held until the file is removed, so that its writer notices (`claim`).
    match file.try_lock() {
        Ok(()) => remove(path),
        Err(TryLockError::WouldBlock) => Ok(()),
        Err(TryLockError::Error(_)) if unlocked == Unlocked::Remove => remove(path),
        Err(TryLockError::Error(_)) => Ok(()),
    }
}

/// Removes a file; that it is gone already is fine.
pub(crate) fn remove(path: &Path) -> Result<()> {
    match fault::point().and_then(|()| fs::remove_file(path)) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(Error::io("remove", path, e)),
        _ => Ok(()),
    }
}

/// Makes the names in a folder durable.
pub(crate) fn sync_folder(folder: &Path) -> Result<()> {
    let synced = fault::point().and_then(|()| File::open(folder)?.sync_all());
    match synced.as_ref().map_err(io::Error::kind) {
        // Some network file systems have nothing to sync in a folder, and a folder in which one may
        // create but not read cannot be synced by us.
        Err(io::ErrorKind::InvalidInput | io::ErrorKind::PermissionDenied) => Ok(()),
        _ => synced.map_err(|e| Error::io("write to disk the folder", folder, e)),
    }
}

pub(crate) fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => path,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::ffi::OsStr;

    use super::{Partial, final_name, temporary_name};

    #[test]
    fn temporary_names_tell_the_final_one() {
        let name = OsStr::new("a.b-1.rethaw");
        assert_eq!(final_name(&temporary_name(name)), Some(name));
        assert_ne!(temporary_name(name), temporary_name(name));
        for stranger in [
            "a.1-2.partial",
            ".a.1.partial",
            ".a.1-.partial",
            ".a.1-2-3.partial",
            "..1-2.partial",
            ".a.1-2",
        ] {
            assert_eq!(final_name(stranger.as_ref()), None, "{stranger}");
        }
    }

    #[test]
    fn what_a_dead_writer_left_is_removed_and_the_living_are_spared() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("image");
        let other = folder.path().join(".other.1-1.partial");
        std::fs::write(folder.path().join(".image.1-1.partial"), "").unwrap();
        std::fs::write(&other, "").unwrap();
        let living = Partial::create(&target).unwrap();
        let second = Partial::create(&target).unwrap();
        assert!(living.path.exists() && second.path.exists() && other.exists());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 3);
    }
}
