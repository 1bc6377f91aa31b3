//! Sockets of IPv4 and IPv6 that are not connected over TCP, and what all of them have.

use super::super::descriptor::Seen;
use super::connection::Connections;
use super::drain::{RECEIVE_LOCK, SEND_LOCK, SO_BUF_LOCK};
use super::patience::Patience;
use super::{Around, address, buffer, multicast, name, shut, tcp, udp};
use crate::Result;
use crate::error::{Context, Error};
use crate::restart::damaged;
use rethaw_image::record::{DescriptionKind, DescriptionV1, SocketOptionV1, SocketV1};
use rethaw_sys::inet;
use rethaw_sys::inet_diag::{canonical, state};
use rethaw_sys::socket::{int_option, option, set_option};
use rustix::net::{
    AddressFamily, SocketFlags, SocketType, bind, connect, getsockname, ipproto, listen, socket_with,
};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

pub(super) fn collect(seen: &Seen, around: &Around<'_>, mut record: SocketV1) -> Result<DescriptionKind> {
    let name = || format!("cannot look at {}", seen.name());
    record.filter = match inet::filter(seen.duplicate.as_fd()) {
        Err(e) if e.raw_os_error() == Some(libc::EACCES) => {
            return Err(seen.refused("a socket with an eBPF filter, which cannot be read back"));
        }
        outcome => outcome.context(name)?,
    };
    match (record.socket_type, record.protocol) {
        (libc::SOCK_STREAM, libc::IPPROTO_TCP) => return tcp::collect(seen, around, record),
        (libc::SOCK_DGRAM, libc::IPPROTO_UDP | libc::IPPROTO_UDPLITE) => {
            let own = getsockname(&seen.duplicate).context(name)?;
            udp::collect(seen, &mut record, SocketAddr::try_from(own).ok())?;
        }
        (libc::SOCK_STREAM, libc::IPPROTO_MPTCP) => collect_mptcp(seen, &mut record)?,
        (_, protocol) => return Err(seen.refused(&format!("an internet socket of protocol {protocol}"))),
    }
    record.address = address::text(getsockname(&seen.duplicate).context(name)?);
    record.foreign = is_foreign(&record);
    Ok(DescriptionKind::Socket(record))
}

/// One that listens (as every server in Go does): what it accepts from ordinary clients is ordinary TCP.
fn collect_mptcp(seen: &Seen, record: &mut SocketV1) -> Result<()> {
    let info = option(seen.duplicate.as_fd(), libc::IPPROTO_TCP, libc::TCP_INFO)
        .context(|| format!("cannot look at {}", seen.name()))?;
    let queue = queue_of(seen)?;
    match info.first() {
        Some(&state::LISTEN) if queue.waiting == 0 => {
            record.backlog = queue.backlog;
            Ok(())
        }
        Some(&state::LISTEN) => {
            let refusal =
                seen.refused("an MPTCP socket with connections that the program has not accepted yet");
            Err(Error::Passing(Box::new(refusal)))
        }
        Some(&state::CLOSE) if address::peer(seen.duplicate.as_fd()).is_none() => Ok(()),
        _ => Err(seen.refused("an MPTCP connection")),
    }
}

/// Whether it is bound to an address that this node does not have, though its options do not allow it: they did when it
/// was bound (IP_FREEBIND).
pub(super) fn is_foreign(record: &SocketV1) -> bool {
    let own = address::parse(&record.address).ok().flatten();
    own.is_some_and(|own| !own.ip().is_unspecified() && !address::is_here(canonical(own).ip()))
}

/// The queue of a socket that listens.
pub(super) struct Queue {
    pub waiting: u32,
    pub backlog: u32,
}

/// TCP_INFO in tcp(7).
pub(super) fn queue_of(seen: &Seen) -> Result<Queue> {
    const UNACKED: usize = 24;
    const SACKED: usize = 28;
    let info = option(seen.duplicate.as_fd(), libc::IPPROTO_TCP, libc::TCP_INFO)
        .context(|| format!("cannot look at {}", seen.name()))?;
    let word = |at: usize| {
        info.get(at..at + 4)
            .and_then(|b| b.try_into().ok())
            .map_or(0, u32::from_ne_bytes)
    };
    Ok(Queue {
        waiting: word(UNACKED),
        backlog: word(SACKED),
    })
}

