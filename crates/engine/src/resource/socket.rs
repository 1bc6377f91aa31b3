//! Sockets: Unix sockets whose two ends are inside the computation, with the bytes in flight, and sockets of any
//! kind that are not connected.
//!
//! Not kept: datagrams that a UDP socket has not read yet (UDP may lose them), and who the kernel says made a
//! pair (SO_PEERCRED) or sent a waiting message (SCM_CREDENTIALS): after a restart that is the restarting agent.

mod internet;
mod name;
mod pair;
mod queue;
mod unix;

use super::descriptor::Seen;
use crate::Result;
use crate::checkpoint::External;
use crate::error::Context;
use crate::restart::Places;
use rethaw_image::record::{DescriptionKind, DescriptionV1, SocketOptionV1, SocketV1};
use rethaw_sys::socket::{int_option, option, set_option};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Collects a socket; `all` are the descriptions among which its other end has to be, unless `external` says
/// otherwise.
pub(crate) fn collect(seen: &Seen, all: &[Seen], external: External) -> Result<DescriptionKind> {
    let _ = external;
    let name = || format!("cannot look at {}", seen.name());
    let ask = |option| int_option(seen.duplicate.as_fd(), libc::SOL_SOCKET, option).context(name);
    let record = SocketV1 {
        family: ask(libc::SO_DOMAIN)?,
        socket_type: ask(libc::SO_TYPE)?,
        protocol: ask(libc::SO_PROTOCOL)?,
        listens: ask(libc::SO_ACCEPTCONN)? != 0,
        send_buffer: buffer(ask(libc::SO_SNDBUF)?),
        receive_buffer: buffer(ask(libc::SO_RCVBUF)?),
        options: options(seen.duplicate.as_fd()),
        ..SocketV1::default()
    };
    match record.family {
        libc::AF_UNIX => unix::collect(seen, all, record),
        libc::AF_INET | libc::AF_INET6 => internet::collect(seen, record).map(DescriptionKind::Socket),
        libc::AF_NETLINK => Err(seen.refused("a netlink socket")),
        libc::AF_PACKET => Err(seen.refused("a packet socket")),
        libc::AF_VSOCK => Err(seen.refused("a vsock socket")),
        family => Err(seen.refused(&format!("a socket of address family {family}"))),
    }
}

/// Makes all sockets again, by the numbers of their descriptions. Pairs come first: to make some of them, a
/// name is needed for a moment that a socket which listens then takes.
pub(crate) fn rebuild(
    descriptions: &BTreeMap<u32, DescriptionV1>,
    places: &Places,
) -> Result<BTreeMap<u32, OwnedFd>> {
    let mut made = BTreeMap::new();
    for (id, record) in descriptions {
        if let (Some(DescriptionKind::SocketPair(end)), false) = (&record.kind, made.contains_key(id)) {
            made.extend(pair::rebuild(*id, end, descriptions, places)?);
        }
    }
    let alone = |record: &DescriptionV1| match &record.kind {
        Some(DescriptionKind::Socket(socket)) => Some((record.id, socket.clone())),
        _ => None,
    };
    let alone: Vec<(u32, SocketV1)> = descriptions.values().filter_map(alone).collect();
    for (id, socket) in &alone {
        let rebuilt = if socket.family == libc::AF_UNIX {
            unix::rebuild(socket, places)?
        } else {
            internet::rebuild(socket)?
        };
        made.insert(*id, rebuilt);
    }
    for (id, socket) in &alone {
        unix::connect(&made[id], socket, places)?;
    }
    Ok(made)
}

/// What poll(2) says.
fn signs(seen: &Seen) -> PollFlags {
    let mut fds = [PollFd::new(&seen.duplicate, PollFlags::IN | PollFlags::PRI)];
    match poll(&mut fds, Some(&Timespec::default())) {
        Ok(_) => fds[0].revents(),
        Err(_) => PollFlags::empty(),
    }
}

