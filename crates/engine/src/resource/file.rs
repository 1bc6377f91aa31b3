//! Regular files, folders and harmless devices, by path.

use super::descriptor::Seen;
use super::lock;
use crate::error::{Context, Error};
use crate::restart::{Files, Places};
use crate::{Result, fill_identity};
use rethaw_image::record::{DescriptionKind, DescriptionV1, FileIdentityV1, RegularV1};
use rustix::fs::{Mode, OFlags, SeekFrom, fstat};
use rustix::io::Errno;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read, Seek, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Devices without state of the program's.
const DEVICES: [&[u8]; 7] = [
    b"/dev/null",
    b"/dev/zero",
    b"/dev/full",
    b"/dev/random",
    b"/dev/urandom",
    b"/dev/tty",
    b"/dev/kmsg",
];

/// Flags of open(2) that act at the opening and must not act again.
const ONCE: OFlags = OFlags::CREATE
    .union(OFlags::EXCL)
    .union(OFlags::TRUNC)
    .union(OFlags::NOCTTY);

pub(crate) fn collect(seen: &Seen) -> Result<DescriptionKind> {
    let path = seen.path();
    let metadata = fs::metadata(path).context(|| format!("cannot look at {}", seen.name()))?;
    let stat = fstat(&seen.duplicate).context(|| format!("cannot look at {}", seen.name()))?;
    if metadata.ino() != stat.st_ino {
        return Err(seen.refused("a file whose name leads to another file by now"));
    }
    let mut identity = FileIdentityV1 {
        path: path.as_os_str().as_bytes().to_vec(),
        ..FileIdentityV1::default()
    };
    fill_identity(&mut identity, &metadata);
    Ok(DescriptionKind::Regular(RegularV1 {
        file: Some(identity),
        offset: seen.info.pos,
    }))
}

pub(crate) fn collect_device(seen: &Seen) -> Result<DescriptionKind> {
    let path = seen.path().as_os_str().as_bytes();
    if DEVICES.contains(&path) {
        return Ok(DescriptionKind::Device(path.to_vec()));
    }
    if rustix::termios::isatty(&seen.duplicate) {
        return Ok(DescriptionKind::Terminal(path.to_vec()));
    }
    Err(seen.refused("a device"))
}

/// A description of our own of a file that the program has open for writing, to make it durable while the program runs on.
///
/// A duplicate of the program's would keep its locks when the program has closed it, and would forbid to execute the file
/// (ETXTBSY). Nothing where the file cannot be opened for reading, or where that would break a lease.
pub(crate) fn opened_for_sync(seen: &Seen, record: &DescriptionV1) -> Option<File> {
    if record.locks.iter().any(|lock| lock.kind == lock::LEASE) {
        return None;
    }
    let path = format!("/proc/self/fd/{}", seen.duplicate.as_raw_fd());
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    Some(File::from(rustix::fs::open(path, flags, Mode::empty()).ok()?))
}

/// Makes a file durable that the program has written.
pub(crate) fn sync(file: impl AsFd) -> Result<()> {
    match rustix::fs::fdatasync(file) {
        // Not every file system can (fsync(2): EINVAL, EROFS).
        Ok(()) | Err(Errno::INVAL | Errno::ROFS) => Ok(()),
        Err(errno) => Err(Error::Os {
            operation: "cannot make a file durable that the program has written".to_owned(),
            source: errno.into(),
        }),
    }
}

/// Opens a regular file or folder as it was: same flags, same offset.
pub(crate) fn open(record: &DescriptionV1, regular: &RegularV1, places: &Places) -> Result<OwnedFd> {
    let path = places.path(&regular.file.as_ref().map(|f| f.path.clone()).unwrap_or_default());
    let name = || format!("cannot open {}", path.display());
    let flags = (OFlags::from_bits_retain(record.flags) - ONCE) | OFlags::CLOEXEC;
    let fd = rustix::fs::open(&path, flags, Mode::empty()).context(name)?;
    if !flags.contains(OFlags::PATH) && regular.offset > 0 {
        rustix::fs::seek(&fd, SeekFrom::Start(regular.offset as u64)).context(name)?;
    }
    Ok(fd)
}

/// Opens a device by path.
pub(crate) fn open_device(record: &DescriptionV1, path: &[u8]) -> Result<OwnedFd> {
    let path = Path::new(std::ffi::OsStr::from_bytes(path));
    let flags = (OFlags::from_bits_retain(record.flags) - ONCE) | OFlags::CLOEXEC | OFlags::NOCTTY;
    rustix::fs::open(path, flags, Mode::empty()).context(|| format!("cannot open {}", path.display()))
}

/// Whether the program could write to it.
fn writable(record: &DescriptionV1) -> bool {
    record.flags & libc::O_ACCMODE as u32 != libc::O_RDONLY as u32 && record.flags & libc::O_PATH as u32 == 0
}

/// What is to be done with a file that was open for writing, found out before anything is changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rewind {
    path: PathBuf,
    size: u64,
}

