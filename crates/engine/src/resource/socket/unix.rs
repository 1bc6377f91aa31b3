//! Unix sockets: which are pairs, and those that are not connected.

use super::super::descriptor::Seen;
use super::{name, pair, set_buffers, set_options, shut, signs};
use crate::Result;
use crate::error::{Context, Error};
use crate::restart::{Places, damaged};
use rethaw_image::record::{DescriptionKind, SocketV1, UnixNameV1};
use rethaw_sys::socket::{UnixSocket, unix_socket};
use rustix::event::PollFlags;
use rustix::fs::fstat;
use rustix::net::{AddressFamily, SocketFlags, SocketType, getpeername, getsockname, listen, socket_with};
use std::io;
use std::os::fd::{AsFd, OwnedFd};

/// The inode number by which sock_diag(7) knows it.
pub(super) fn inode(socket: impl AsFd) -> io::Result<u32> {
    Ok(fstat(socket)?.st_ino as u32)
}

pub(super) fn look(seen: &Seen) -> Result<UnixSocket> {
    let name = || format!("cannot ask the kernel about {}", seen.name());
    match unix_socket(inode(&seen.duplicate).context(name)?) {
        Err(e) if e.raw_os_error() == Some(libc::ENOENT) => {
            Err(seen
                .refused("a Unix socket of another network namespace, or the kernel lacks CONFIG_UNIX_DIAG"))
        }
        outcome => outcome.context(name),
    }
}

pub(super) fn collect(seen: &Seen, all: &[Seen], mut record: SocketV1) -> Result<DescriptionKind> {
    let shown = look(seen)?;
    record.shutdown = shown.shutdown.into();
    record.bound = bound(seen, &shown)?;
    if signs(seen).contains(PollFlags::PRI) {
        return Err(seen.refused("a socket with an unread urgent byte (MSG_OOB)"));
    }
    let datagrams = record.socket_type == libc::SOCK_DGRAM;
    match shown.peer {
        None => alone(seen, &shown, record).map(DescriptionKind::Socket),
        // A socket whose peer has closed it is shut down in both directions (unix_release_sock); one that is
        // still in the queue of a listener has no inode either.
        Some(0) if !datagrams && record.shutdown != 3 => {
            Err(seen.refused("a connection that the other program has not accepted yet"))
        }
        Some(0) => pair::collect(seen, None, record).map(DescriptionKind::SocketPair),
        Some(peer) => {
            let Some(index) = all
                .iter()
                .position(|other| is_socket(other) && inode(&other.duplicate).ok() == Some(peer))
            else {
                return Err(outside(seen));
            };
            let back = if datagrams {
                look(&all[index])?.peer
            } else {
                Some(inode_of(seen)?)
            };
            if back == Some(inode_of(seen)?) && back != Some(peer) {
                return pair::collect(seen, Some((index as u32 + 1, &all[index])), record)
                    .map(DescriptionKind::SocketPair);
            }
            one_way(seen, &shown, record).map(DescriptionKind::Socket)
        }
    }
}

fn inode_of(seen: &Seen) -> Result<u32> {
    inode(&seen.duplicate).context(|| format!("cannot look at {}", seen.name()))
}

fn is_socket(seen: &Seen) -> bool {
    seen.target.as_os_str().as_encoded_bytes().starts_with(b"socket:")
}

fn outside(seen: &Seen) -> Error {
    Error::Refused {
        what: format!(
            "a Unix socket whose other end is outside of the computation ({})",
            seen.target.display()
        ),
        pid: seen.pid.0,
        place: format!("descriptor {}", seen.fd),
        remedy: "start both programs under one rethaw, or take the checkpoint while it is closed".to_owned(),
    }
}

