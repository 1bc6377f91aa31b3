//! Sockets: those whose two ends are inside the computation, with what is in flight between them (Unix sockets, TCP),
//! and those that are not connected, with what waits in them. What leads outside follows `--external`.

mod address;
mod connection;
mod datagram;
mod drain;
mod elsewhere;
mod internet;
mod make;
mod multicast;
mod name;
mod netlink;
mod patience;
mod queue;
mod send;
mod service;
mod stream;
mod tcp;
mod udp;
mod unix;
mod unread;
mod workshop;

use super::descriptor::{Processes, Seen};
use super::file::Names;
use crate::Result;
use crate::checkpoint::External;
use crate::error::Context;
use crate::others::{Meeting, Others};
use crate::restart::Notice;
pub(crate) use make::MadeSockets;
use patience::Patience;
use rethaw_image::record::{DescriptionKind, DescriptionV1, SocketOptionV1, SocketV1};
use rethaw_sys::socket::{int_option, option, set_option};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
pub(crate) use service::is_known as is_service;
use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
pub(crate) use unix::{UnixSockets, look};
pub(crate) use workshop::Workshop;

/// What a socket is looked at with.
#[derive(Debug)]
pub(crate) struct Around<'a> {
    tcp: tcp::Ends,
    unix: UnixSockets,
    processes: &'a Processes,
}

impl<'a> Around<'a> {
    /// Looks at all descriptions of a frozen computation.
    pub fn look(
        all: &[Seen],
        processes: &'a Processes,
        unix: UnixSockets,
        others: Option<&mut dyn Others>,
    ) -> Result<Around<'a>> {
        let tcp = tcp::Ends::look(all, others)?;
        Ok(Around { tcp, unix, processes })
    }

    /// Whether description `id` was refused already.
    pub fn is_refused(&self, id: u32) -> bool {
        self.unix.is_refused(id)
    }

    /// What becomes of a connection whose other end is not there.
    fn external(&self) -> External {
        self.unix.external()
    }
}

/// What sockets of all families have.
struct Common {
    socket_type: i32,
    send_buffer: u32,
    receive_buffer: u32,
    options: Vec<SocketOptionV1>,
}

impl Common {
    fn ask(seen: &Seen, option: i32) -> Result<i32> {
        int_option(seen.duplicate.as_fd(), libc::SOL_SOCKET, option)
            .context(|| format!("cannot look at {}", seen.name()))
    }

    fn collect(seen: &Seen) -> Result<Common> {
        Ok(Common {
            socket_type: Common::ask(seen, libc::SO_TYPE)?,
            send_buffer: buffer(Common::ask(seen, libc::SO_SNDBUF)?),
            receive_buffer: buffer(Common::ask(seen, libc::SO_RCVBUF)?),
            options: options(seen.duplicate.as_fd()),
        })
    }

    /// The record of a socket of any family but Unix.
    fn alone(self, seen: &Seen, family: i32) -> Result<SocketV1> {
        Ok(SocketV1 {
            family,
            socket_type: self.socket_type,
            protocol: Common::ask(seen, libc::SO_PROTOCOL)?,
            listens: Common::ask(seen, libc::SO_ACCEPTCONN)? != 0,
            send_buffer: self.send_buffer,
            receive_buffer: self.receive_buffer,
            options: self.options,
            ..SocketV1::default()
        })
    }
}

/// Collects a socket, description `id`.
pub(crate) fn collect(seen: &Seen, id: u32, around: &Around<'_>, names: &Names) -> Result<DescriptionKind> {
    let common = Common::collect(seen)?;
    match Common::ask(seen, libc::SO_DOMAIN)? {
        libc::AF_UNIX => unix::collect(seen, id, around, common, names).map(DescriptionKind::Unix),
        family @ (libc::AF_INET | libc::AF_INET6) => {
            let record = common.alone(seen, family)?;
            internet::collect(seen, around, record)
        }
        libc::AF_NETLINK => {
            let record = common.alone(seen, libc::AF_NETLINK)?;
            netlink::collect(seen, record).map(DescriptionKind::Socket)
        }
        libc::AF_PACKET => Err(seen.refused("a packet socket")),
        libc::AF_VSOCK => Err(seen.refused("a vsock socket")),
        family => Err(seen.refused(&format!("a socket of address family {family}"))),
    }
}