/// Plans the rewinding of one file.
///
/// # Errors
/// When the file is gone or shorter than it was: then data is missing that the program has written.
pub(crate) fn plan_rewind(
    record: &DescriptionV1,
    regular: &RegularV1,
    files: Files,
    places: &Places,
    warnings: &mut Vec<String>,
) -> Result<Option<Rewind>> {
    let Some(saved) = &regular.file else {
        return Ok(None);
    };
    let path = places.path(&saved.path);
    let Ok(now) = fs::metadata(&path) else {
        return Err(Error::CannotRestart {
            what: format!("{} is gone, which the program had open", path.display()),
            remedy: "put it back, or tell where it is now with --map OLD=NEW".to_owned(),
        });
    };
    if !now.is_file() || !writable(record) || files == Files::Keep {
        return Ok(None);
    }
    if now.size() < saved.size {
        return Err(Error::CannotRestart {
            what: format!(
                "{} has {} bytes, but had {} at the checkpoint",
                path.display(),
                now.size(),
                saved.size
            ),
            remedy: "put the file back as it was, or take it as it is with --files keep".to_owned(),
        });
    }
    let touched = saved.mtime_ns != crate::mtime_ns(&now);
    if files == Files::Refuse && (now.size() != saved.size || touched) {
        return Err(Error::CannotRestart {
            what: format!("{} has changed since the checkpoint", path.display()),
            remedy: "put the file back as it was, or allow the change with --files rewind".to_owned(),
        });
    }
    let appends = record.flags & libc::O_APPEND as u32 != 0;
    if now.size() == saved.size && touched && !appends {
        warnings.push(format!(
            "{} was written to since the checkpoint, but has the same size: it is taken as it is",
            path.display()
        ));
    }
    Ok((now.size() > saved.size).then_some(Rewind {
        path,
        size: saved.size,
    }))
}

/// Puts a file back to its size, keeping what is cut off in a side file. Gives what was done.
pub(crate) fn rewind(rewind: &Rewind) -> Result<String> {
    let name = || {
        format!(
            "cannot put {} back to {} bytes",
            rewind.path.display(),
            rewind.size
        )
    };
    let mut file = File::options()
        .read(true)
        .write(true)
        .open(&rewind.path)
        .context(name)?;
    let (side_path, mut side) = side_file(&rewind.path).context(name)?;
    file.seek(io::SeekFrom::Start(rewind.size)).context(name)?;
    let cut = io::copy(&mut Read::by_ref(&mut file), &mut side).context(name)?;
    side.flush().and_then(|()| side.sync_all()).context(name)?;
    file.set_len(rewind.size).context(name)?;
    Ok(format!(
        "{} is back to its {} bytes of the checkpoint; the {cut} bytes after them are kept in {}",
        rewind.path.display(),
        rewind.size,
        side_path.display()
    ))
}

/// A new file `NAME.rethaw-cut.N` beside `path`.
fn side_file(path: &Path) -> io::Result<(PathBuf, File)> {
    for number in 1.. {
        let mut name: OsString = path.as_os_str().to_owned();
        name.push(format!(".rethaw-cut.{number}"));
        let side = PathBuf::from(name);
        match File::options().write(true).create_new(true).open(&side) {
            Ok(file) => return Ok((side, file)),
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
            Err(e) => return Err(e),
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

/// A path from the bytes of a record.
pub(crate) fn path_of(bytes: &[u8]) -> PathBuf {
    PathBuf::from(OsString::from_vec(bytes.to_vec()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::time::{Duration, SystemTime};

    /// What is planned, and the warnings, for a file that was changed in place after the checkpoint.
    fn plan_for_changed(flags: i32, files: Files) -> (Result<Option<Rewind>>, Vec<String>) {
        let path =
            std::env::temp_dir().join(format!("rethaw-rewind-{}-{flags}-{files:?}", std::process::id()));
        fs::write(&path, "text").unwrap();
        let regular = RegularV1 {
            file: Some(crate::file_identity(&path)),
            offset: 0,
        };
        let later = SystemTime::now() + Duration::from_secs(5);
        let file = File::options().write(true).open(&path).unwrap();
        file.set_modified(later).unwrap();
        let record = DescriptionV1 {
            flags: flags as u32,
            ..DescriptionV1::default()
        };
        let mut warnings = Vec::new();
        let planned = plan_rewind(&record, &regular, files, &Places::default(), &mut warnings);
        fs::remove_file(&path).unwrap();
        (planned, warnings)
    }

    #[test]
    fn a_file_that_was_changed_in_place_is_told_or_refused() {
        let (planned, warnings) = plan_for_changed(libc::O_RDWR, Files::Rewind);
        assert_eq!((planned.unwrap(), warnings.len()), (None, 1));
        let (planned, warnings) = plan_for_changed(libc::O_WRONLY | libc::O_APPEND, Files::Rewind);
        assert_eq!((planned.unwrap(), warnings.len()), (None, 0));
        assert!(plan_for_changed(libc::O_RDWR, Files::Refuse).0.is_err());
    }
}
