//! What Unix sockets are bound to: files and abstract names.

use super::super::descriptor::{Processes, Seen};
use crate::Result;
use crate::error::{Context, Error};
use crate::resource::file::{self, Names};
use crate::restart::Places;
use rethaw_image::record::UnixNameV1;
use rethaw_sys::socket::UnixSocket;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Where a socket is bound. A relative path is looked for in the current folders of all processes and in the
/// folders above them: it was relative to the folder in which it was bound, which the kernel does not tell.
pub(super) fn bound(
    seen: &Seen,
    shown: &UnixSocket,
    processes: &Processes,
    names: &Names,
) -> Result<Option<UnixNameV1>> {
    let name = rethaw_sys::socket::name(seen.duplicate.as_fd())
        .context(|| format!("cannot look at {}", seen.name()))?;
    if name.is_empty() {
        return Ok(None);
    }
    let mut record = UnixNameV1 {
        name,
        ..UnixNameV1::default()
    };
    if is_abstract(&record.name) {
        return Ok(Some(record));
    }
    let path = Path::new(OsStr::from_bytes(&record.name));
    let found = match path.is_absolute() {
        true => mode(path, shown.file).map(|mode| (PathBuf::new(), mode)),
        false => {
            let folders = || processes.folders.iter();
            let mut all = folders()
                .map(PathBuf::as_path)
                .chain(folders().flat_map(|f| f.ancestors().skip(1)));
            all.find_map(|folder| Some((folder.to_owned(), mode(&folder.join(path), shown.file)?)))
        }
    };
    if let Some((folder, mode)) = found {
        record.mode = mode;
        record.folders = names.folders(folder.join(path).parent().unwrap_or(Path::new("/")));
        record.folder = folder.into_os_string().into_encoded_bytes();
    }
    Ok(Some(record))
}

/// Permissions of the file that a socket is bound to, if it is this one.
fn mode(path: &Path, file: Option<u32>) -> Option<u32> {
    let found = fs::symlink_metadata(path).ok()?;
    (Some(found.ino() as u32) == file).then_some(found.mode() & 0o7777 | EXISTS)
}

/// A file without any permission exists all the same.
const EXISTS: u32 = libc::S_IFSOCK;

/// An abstract name begins with a zero byte.
pub(super) fn is_abstract(name: &[u8]) -> bool {
    name.first() == Some(&0)
}

/// Whether nothing in the file system leads to the socket.
pub(super) fn is_gone(bound: &UnixNameV1) -> bool {
    !is_abstract(&bound.name) && bound.mode == 0
}

/// Where its file is now.
pub(super) fn path(bound: &UnixNameV1, places: &Places) -> PathBuf {
    folder(bound, places).join(written(bound, places))
}

/// What a relative path is relative to; for an absolute one anything.
pub(super) fn folder(bound: &UnixNameV1, places: &Places) -> PathBuf {
    match bound.folder.is_empty() {
        true => PathBuf::from("/"),
        false => places.path(&bound.folder),
    }
}

/// The path as it is to be written: an absolute one as it is now.
pub(super) fn written(bound: &UnixNameV1, places: &Places) -> PathBuf {
    let path = file::path_of(&bound.name);
    match path.is_absolute() {
        true => places.path(&bound.name),
        false => path,
    }
}

/// The address for a name.
pub(super) fn address(name: &[u8]) -> io::Result<SocketAddrUnix> {
    let address = match name.split_first() {
        Some((0, rest)) => SocketAddrUnix::new_abstract_name(rest),
        _ => SocketAddrUnix::new(file::path_of(name)),
    };
    address.map_err(io::Error::from)
}

/// Gives the file of a rebuilt socket the permissions that it had.
pub(super) fn settle(bound: &UnixNameV1, places: &Places) -> Result<()> {
    if is_abstract(&bound.name) || is_gone(bound) {
        return Ok(());
    }
    let mode = fs::Permissions::from_mode(bound.mode & 0o7777);
    fs::set_permissions(path(bound, places), mode)
        .context(|| format!("cannot set permissions of {}", show(&bound.name)))
}

/// Removes the file of a socket that is no more: connect(2) says ECONNREFUSED then, whereas a live socket of
/// another type gives EPROTOTYPE.
pub(super) fn remove_abandoned(file: &Path) {
    if !fs::symlink_metadata(file).is_ok_and(|found| found.file_type().is_socket()) {
        return;
    }
    let probe = socket_with(AddressFamily::UNIX, SocketType::DGRAM, SocketFlags::CLOEXEC, None);
    let Ok((_open, short)) = short_path(file) else {
        return;
    };
    if let (Ok(probe), Ok(address)) = (probe, SocketAddrUnix::new(short))
        && connect(probe.as_fd(), &address) == Err(rustix::io::Errno::CONNREFUSED)
    {
        // If it cannot be removed, bind(2) tells.
        let _ = fs::remove_file(file);
    }
}

/// An address has room for 108 bytes, but a folder may have a longer name: the same file by way of its open folder,
/// which is to be kept open.
fn short_path(file: &Path) -> io::Result<(fs::File, PathBuf)> {
    let parent = match file.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let folder = fs::File::open(parent)?;
    let name = file.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let number = std::os::fd::AsRawFd::as_raw_fd(&folder);
    Ok((folder, Path::new(&format!("/proc/self/fd/{number}")).join(name)))
}

/// For messages.
pub(super) fn show(name: &[u8]) -> String {
    match name.split_first() {
        Some((0, rest)) => format!("@{}", String::from_utf8_lossy(rest)),
        _ => String::from_utf8_lossy(name).into_owned(),
    }
}

pub(super) fn in_use(address: &str) -> Error {
    Error::CannotRestart {
        what: format!("{address}, which a socket of the program is bound to, is in use"),
        remedy: "end the program that uses it, or restart on another node".to_owned(),
    }
}
