//! TCP and UDP sockets that are not connected over TCP.

use super::super::descriptor::Seen;
use super::{name, set_buffers, set_options};
use crate::Result;
use crate::error::{Context, Error};
use crate::restart::damaged;
use rethaw_image::record::{SocketOptionV1, SocketV1};
use rethaw_sys::socket::{option, set_option};
use rustix::net::{
    AddressFamily, SocketFlags, SocketType, bind, connect, getpeername, getsockname, ipproto, listen,
    socket_with,
};
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

pub(super) fn collect(seen: &Seen, mut record: SocketV1) -> Result<SocketV1> {
    match (record.socket_type, record.protocol) {
        (libc::SOCK_STREAM, libc::IPPROTO_TCP) => collect_tcp(seen, &mut record)?,
        (libc::SOCK_DGRAM, libc::IPPROTO_UDP) => {
            let peer = getpeername(&seen.duplicate).ok().flatten();
            record.peer_address = peer.map(text).unwrap_or_default();
        }
        (_, protocol) => return Err(seen.refused(&format!("an internet socket of protocol {protocol}"))),
    }
    let own = getsockname(&seen.duplicate).context(|| format!("cannot look at {}", seen.name()))?;
    record.address = text(own);
    Ok(record)
}

/// The state and, for a socket that listens, the lengths of its queue (TCP_INFO in tcp(7)).
fn collect_tcp(seen: &Seen, record: &mut SocketV1) -> Result<()> {
    const TCP_CLOSE: u8 = 7;
    const TCP_LISTEN: u8 = 10;
    const UNACKED: usize = 24; // connections waiting, when it listens
    const SACKED: usize = 28; // the backlog, when it listens
    let info = option(seen.duplicate.as_fd(), libc::IPPROTO_TCP, libc::TCP_INFO)
        .context(|| format!("cannot look at {}", seen.name()))?;
    let word = |at: usize| {
        info.get(at..at + 4)
            .and_then(|b| b.try_into().ok())
            .map_or(0, u32::from_ne_bytes)
    };
    match info.first() {
        Some(&TCP_CLOSE) => Ok(()),
        Some(&TCP_LISTEN) if word(UNACKED) > 0 => {
            Err(seen.refused("a TCP socket with connections that the program has not accepted yet"))
        }
        Some(&TCP_LISTEN) => {
            record.backlog = word(SACKED);
            Ok(())
        }
        _ => Err(seen.refused("a TCP connection")),
    }
}

/// Empty when it has no port: then it is not bound.
fn text(address: rustix::net::SocketAddrAny) -> String {
    let address = SocketAddr::try_from(address)
        .ok()
        .filter(|address| address.port() != 0);
    address.map(|address| address.to_string()).unwrap_or_default()
}

fn parse(text: &str) -> Result<Option<SocketAddr>> {
    match text {
        "" => Ok(None),
        text => text
            .parse()
            .map(Some)
            .map_err(|_| damaged("a socket with an unreadable address")),
    }
}

pub(super) fn rebuild(record: &SocketV1) -> Result<OwnedFd> {
    let name = || "cannot rebuild an internet socket".to_owned();
    let family = AddressFamily::from_raw(record.family as u16);
    let (kind, protocol) = match record.protocol {
        libc::IPPROTO_TCP => (SocketType::STREAM, ipproto::TCP),
        libc::IPPROTO_UDP => (SocketType::DGRAM, ipproto::UDP),
        _ => return Err(damaged("a socket of unknown protocol")),
    };
    let socket = socket_with(family, kind, SocketFlags::CLOEXEC, Some(protocol)).context(name)?;
    set_buffers(socket.as_fd(), record.send_buffer, record.receive_buffer).context(name)?;
    set_options(socket.as_fd(), &record.options).context(name)?;
    if let Some(address) = parse(&record.address)? {
        take(socket.as_fd(), &address, record)?;
    }
    if record.listens {
        listen(&socket, record.backlog.cast_signed()).context(name)?;
    }
    if let Some(peer) = parse(&record.peer_address)? {
        connect(&socket, &peer).context(|| format!("cannot connect a UDP socket to {peer}"))?;
    }
    Ok(socket)
}

/// Binds it. Old connections of the program, which the kernel remembers for a minute, are not in the way with
/// SO_REUSEADDR, whereas another program that listens there still is (socket(7)).
fn take(socket: BorrowedFd<'_>, address: &SocketAddr, record: &SocketV1) -> Result<()> {
    let context = || format!("cannot bind a socket to {address}");
    let reuse = |value: i32| set_option(socket, libc::SOL_SOCKET, libc::SO_REUSEADDR, &value.to_ne_bytes());
    let tcp = record.protocol == libc::IPPROTO_TCP;
    if tcp {
        reuse(1).context(context)?;
    }
    match bind(socket, address) {
        Err(rustix::io::Errno::ADDRINUSE) => return Err(name::in_use(&address.to_string())),
        Err(rustix::io::Errno::ADDRNOTAVAIL) => return Err(not_here(address)),
        outcome => outcome.context(context)?,
    }
    let is_reuse = |o: &&SocketOptionV1| (o.level, o.name) == (libc::SOL_SOCKET, libc::SO_REUSEADDR);
    match record.options.iter().find(is_reuse) {
        Some(before) if tcp => {
            set_option(socket, libc::SOL_SOCKET, libc::SO_REUSEADDR, &before.value).context(context)
        }
        _ => Ok(()),
    }
}

fn not_here(address: &SocketAddr) -> Error {
    Error::CannotRestart {
        what: format!(
            "{}, which a socket of the program is bound to, is not an address of this node",
            address.ip()
        ),
        remedy: "restart on the node where the checkpoint was taken".to_owned(),
    }
}