fn bound(seen: &Seen, shown: &UnixSocket) -> Result<Option<UnixNameV1>> {
    let address = getsockname(&seen.duplicate).context(|| format!("cannot look at {}", seen.name()))?;
    let Some(name) = name::of(address) else {
        return Ok(None);
    };
    if !name::is_fixed(&name) {
        return Err(seen.refused(&format!(
            "a socket bound to a relative path, {}",
            name::show(&name)
        )));
    }
    let mode = name::mode(&name, shown.file);
    Ok(Some(UnixNameV1 { name, mode }))
}

/// Not connected; perhaps it listens.
fn alone(seen: &Seen, shown: &UnixSocket, mut record: SocketV1) -> Result<SocketV1> {
    if shown.listens {
        if shown.waiting > 0 {
            return Err(seen.refused("a socket with connections that the program has not accepted yet"));
        }
        record.backlog = shown.backlog_or_sent;
        return Ok(record);
    }
    nothing_waits(seen, &record)?;
    Ok(record)
}

/// Messages here may be of any sender, and their addresses could not be given back.
fn nothing_waits(seen: &Seen, record: &SocketV1) -> Result<()> {
    let readable = signs(seen).contains(PollFlags::IN) && record.shutdown & 1 == 0;
    match record.socket_type == libc::SOCK_DGRAM && readable {
        true => {
            Err(seen
                .refused("a datagram socket that anybody can send to, with messages that are not read yet"))
        }
        false => Ok(()),
    }
}

/// A datagram socket that sends to one that does not send back.
fn one_way(seen: &Seen, shown: &UnixSocket, record: SocketV1) -> Result<SocketV1> {
    let peer = getpeername(&seen.duplicate)
        .ok()
        .flatten()
        .and_then(name::of)
        .unwrap_or_default();
    if peer.is_empty() || !name::is_fixed(&peer) {
        return Err(seen.refused("a datagram socket connected to one without a name, in one direction only"));
    }
    Ok(SocketV1 {
        peer,
        ..alone(seen, shown, record)?
    })
}

fn socket_type(number: i32) -> Result<SocketType> {
    match number {
        libc::SOCK_STREAM => Ok(SocketType::STREAM),
        libc::SOCK_DGRAM => Ok(SocketType::DGRAM),
        libc::SOCK_SEQPACKET => Ok(SocketType::SEQPACKET),
        _ => Err(damaged("a socket of unknown type")),
    }
}

/// A new socket.
pub(super) fn make(number: i32) -> Result<OwnedFd> {
    socket_with(
        AddressFamily::UNIX,
        socket_type(number)?,
        SocketFlags::CLOEXEC,
        None,
    )
    .context(|| "cannot make a Unix socket".to_owned())
}

/// Two new sockets, connected.
pub(super) fn make_pair(number: i32) -> Result<(OwnedFd, OwnedFd)> {
    rustix::net::socketpair(
        AddressFamily::UNIX,
        socket_type(number)?,
        SocketFlags::CLOEXEC,
        None,
    )
    .context(|| "cannot make a socket pair".to_owned())
}

/// Makes one that is not connected.
pub(super) fn rebuild(record: &SocketV1, places: &Places) -> Result<OwnedFd> {
    let name = || "cannot rebuild a Unix socket".to_owned();
    let socket = make(record.socket_type)?;
    set_buffers(socket.as_fd(), record.send_buffer, record.receive_buffer).context(name)?;
    set_options(socket.as_fd(), &record.options).context(name)?;
    if let Some(bound) = &record.bound {
        name::take(socket.as_fd(), bound, places)?;
    }
    if record.listens {
        listen(&socket, record.backlog.cast_signed()).context(name)?;
    }
    shut(socket.as_fd(), record.shutdown).context(name)?;
    Ok(socket)
}

/// Connects a datagram socket by name, once all names are there.
pub(super) fn connect(socket: &OwnedFd, record: &SocketV1, places: &Places) -> Result<()> {
    if record.peer.is_empty() {
        return Ok(());
    }
    let context = || format!("cannot connect a socket to {}", name::show(&record.peer));
    let address = name::address(&record.peer, places).context(context)?;
    rustix::net::connect(socket, &address).context(context)
}