/// Makes all internet sockets again. Connections come first, because their addresses must not be taken yet by sockets
/// that listen; and those that wait to be accepted after these.
pub(super) fn rebuild(
    descriptions: &BTreeMap<u32, DescriptionV1>,
    patience: &Patience,
) -> Result<BTreeMap<u32, OwnedFd>> {
    let connections = Connections::of(descriptions, patience)?;
    let mut made = connections.rebuild()?;
    let alone: Vec<(u32, &SocketV1)> = descriptions
        .values()
        .filter_map(|record| match &record.kind {
            Some(DescriptionKind::Socket(socket)) if is_internet(socket) => Some((record.id, socket)),
            _ => None,
        })
        .collect();
    let shared = shared_ports(&alone);
    for (id, record) in &alone {
        made.insert(*id, make(record, &shared, patience)?);
    }
    for (id, record) in alone.iter().filter(|(_, record)| record.listens) {
        listen(&made[id], record.backlog.cast_signed())
            .context(|| format!("cannot listen at {}", record.address))?;
    }
    made.extend(connections.connect()?);
    let senders = alone
        .iter()
        .filter(|(_, record)| record.socket_type == libc::SOCK_DGRAM)
        .filter_map(|(id, record)| {
            Some((
                canonical(address::parse(&record.address).ok()??),
                made[id].as_fd(),
            ))
        })
        .collect();
    for (_, record) in &alone {
        udp::refill(record, &senders)?;
    }
    for (id, record) in &alone {
        finish(&made[id], record, patience)?;
    }
    let sockets = alone.iter().copied().chain(connections.sockets());
    for (id, record) in sockets {
        set_bind_options(made[&id].as_fd(), record)
            .context(|| "cannot set options of a socket".to_owned())?;
    }
    Ok(made)
}

/// Ports at which several sockets listen: that they may (SO_REUSEPORT) need not show any more.
fn shared_ports(alone: &[(u32, &SocketV1)]) -> BTreeSet<u16> {
    let (mut seen, mut shared) = (BTreeSet::new(), BTreeSet::new());
    for (_, record) in alone.iter().filter(|(_, record)| record.listens) {
        let own = address::parse(&record.address).ok().flatten();
        shared.extend(own.map(|own| own.port()).filter(|port| !seen.insert(*port)));
    }
    shared
}

fn is_internet(socket: &SocketV1) -> bool {
    [libc::AF_INET, libc::AF_INET6].contains(&socket.family)
}

/// A socket on its own, bound.
fn make(record: &SocketV1, shared: &BTreeSet<u16>, patience: &Patience) -> Result<OwnedFd> {
    let name = || "cannot rebuild an internet socket".to_owned();
    let wanted = address::parse(&record.address)?;
    let mut record = record.clone();
    if wanted.is_some_and(|own| shared.contains(&own.port())) {
        share_port(&mut record);
    }
    let record = &record;
    let socket = match bound(record, wanted, patience) {
        // The kernel had chosen the address by the way to the other end, which may be another one here.
        Err(_) if !record.peer_address.is_empty() => bound(
            record,
            wanted.map(|own| SocketAddr::new(any(own.ip()), own.port())),
            patience,
        )?,
        outcome => outcome?,
    };
    set_sizes(socket.as_fd(), record).context(name)?;
    set_late_options(socket.as_fd(), record).context(name)?;
    multicast::rebuild(socket.as_fd(), &record.memberships)?;
    if let Some(peer) = address::parse(&record.peer_address)? {
        connect(&socket, &peer).context(|| format!("cannot connect a UDP socket to {peer}"))?;
    }
    Ok(socket)
}

fn share_port(record: &mut SocketV1) {
    let is_share =
        |one: &&mut SocketOptionV1| (one.level, one.name) == (libc::SOL_SOCKET, libc::SO_REUSEPORT);
    if let Some(share) = record.options.iter_mut().find(is_share) {
        share.value = 1_i32.to_ne_bytes().to_vec();
    }
}

fn any(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    }
}

/// What comes once everything listens.
fn finish(socket: &OwnedFd, record: &SocketV1, patience: &Patience) -> Result<()> {
    let name = || "cannot rebuild an internet socket".to_owned();
    let own = address::parse(&record.address)?;
    for client in &record.closed_clients {
        let client = address::must(client)?;
        let Some(own) = own else { continue };
        // An address that is taken by now is no loss: nobody is there any more.
        super::connection::come_and_go(client, own, patience);
    }
    match shut(socket.as_fd(), record.shutdown) {
        // It is done nevertheless (inet_shutdown in the kernel).
        Err(e) if e.raw_os_error() == Some(libc::ENOTCONN) => Ok(()),
        outcome => outcome.context(name),
    }
}