/// Makes all sockets that are no Unix sockets, by the numbers of their descriptions.
pub(crate) fn rebuild(
    descriptions: &BTreeMap<u32, DescriptionV1>,
    meeting: &Meeting,
    notice: Option<Notice>,
) -> Result<BTreeMap<u32, OwnedFd>> {
    let patience = Patience::new(notice);
    let mut made = internet::rebuild(descriptions, meeting, &patience)?;
    for (id, record) in descriptions {
        if let Some(DescriptionKind::Socket(socket)) = &record.kind
            && socket.family == libc::AF_NETLINK
        {
            made.insert(*id, netlink::rebuild(socket)?);
        }
    }
    Ok(made)
}

/// What is done to the TCP sockets of a computation at every checkpoint, since it may be killed at any moment after it: the
/// kernel remembers closed connections for a minute, and would not give their addresses to a restart meanwhile, unless
/// SO_REUSEADDR was set. It is set on what is connected, for which it does not matter, and on what listens, from which
/// connections that are accepted inherit it. The image has what the program had set.
#[derive(Debug, Default)]
pub(crate) struct Farewell(Vec<OwnedFd>);

impl Farewell {
    /// Those among the descriptions of a frozen computation.
    pub fn of<'a>(seen: impl Iterator<Item = &'a Seen>, records: &[DescriptionV1]) -> Farewell {
        let is_tcp = |record: &DescriptionV1| match &record.kind {
            Some(DescriptionKind::TcpConnection(_)) => true,
            Some(DescriptionKind::Socket(socket)) => socket.listens,
            _ => false,
        };
        let sockets = seen.zip(records).filter(|(_, record)| is_tcp(record));
        Farewell(
            sockets
                .filter_map(|(seen, _)| seen.duplicate.try_clone().ok())
                .collect(),
        )
    }

    /// Lets their addresses be used again at once. Nothing is kept of the sockets: one that the program closes while the
    /// image is written has to be closed.
    pub fn say(self) {
        for socket in self.0 {
            // Without it, a restart waits.
            let _ = set_option(
                socket.as_fd(),
                libc::SOL_SOCKET,
                libc::SO_REUSEADDR,
                &1_i32.to_ne_bytes(),
            );
        }
    }
}

