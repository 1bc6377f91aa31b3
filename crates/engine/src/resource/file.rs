//! Regular files, folders and harmless devices, by path.

pub(crate) mod folder;
mod held;
mod name;
pub(crate) mod procfs;
pub(crate) mod rewind;

pub(crate) use held::Held;
pub(crate) use name::{Names, Standing, is_deleted, path_of, undeleted};

use super::descriptor::Seen;
use super::lock;
use super::object::{Objects, RebuiltObjects};
use crate::error::{Context, Error};
use crate::restart::{Plan, Stub};
use crate::{Result, fill_identity};
use rethaw_image::record::{DescriptionKind, DescriptionV1, FileIdentityV1, ObjectFileV1, RegularV1};
use rethaw_sys::proc::LockKind;
use rustix::fs::{FileType, Mode, OFlags, SeekFrom, fstat};
use rustix::io::Errno;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
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

/// A regular file or folder, or with O_PATH anything that has a place in the file system.
pub(crate) fn collect(seen: &Seen, objects: &mut Objects) -> Result<DescriptionKind> {
    let name = || format!("cannot look at {}", seen.name());
    let stat = fstat(&seen.duplicate).context(name)?;
    let kind = FileType::from_raw_mode(stat.st_mode);
    match (objects.names.find(seen.path(), &stat), kind) {
        (Standing::Named(path), _) => collect_named(seen, path, kind, objects),
        (Standing::Gone, FileType::RegularFile | FileType::Directory) => collect_object(seen, objects),
        (Standing::Gone, FileType::Symlink) => Ok(DescriptionKind::Regular(RegularV1 {
            file: Some(FileIdentityV1 {
                path: undeleted(seen.path()).as_os_str().as_bytes().to_vec(),
                mode: stat.st_mode,
                ..FileIdentityV1::default()
            }),
            link_target: link_target(seen)?,
            deleted: true,
            ..RegularV1::default()
        })),
        (Standing::Gone, _) => Err(seen.refused("a deleted file of an unusual type, open by O_PATH")),
        (Standing::Elsewhere, _) => Err(seen.refused("a file whose name leads to another file by now")),
    }
}

/// A memfd, a deleted file or a deleted folder: it travels in the image.
pub(crate) fn collect_object(seen: &Seen, objects: &mut Objects) -> Result<DescriptionKind> {
    let name = || format!("cannot look at {}", seen.name());
    let kind = FileType::from_raw_mode(fstat(&seen.duplicate).context(name)?.st_mode);
    let file = own_description(seen, kind).context(name)?;
    let object = objects.opened(seen.path(), file, seen.info.flags).context(name)?;
    Ok(DescriptionKind::Object(ObjectFileV1 {
        object,
        offset: seen.info.pos,
    }))
}

fn collect_named(
    seen: &Seen,
    path: PathBuf,
    kind: FileType,
    objects: &mut Objects,
) -> Result<DescriptionKind> {
    let name = || format!("cannot look at {}", seen.name());
    let file = own_description(seen, kind).context(name)?;
    let leased = has_lease(seen);
    let metadata = file.metadata().context(name)?;
    let mut identity = FileIdentityV1 {
        path: path.as_os_str().as_bytes().to_vec(),
        ..FileIdentityV1::default()
    };
    fill_identity(&mut identity, &metadata);
    let mut record = RegularV1 {
        file: Some(identity),
        offset: seen.info.pos,
        ..RegularV1::default()
    };
    match kind {
        // To read it, it would have to be opened, which breaks the lease.
        FileType::RegularFile if leased => {}
        FileType::RegularFile if objects.names.travels(&path, false) => {
            record.object = objects.named(&path, file, seen.info.flags, false).context(name)?;
        }
        FileType::RegularFile if objects.takes_spare(&path, &metadata, seen.info.flags) => {
            record.object = objects.named(&path, file, seen.info.flags, true).context(name)?;
        }
        FileType::Directory if objects.names.folder_travels(&path) => {
            record.folders = objects.names.folders(&path);
        }
        FileType::Symlink => record.link_target = link_target(seen)?,
        _ => {}
    }
    Ok(DescriptionKind::Regular(record))
}

/// To read it later. A duplicate of the program's description would keep its locks when the program has closed it,
/// and forbid to execute the file (ETXTBSY); but to open it again would break a lease.
fn own_description(seen: &Seen, kind: FileType) -> io::Result<File> {
    if kind == FileType::RegularFile && !has_lease(seen) {
        let path = format!("/proc/self/fd/{}", seen.duplicate.as_raw_fd());
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
        if let Ok(own) = rustix::fs::open(path, flags, Mode::empty()) {
            return Ok(own.into());
        }
    }
    Ok(seen.duplicate.try_clone()?.into())
}

fn has_lease(seen: &Seen) -> bool {
    seen.info.locks.iter().any(|lock| lock.kind == LockKind::Lease)
}

fn link_target(seen: &Seen) -> Result<Vec<u8>> {
    let target = rustix::fs::readlinkat(&seen.duplicate, "", Vec::new());
    Ok(target
        .context(|| format!("cannot read {}", seen.name()))?
        .into_bytes())
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
pub(crate) fn open(
    record: &DescriptionV1,
    regular: &RegularV1,
    plan: &Plan,
    objects: &RebuiltObjects,
    stub: &mut Stub,
) -> Result<OwnedFd> {
    if objects.has(regular.object) {
        let of = ObjectFileV1 {
            object: regular.object,
            offset: regular.offset,
        };
        return objects.open(record, &of);
    }
    let path = regular
        .file
        .as_ref()
        .map(|f| plan.places.path(&f.path))
        .unwrap_or_default();
    let name = || format!("cannot open {}", path.display());
    let flags = (OFlags::from_bits_retain(record.flags) - ONCE) | OFlags::CLOEXEC;
    let fd = if regular.deleted {
        folder::make_deleted_link(&path, &regular.link_target, flags).context(name)?
    } else {
        match objects.held.open(&path, flags) {
            // The program may have opened it before its permissions forbade that.
            Err(Errno::ACCESS) => stub.open_for_us(&path, flags.bits() as i32).context(name)?,
            outcome => outcome.context(name)?,
        }
    };
    seek_to(&fd, flags, regular.offset).context(name)?;
    Ok(fd)
}

/// Puts the offset where it was.
fn seek_to(fd: &OwnedFd, flags: OFlags, offset: i64) -> rustix::io::Result<()> {
    if !flags.contains(OFlags::PATH) && offset > 0 {
        rustix::fs::seek(fd, SeekFrom::Start(offset as u64))?;
    }
    Ok(())
}

/// Opens a device by path.
pub(crate) fn open_device(record: &DescriptionV1, path: &[u8]) -> Result<OwnedFd> {
    let path = Path::new(std::ffi::OsStr::from_bytes(path));
    let flags = (OFlags::from_bits_retain(record.flags) - ONCE) | OFlags::CLOEXEC | OFlags::NOCTTY;
    rustix::fs::open(path, flags, Mode::empty()).context(|| format!("cannot open {}", path.display()))
}