/// A new socket, bound. Waits while only closed connections are in the way.
pub(super) fn bound(record: &SocketV1, wanted: Option<SocketAddr>, patience: &Patience) -> Result<OwnedFd> {
    let Some(wanted) = wanted else {
        return unbound(record);
    };
    let wait = patience.wait();
    loop {
        if let Some(socket) = try_bound(record, wanted)? {
            return Ok(socket);
        }
        if record.socket_type == libc::SOCK_DGRAM || !wait.goes_on(&[wanted]) {
            return Err(name::in_use(&wanted.to_string()));
        }
    }
}

/// The same at once; None when the address is in use.
pub(super) fn try_bound(record: &SocketV1, wanted: SocketAddr) -> Result<Option<OwnedFd>> {
    let socket = unbound(record)?;
    match bind(&socket, &wanted) {
        Err(rustix::io::Errno::ADDRINUSE) => Ok(None),
        Err(rustix::io::Errno::ADDRNOTAVAIL) => Err(address::not_here(&wanted)),
        outcome => {
            outcome.context(|| format!("cannot bind a socket to {wanted}"))?;
            Ok(Some(socket))
        }
    }
}

/// A new socket with what has to be set before it is bound. For TCP, SO_REUSEADDR is set until all are bound: old
/// connections of the program, which the kernel remembers for a minute, and those that were made just now, are not in
/// the way then, whereas another program that listens there still is (socket(7)).
pub(super) fn unbound(record: &SocketV1) -> Result<OwnedFd> {
    let name = || "cannot rebuild an internet socket".to_owned();
    let family = AddressFamily::from_raw(record.family as u16);
    let (kind, protocol) = match (record.socket_type, record.protocol) {
        (libc::SOCK_DGRAM, libc::IPPROTO_UDP) => (SocketType::DGRAM, ipproto::UDP),
        (libc::SOCK_DGRAM, libc::IPPROTO_UDPLITE) => (SocketType::DGRAM, ipproto::UDPLITE),
        (libc::SOCK_STREAM, libc::IPPROTO_MPTCP) => (SocketType::STREAM, ipproto::MPTCP),
        (0 | libc::SOCK_STREAM, 0 | libc::IPPROTO_TCP) => (SocketType::STREAM, ipproto::TCP),
        _ => return Err(damaged("a socket of unknown protocol")),
    };
    let socket = socket_with(family, kind, SocketFlags::CLOEXEC, Some(protocol)).context(name)?;
    set_early_options(socket.as_fd(), record).context(name)?;
    if kind == SocketType::STREAM {
        let yes = 1_i32.to_ne_bytes();
        set_option(socket.as_fd(), libc::SOL_SOCKET, libc::SO_REUSEADDR, &yes).context(name)?;
    }
    if record.foreign {
        let (level, option) = free_bind(record.family);
        set_option(socket.as_fd(), level, option, &1_i32.to_ne_bytes()).context(name)?;
    }
    Ok(socket)
}

fn free_bind(family: i32) -> (i32, i32) {
    if family == libc::AF_INET {
        (libc::IPPROTO_IP, libc::IP_FREEBIND)
    } else {
        (libc::IPPROTO_IPV6, libc::IPV6_FREEBIND)
    }
}

/// Options that say whether and how a socket can be bound.
const EARLY: [(i32, i32); 9] = [
    (libc::SOL_SOCKET, libc::SO_REUSEADDR),
    (libc::SOL_SOCKET, libc::SO_REUSEPORT),
    (libc::SOL_SOCKET, libc::SO_BINDTODEVICE),
    (libc::IPPROTO_IP, libc::IP_FREEBIND),
    (libc::IPPROTO_IP, libc::IP_TRANSPARENT),
    (libc::IPPROTO_IP, libc::IP_BIND_ADDRESS_NO_PORT),
    (libc::IPPROTO_IPV6, libc::IPV6_V6ONLY),
    (libc::IPPROTO_IPV6, libc::IPV6_FREEBIND),
    (libc::IPPROTO_IPV6, libc::IPV6_TRANSPARENT),
];

fn is_early(option: &SocketOptionV1) -> bool {
    EARLY.contains(&(option.level, option.name))
}

