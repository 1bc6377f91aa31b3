//! What Unix sockets are bound to: files and abstract names.

use crate::error::{Context, Error};
use crate::restart::Places;
use crate::{Result, resource::file};
use rethaw_image::record::UnixNameV1;
use rustix::net::{
    AddressFamily, SocketAddrAny, SocketAddrUnix, SocketFlags, SocketType, bind, connect, socket_with,
};
use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// A path, or an abstract name with its leading zero byte; None when there is none.
pub(super) fn of(address: SocketAddrAny) -> Option<Vec<u8>> {
    let address = SocketAddrUnix::try_from(address).ok()?;
    match address.abstract_name() {
        Some([]) => None,
        Some(name) => Some([&[0], name].concat()),
        None => address.path_bytes().map(<[u8]>::to_vec),
    }
}

/// The path, if it is one.
fn path(name: &[u8]) -> Option<PathBuf> {
    (name.first() != Some(&0)).then(|| file::path_of(name))
}

/// Whether it can be found again whatever the current folder is.
pub(super) fn is_fixed(name: &[u8]) -> bool {
    path(name).is_none_or(|path| path.is_absolute())
}

/// Permissions of the file that a socket is bound to; 0 if that is gone.
pub(super) fn mode(name: &[u8], file: Option<u32>) -> u32 {
    let found = path(name).and_then(|path| fs::symlink_metadata(path).ok());
    found
        .filter(|found| Some(found.ino() as u32) == file)
        .map_or(0, |found| found.mode() & 0o7777)
}

/// The address for it, with its path as it is now.
pub(super) fn address(name: &[u8], places: &Places) -> io::Result<SocketAddrUnix> {
    let address = match name.split_first() {
        Some((0, rest)) => SocketAddrUnix::new_abstract_name(rest),
        _ => SocketAddrUnix::new(places.path(name)),
    };
    address.map_err(io::Error::from)
}

/// Binds a socket. A file that an ended program left there is replaced.
pub(super) fn take(socket: BorrowedFd<'_>, bound: &UnixNameV1, places: &Places) -> Result<()> {
    let context = || format!("cannot bind a socket to {}", show(&bound.name));
    let address = address(&bound.name, places).context(context)?;
    let file = path(&bound.name).map(|_| places.path(&bound.name));
    if let Some(file) = &file {
        remove_abandoned(file, &address);
    }
    match bind(socket, &address) {
        Err(rustix::io::Errno::ADDRINUSE) => return Err(in_use(&show(&bound.name))),
        outcome => outcome.context(context)?,
    }
    match file {
        Some(file) if bound.mode == 0 => fs::remove_file(file).context(context),
        Some(file) => fs::set_permissions(file, fs::Permissions::from_mode(bound.mode)).context(context),
        None => Ok(()),
    }
}

/// Removes the file of a socket that is no more: connect(2) says ECONNREFUSED then, whereas a live socket of
/// another type gives EPROTOTYPE.
fn remove_abandoned(file: &Path, address: &SocketAddrUnix) {
    if !fs::symlink_metadata(file).is_ok_and(|found| found.file_type().is_socket()) {
        return;
    }
    let probe = socket_with(AddressFamily::UNIX, SocketType::DGRAM, SocketFlags::CLOEXEC, None);
    if let Ok(probe) = probe
        && connect(probe.as_fd(), address) == Err(rustix::io::Errno::CONNREFUSED)
    {
        // If it cannot be removed, bind(2) tells.
        let _ = fs::remove_file(file);
    }
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