/// What poll(2) says.
fn signs(seen: &Seen) -> PollFlags {
    let mut fds = [PollFd::new(
        &seen.duplicate,
        PollFlags::IN | PollFlags::PRI | PollFlags::RDHUP,
    )];
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
const KEPT: [(i32, &[i32]); 7] = [
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
            SO_PASSRIGHTS,
            libc::SO_PEEK_OFF,
            libc::SO_DONTROUTE,
            libc::SO_MARK,
            libc::SO_BINDTODEVICE,
            libc::SO_TIMESTAMPNS,
            libc::SO_TIMESTAMPING,
            SO_TIMESTAMP_NEW,
            SO_TIMESTAMPNS_NEW,
            SO_TIMESTAMPING_NEW,
            libc::SO_RXQ_OVFL,
            libc::SO_NO_CHECK,
            libc::SO_BUSY_POLL,
            libc::SO_MAX_PACING_RATE,
            libc::SO_ZEROCOPY,
            libc::SO_SELECT_ERR_QUEUE,
            libc::SO_TXTIME,
            SO_RCVMARK,
            SO_RCVPRIORITY,
            SO_TXREHASH,
            drain::SO_BUF_LOCK,
            // The last one: then a filter cannot be changed any more.
            libc::SO_LOCK_FILTER,
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
            libc::TCP_CORK,
            libc::TCP_MAXSEG,
            libc::TCP_CONGESTION,
            libc::TCP_SYNCNT,
            libc::TCP_LINGER2,
            libc::TCP_THIN_LINEAR_TIMEOUTS,
            libc::TCP_NOTSENT_LOWAT,
            libc::TCP_SAVE_SYN,
            TCP_FASTOPEN_CONNECT,
            TCP_FASTOPEN_NO_COOKIE,
            TCP_INQ,
            TCP_TX_DELAY,
        ],
    ),
    // NETLINK_PKTINFO, _BROADCAST_ERROR, _NO_ENOBUFS, _CAP_ACK, _EXT_ACK, _GET_STRICT_CHK.
    (SOL_NETLINK, &[3, 4, 5, 10, 11, 12]),
    (
        libc::IPPROTO_UDP,
        &[libc::UDP_CORK, libc::UDP_SEGMENT, libc::UDP_GRO],
    ),
    (libc::IPPROTO_UDPLITE, &[UDPLITE_SEND_CSCOV, UDPLITE_RECV_CSCOV]),
    (
        libc::IPPROTO_IP,
        &[
            libc::IP_TOS,
            libc::IP_TTL,
            libc::IP_PKTINFO,
            libc::IP_MULTICAST_TTL,
            libc::IP_MULTICAST_LOOP,
            libc::IP_MULTICAST_IF,
            libc::IP_MULTICAST_ALL,
            libc::IP_FREEBIND,
            libc::IP_TRANSPARENT,
            libc::IP_BIND_ADDRESS_NO_PORT,
            libc::IP_RECVTTL,
            libc::IP_RECVTOS,
            libc::IP_RECVOPTS,
            libc::IP_RETOPTS,
            libc::IP_RECVORIGDSTADDR,
            libc::IP_MTU_DISCOVER,
            libc::IP_RECVERR,
            libc::IP_MINTTL,
            libc::IP_CHECKSUM,
            libc::IP_UNICAST_IF,
            IP_RECVFRAGSIZE,
            IP_RECVERR_RFC4884,
            IP_LOCAL_PORT_RANGE,
        ],
    ),
    (
        libc::IPPROTO_IPV6,
        &[
            libc::IPV6_V6ONLY,
            libc::IPV6_UNICAST_HOPS,
            libc::IPV6_RECVPKTINFO,
            libc::IPV6_MULTICAST_HOPS,
            libc::IPV6_MULTICAST_LOOP,
            libc::IPV6_MULTICAST_IF,
            IPV6_MULTICAST_ALL,
            libc::IPV6_FREEBIND,
            libc::IPV6_TRANSPARENT,
            libc::IPV6_RECVHOPLIMIT,
            libc::IPV6_RECVRTHDR,
            libc::IPV6_RECVHOPOPTS,
            libc::IPV6_RECVDSTOPTS,
            libc::IPV6_TCLASS,
            libc::IPV6_RECVTCLASS,
            libc::IPV6_MTU_DISCOVER,
            libc::IPV6_RECVERR,
            libc::IPV6_RECVPATHMTU,
            libc::IPV6_DONTFRAG,
            IPV6_FLOWINFO_SEND,
            libc::IPV6_AUTOFLOWLABEL,
            libc::IPV6_ADDR_PREFERENCES,
            libc::IPV6_MINHOPCOUNT,
            libc::IPV6_RECVORIGDSTADDR,
            libc::IPV6_UNICAST_IF,
            libc::IPV6_RECVFRAGSIZE,
            IPV6_RECVERR_RFC4884,
        ],
    ),
];
/// Linux 6.5.
const SO_PASSPIDFD: i32 = 76;
/// Linux 6.16.
const SO_PASSRIGHTS: i32 = 83;
// What the library does not have (asm-generic/socket.h, linux/tcp.h, linux/in.h, linux/in6.h).
const SO_TIMESTAMP_NEW: i32 = 63;
const SO_TIMESTAMPNS_NEW: i32 = 64;
const SO_TIMESTAMPING_NEW: i32 = 65;
const SO_TXREHASH: i32 = 74;
const SO_RCVMARK: i32 = 75;
const SO_RCVPRIORITY: i32 = 82;
const TCP_FASTOPEN_CONNECT: i32 = 30;
const TCP_FASTOPEN_NO_COOKIE: i32 = 34;
const TCP_INQ: i32 = 36;
const TCP_TX_DELAY: i32 = 37;
const SOL_NETLINK: i32 = 270;
const UDPLITE_SEND_CSCOV: i32 = 10;
const UDPLITE_RECV_CSCOV: i32 = 11;
const IP_RECVFRAGSIZE: i32 = 25;
const IP_RECVERR_RFC4884: i32 = 26;
const IP_LOCAL_PORT_RANGE: i32 = 51;
const IPV6_MULTICAST_ALL: i32 = 29;
const IPV6_RECVERR_RFC4884: i32 = 31;
const IPV6_FLOWINFO_SEND: i32 = 33;

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
            set_option(socket, wanted.level, wanted.name, &wanted.value).map_err(|e| {
                let (level, name) = (wanted.level, wanted.name);
                io::Error::new(e.kind(), format!("option {name} of level {level}: {e}"))
            })?;
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