fn set_early_options(socket: BorrowedFd<'_>, record: &SocketV1) -> io::Result<()> {
    set_where(socket, record, is_early)
}

/// All others, and the filter, which may be locked by one of them.
pub(super) fn set_late_options(socket: BorrowedFd<'_>, record: &SocketV1) -> io::Result<()> {
    if !record.filter.is_empty() {
        inet::attach_filter(socket, &record.filter)?;
    }
    let stream = record.socket_type == libc::SOCK_STREAM;
    let connected = stream && !record.peer_address.is_empty();
    set_where(socket, record, |option| {
        let other = connected && is_of_beginning(option) || stream && is_of_multicast(option);
        !is_early(option) && !other
    })?;
    // IP_TOS sets it too.
    set_where(socket, record, |option| {
        (option.level, option.name) == (libc::SOL_SOCKET, libc::SO_PRIORITY)
    })
}

/// Options that only matter until a TCP socket is connected; then they tell something else or cannot be set.
fn is_of_beginning(option: &SocketOptionV1) -> bool {
    let names = [
        libc::TCP_MAXSEG,
        libc::TCP_SAVE_SYN,
        libc::TCP_FASTOPEN,
        super::TCP_FASTOPEN_CONNECT,
        super::TCP_FASTOPEN_NO_COOKIE,
    ];
    option.level == libc::IPPROTO_TCP && names.contains(&option.name)
}

/// What an accepted TCP socket shows is of the connection's first packet, and cannot be set.
fn is_of_multicast(option: &SocketOptionV1) -> bool {
    let v4 = [
        libc::IP_MULTICAST_TTL,
        libc::IP_MULTICAST_LOOP,
        libc::IP_MULTICAST_IF,
        libc::IP_MULTICAST_ALL,
    ];
    let v6 = [
        libc::IPV6_MULTICAST_HOPS,
        libc::IPV6_MULTICAST_LOOP,
        libc::IPV6_MULTICAST_IF,
        super::IPV6_MULTICAST_ALL,
    ];
    match option.level {
        libc::IPPROTO_IP => v4.contains(&option.name),
        libc::IPPROTO_IPV6 => v6.contains(&option.name),
        _ => false,
    }
}

/// SO_REUSEADDR, SO_REUSEPORT and IP_FREEBIND as they were. A socket that is bound to one IPv6 address is IPV6_V6ONLY from
/// then on, and cannot be set to be anything else.
fn set_bind_options(socket: BorrowedFd<'_>, record: &SocketV1) -> io::Result<()> {
    const ONCE: [(i32, i32); 2] = [
        (libc::SOL_SOCKET, libc::SO_BINDTODEVICE),
        (libc::IPPROTO_IPV6, libc::IPV6_V6ONLY),
    ];
    set_where(socket, record, |option| {
        is_early(option) && !ONCE.contains(&(option.level, option.name))
    })
}

/// Sets options where they differ.
fn set_where(
    socket: BorrowedFd<'_>,
    record: &SocketV1,
    wanted: impl Fn(&SocketOptionV1) -> bool,
) -> io::Result<()> {
    let options: Vec<SocketOptionV1> = record.options.iter().filter(|one| wanted(one)).cloned().collect();
    super::set_options(socket, &options)
}

/// Sets the sizes of the buffers, those that the program has set itself: the others grow as they are needed, and would
/// not do so any more. Where the kernel does not tell (before Linux 5.14), those that differ.
pub(super) fn set_sizes(socket: BorrowedFd<'_>, record: &SocketV1) -> io::Result<()> {
    let lock = record
        .options
        .iter()
        .find(|one| (one.level, one.name) == (libc::SOL_SOCKET, SO_BUF_LOCK));
    let lock = lock.and_then(|one| one.value.first_chunk().copied().map(i32::from_ne_bytes));
    for (name, wanted, bit) in [
        (libc::SO_SNDBUF, record.send_buffer, SEND_LOCK),
        (libc::SO_RCVBUF, record.receive_buffer, RECEIVE_LOCK),
    ] {
        let is_set = lock.is_none_or(|lock| lock & bit != 0);
        if is_set && buffer(int_option(socket, libc::SOL_SOCKET, name)?) != wanted {
            set_option(socket, libc::SOL_SOCKET, name, &wanted.to_ne_bytes())?;
        }
    }
    Ok(())
}