/// The kernel doubles what is set, for its own overhead (SO_SNDBUF in socket(7)).
fn buffer(shown: i32) -> u32 {
    shown.cast_unsigned() / 2
}

/// Options that are kept as they are, by level.
const KEPT: [(i32, &[i32]); 5] = [
    (
        libc::SOL_SOCKET,
        &[
            libc::SO_REUSEADDR,
            libc::SO_REUSEPORT,
            libc::SO_KEEPALIVE,
            libc::SO_BROADCAST,
            libc::SO_OOBINLINE,
            libc::SO_PRIORITY,
            libc::SO_LINGER,
            libc::SO_RCVLOWAT,
            libc::SO_RCVTIMEO,
            libc::SO_SNDTIMEO,
            libc::SO_TIMESTAMP,
            libc::SO_PASSCRED,
            libc::SO_PASSSEC,
            SO_PASSPIDFD,
            libc::SO_PEEK_OFF,
        ],
    ),
    (
        libc::IPPROTO_TCP,
        &[
            libc::TCP_NODELAY,
            libc::TCP_KEEPIDLE,
            libc::TCP_KEEPINTVL,
            libc::TCP_KEEPCNT,
            libc::TCP_USER_TIMEOUT,
            libc::TCP_DEFER_ACCEPT,
            libc::TCP_FASTOPEN,
        ],
    ),
    (
        libc::IPPROTO_UDP,
        &[libc::UDP_CORK, libc::UDP_SEGMENT, libc::UDP_GRO],
    ),
    (
        libc::IPPROTO_IP,
        &[
            libc::IP_TOS,
            libc::IP_TTL,
            libc::IP_PKTINFO,
            libc::IP_MULTICAST_TTL,
            libc::IP_MULTICAST_LOOP,
        ],
    ),
    (
        libc::IPPROTO_IPV6,
        &[
            libc::IPV6_V6ONLY,
            libc::IPV6_UNICAST_HOPS,
            libc::IPV6_RECVPKTINFO,
            libc::IPV6_MULTICAST_HOPS,
        ],
    ),
];
/// Linux 6.5.
const SO_PASSPIDFD: i32 = 76;

/// Those that this socket has.
fn options(socket: BorrowedFd<'_>) -> Vec<SocketOptionV1> {
    let each = KEPT
        .iter()
        .flat_map(|(level, names)| names.iter().map(|name| (*level, *name)));
    let has = |(level, name)| {
        Some(SocketOptionV1 {
            level,
            name,
            value: option(socket, level, name).ok()?,
        })
    };
    each.filter_map(has).collect()
}

/// Sets options where they differ from those of a new socket.
fn set_options(socket: BorrowedFd<'_>, options: &[SocketOptionV1]) -> io::Result<()> {
    for wanted in options {
        let now = option(socket, wanted.level, wanted.name);
        if now.is_ok_and(|now| now != wanted.value) {
            set_option(socket, wanted.level, wanted.name, &wanted.value)?;
        }
    }
    Ok(())
}

/// Sets the sizes of the buffers where they differ from those of a new socket.
fn set_buffers(socket: BorrowedFd<'_>, send: u32, receive: u32) -> io::Result<()> {
    for (name, wanted) in [(libc::SO_SNDBUF, send), (libc::SO_RCVBUF, receive)] {
        if buffer(int_option(socket, libc::SOL_SOCKET, name)?) != wanted {
            set_option(socket, libc::SOL_SOCKET, name, &wanted.to_ne_bytes())?;
        }
    }
    Ok(())
}

/// Shuts down what was.
fn shut(socket: BorrowedFd<'_>, state: u32) -> io::Result<()> {
    use rustix::net::{Shutdown, shutdown};
    match state {
        0 => Ok(()),
        1 => shutdown(socket, Shutdown::Read).map_err(io::Error::from),
        2 => shutdown(socket, Shutdown::Write).map_err(io::Error::from),
        _ => shutdown(socket, Shutdown::Both).map_err(io::Error::from),
    }
}
