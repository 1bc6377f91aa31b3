//! TCP connections, the other direction: both ends are connected again at their old addresses, and the bytes that
//! waited are sent again.

use super::drain::{Room, acknowledge};
use super::{address, internet, shut};
use crate::Result;
use crate::error::{Context, Error};
use crate::restart::damaged;
use rethaw_image::record::{DescriptionKind, DescriptionV1, SocketV1, TcpConnectionV1, TcpStage};
use rethaw_sys::inet::unacknowledged;
use rethaw_sys::inet_diag::{canonical, state, tcp_socket};
use rethaw_sys::socket::{int_option, set_option};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{SendFlags, SocketFlags, accept_with, connect, getsockname, listen, send};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

/// Which connections there are, by the numbers of their descriptions.
pub(super) struct Connections<'a>(BTreeMap<u32, End<'a>>);

type End<'a> = (&'a TcpConnectionV1, &'a SocketV1);

impl<'a> Connections<'a> {
    pub fn of(descriptions: &'a BTreeMap<u32, DescriptionV1>) -> Result<Connections<'a>> {
        let mut found = BTreeMap::new();
        for (id, record) in descriptions {
            if let Some(DescriptionKind::TcpConnection(connection)) = &record.kind {
                let Some(socket) = &connection.socket else {
                    return Err(damaged("a connection without a socket"));
                };
                found.insert(*id, (connection, socket));
            }
        }
        Ok(Connections(found))
    }

    /// Those that need no socket that listens. What has ended comes first: it needs addresses only for a moment.
    pub fn rebuild(&self) -> Result<BTreeMap<u32, OwnedFd>> {
        let mut made = BTreeMap::new();
        let stage = |wanted: TcpStage| {
            let each = self.0.iter().map(|(id, pair)| (*id, *pair));
            each.filter(move |(_, (connection, _))| connection.stage() == wanted)
        };
        for (id, (connection, socket)) in stage(TcpStage::Over) {
            made.insert(id, over(connection, socket)?);
        }
        let ports = self.servers();
        for (id, (connection, socket)) in stage(TcpStage::Connected) {
            if connection.listener != 0 || made.contains_key(&id) {
                continue;
            }
            if connection.peer == 0 {
                made.insert(id, half(connection, socket)?);
                continue;
            }
            let other = self.0.get(&connection.peer).filter(|other| other.0.peer == id);
            let Some(other) = other else {
                return Err(damaged("a connection whose other end is missing"));
            };
            let (one, two) = pair((connection, socket), *other, &ports)?;
            made.insert(id, one);
            made.insert(connection.peer, two);
        }
        Ok(made)
    }

    /// Ports at which connections were most likely accepted: those that several have as their own.
    fn servers(&self) -> BTreeSet<u16> {
        let own = self
            .0
            .values()
            .filter_map(|(_, socket)| address::parse(&socket.address).ok()?);
        let (mut seen, mut twice) = (BTreeSet::new(), BTreeSet::new());
        for address in own {
            if !seen.insert(address.port()) {
                twice.insert(address.port());
            }
        }
        twice
    }

    /// All their sockets.
    pub fn sockets(&self) -> impl Iterator<Item = (u32, &SocketV1)> {
        self.0.iter().map(|(id, (_, socket))| (*id, *socket))
    }

    /// Those that wait in the queues of sockets that listen, in their order, and those that are still connecting.
    pub fn connect(&self) -> Result<BTreeMap<u32, OwnedFd>> {
        let later = |(connection, _): &End<'_>| {
            connection.listener != 0 || connection.stage() == TcpStage::Connecting
        };
        let mut later: Vec<_> = self.0.iter().filter(|(_, pair)| later(pair)).collect();
        later.sort_by_key(|(_, (connection, _))| {
            (connection.listener == 0, std::cmp::Reverse(connection.waiting_ms))
        });
        let mut made = BTreeMap::new();
        for (id, (connection, socket)) in later {
            let peer = address::must(&socket.peer_address)?;
            let name = || format!("cannot connect to {peer} again");
            let own = internet::bound(socket, address::parse(&socket.address)?)?;
            if connection.listener == 0 {
                begin_connect(&own, peer).context(name)?;
            } else {
                connect_within(&own, peer).context(name)?;
            }
            finish(&own, socket)?;
            stop_receiving(&own, socket, None)?;
            made.insert(*id, own);
        }
        Ok(made)
    }
}

/// Two ends that are both open.
fn pair(one: End<'_>, two: End<'_>, servers: &BTreeSet<u16>) -> Result<(OwnedFd, OwnedFd)> {
    let (a, b) = (Place::of(one.1)?, Place::of(two.1)?);
    let (a, b) = if servers.contains(&a.address.port()) {
        join(&b, &a, REMEMBERED).map(|(b, a)| (a, b))?
    } else {
        join(&a, &b, REMEMBERED)?
    };
    refill(&b, &a, one.0)?;
    refill(&a, &b, two.0)?;
    finish(&a, one.1)?;
    finish(&b, two.1)?;
    stop_receiving(&a, one.1, Some(two.1))?;
    stop_receiving(&b, two.1, Some(one.1))?;
    Ok((a, b))
}

/// An end whose other one is closed.
fn half(connection: &TcpConnectionV1, record: &SocketV1) -> Result<OwnedFd> {
    let name = || "cannot rebuild a TCP connection".to_owned();
    let (own, other) = with_stranger(record)?;
    refill(&other, &own, connection)?;
    if connection.reset {
        cut(other).context(name)?;
        wait_for(&own, PollFlags::ERR).context(name)?;
    } else {
        drop(other);
        wait_for(&own, PollFlags::RDHUP).context(name)?;
    }
    finish(&own, record)?;
    Ok(own)
}

/// A connection that has ended in both directions. It is cut off, so that no address of it stays in use.
fn over(connection: &TcpConnectionV1, record: &SocketV1) -> Result<OwnedFd> {
    let name = || "cannot rebuild a TCP connection that has ended".to_owned();
    let (own, other) = with_stranger(record)?;
    refill(&other, &own, connection)?;
    cut(other).context(name)?;
    wait_for(&own, PollFlags::ERR).context(name)?;
    if !connection.reset {
        // Takes the error.
        int_option(own.as_fd(), libc::SOL_SOCKET, libc::SO_ERROR).context(name)?;
    }
    finish(&own, record)?;
    Ok(own)
}

/// Closes a socket without a farewell: the other end gets ECONNRESET.
fn cut(socket: OwnedFd) -> io::Result<()> {
    let at_once = [1_i32, 0].map(i32::to_ne_bytes).concat(); // struct linger
    set_option(socket.as_fd(), libc::SOL_SOCKET, libc::SO_LINGER, &at_once)
}

fn wait_for(socket: &OwnedFd, sign: PollFlags) -> io::Result<()> {
    const LONGEST: Timespec = Timespec {
        tv_sec: 5,
        tv_nsec: 0,
    };
    let mut fds = [PollFd::new(socket, sign)];
    match poll(&mut fds, Some(&LONGEST))? {
        0 => Err(io::ErrorKind::TimedOut.into()),
        _ => Ok(()),
    }
}

/// A connection to a socket of our own, at the other end's old address if that is free here, else at another one.
/// What is over anyway needs no old address at all, if it is not to be had.
fn with_stranger(record: &SocketV1) -> Result<(OwnedFd, OwnedFd)> {
    let own = Place::of(record)?;
    let stranger = SocketV1 {
        family: record.family,
        ..SocketV1::default()
    };
    let at = |address| Place {
        address,
        record: &stranger,
    };
    let peer = address::parse(&record.peer_address)?;
    if let Some(peer) = peer.filter(|peer| address::is_here(canonical(*peer).ip()))
        && let Ok(joined) = join(&own, &at(peer), Duration::ZERO)
    {
        return Ok(joined);
    }
    let beside = SocketAddr::new(own.address.ip(), 0);
    if let Ok(joined) = join(&own, &at(beside), Duration::ZERO) {
        return Ok(joined);
    }
    let loopback = if record.family == libc::AF_INET {
        IpAddr::V4(Ipv4Addr::LOCALHOST)
    } else {
        IpAddr::V6(Ipv6Addr::LOCALHOST)
    };
    let anywhere = SocketAddr::new(loopback, 0);
    let own = Place {
        address: anywhere,
        record,
    };
    join(&own, &at(anywhere), Duration::ZERO)
}

/// An end that is to be, and its address.
struct Place<'a> {
    address: SocketAddr,
    record: &'a SocketV1,
}

impl Place<'_> {
    /// Where it was.
    fn of(record: &SocketV1) -> Result<Place<'_>> {
        let address = address::must(&record.address)?;
        Ok(Place { address, record })
    }
}

/// How long the kernel remembers a connection that was closed (TCP_TIMEWAIT_LEN), and a little more.
const REMEMBERED: Duration = Duration::from_secs(62);

/// Connects `a` with `b`, which accepts. The kernel may remember a connection with the same addresses, at the end that
/// was closed first: then the other one has to connect. Between loopback addresses it forgets within a second
/// (net.ipv4.tcp_tw_reuse), else within a minute.
fn join(a: &Place<'_>, b: &Place<'_>, patience: Duration) -> Result<(OwnedFd, OwnedFd)> {
    let deadline = Instant::now() + patience;
    loop {
        if let Some(joined) = try_join(a, b)? {
            return Ok(joined);
        }
        if let Some((b, a)) = try_join(b, a)? {
            return Ok((a, b));
        }
        if Instant::now() >= deadline || !is_remembered(a.address, b.address) {
            return Err(Error::CannotRestart {
                what: format!(
                    "there is a TCP connection between {} and {} already",
                    a.address, b.address
                ),
                remedy: "end the programs that have it (perhaps this one runs already)".to_owned(),
            });
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn is_remembered(a: SocketAddr, b: SocketAddr) -> bool {
    let waits = |own, peer| matches!(tcp_socket(own, peer), Ok(Some(found)) if found.state != state::ESTABLISHED && found.inode == 0);
    waits(a, b) || waits(b, a)
}

/// None: the kernel has a connection with these addresses.
fn try_join(client: &Place<'_>, server: &Place<'_>) -> Result<Option<(OwnedFd, OwnedFd)>> {
    let name = || format!("cannot connect {} with {} again", client.address, server.address);
    let listener = internet::bound(server.record, Some(server.address))?;
    listen(&listener, 8).context(name)?;
    let own = SocketAddr::try_from(getsockname(&listener).context(name)?).context(name)?;
    let connector = internet::bound(client.record, Some(client.address))?;
    match connect_within(&connector, address::in_family(own, client.record.family)) {
        Err(e) if e.raw_os_error() == Some(libc::EADDRNOTAVAIL) => return Ok(None),
        outcome => outcome.context(name)?,
    }
    let wanted = SocketAddr::try_from(getsockname(&connector).context(name)?).context(name)?;
    loop {
        wait_for(&listener, PollFlags::IN).context(name)?;
        let accepted = accept_with(&listener, SocketFlags::CLOEXEC).context(name)?;
        // Somebody else may have connected to this moment's socket.
        if address::peer(accepted.as_fd()).map(canonical) == Some(canonical(wanted)) {
            return Ok(Some((connector, accepted)));
        }
    }
}

/// Connects, but does not wait for ever where a firewall swallows the packets.
fn connect_within(socket: &OwnedFd, peer: SocketAddr) -> io::Result<()> {
    begin_connect(socket, peer)?;
    wait_for(socket, PollFlags::OUT)?;
    match int_option(socket.as_fd(), libc::SOL_SOCKET, libc::SO_ERROR)? {
        0 => rustix::io::ioctl_fionbio(socket, false).map_err(io::Error::from),
        error => Err(io::Error::from_raw_os_error(error)),
    }
}

/// Leaves it connecting, and not blocking.
fn begin_connect(socket: &OwnedFd, peer: SocketAddr) -> io::Result<()> {
    rustix::io::ioctl_fionbio(socket, true)?;
    match connect(socket, &peer) {
        Err(rustix::io::Errno::INPROGRESS) => Ok(()),
        outcome => outcome.map_err(io::Error::from),
    }
}

/// Sends again what waited to be read in `to`.
fn refill(from: &OwnedFd, to: &OwnedFd, connection: &TcpConnectionV1) -> Result<()> {
    const ALWAYS_FITS: usize = 16 << 10;
    let name = || "cannot put back the bytes in flight of a TCP connection".to_owned();
    let queue = &connection.queue[..];
    let room = (queue.len() > ALWAYS_FITS).then(|| Room::make(to));
    let room = room.transpose().context(name)?;
    match &connection.urgent {
        None => send_all(from, to, queue, SendFlags::empty()).context(name)?,
        Some(urgent) => {
            let at = usize::try_from(urgent.at).ok();
            let Some((before, after)) = at.and_then(|at| queue.split_at_checked(at)) else {
                return Err(damaged("an urgent byte outside of its queue"));
            };
            send_all(from, to, before, SendFlags::empty()).context(name)?;
            send_all(from, to, &[urgent.byte as u8], SendFlags::OOB).context(name)?;
            send_all(from, to, after, SendFlags::empty()).context(name)?;
        }
    }
    let deadline = Instant::now() + LONGEST;
    while unacknowledged(from.as_fd()).context(name)? > 0 && Instant::now() < deadline {
        acknowledge(to.as_fd());
        std::thread::sleep(Duration::from_micros(200));
    }
    room.map_or(Ok(()), Room::leave).context(name)
}

/// Longest time without any progress.
const LONGEST: Duration = Duration::from_secs(5);

fn send_all(from: &OwnedFd, to: &OwnedFd, mut bytes: &[u8], flags: SendFlags) -> io::Result<()> {
    let mut progress = Instant::now();
    while !bytes.is_empty() {
        match send(from, bytes, flags | SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
            Ok(sent) => {
                bytes = &bytes[sent..];
                progress = Instant::now();
            }
            Err(rustix::io::Errno::AGAIN) if progress.elapsed() < LONGEST => {
                acknowledge(to.as_fd());
                let mut fds = [PollFd::new(from, PollFlags::OUT)];
                let moment = Timespec {
                    tv_sec: 0,
                    tv_nsec: 2_000_000,
                };
                poll(&mut fds, Some(&moment))?;
            }
            Err(rustix::io::Errno::AGAIN) => {
                let text = format!(
                    "{} bytes do not fit into the buffers (net.ipv4.tcp_rmem)",
                    bytes.len()
                );
                return Err(io::Error::other(text));
            }
            Err(e) => return Err(e.into()),
        }
    }
    Ok(())
}

/// What must not be before the queues are full again.
fn finish(socket: &OwnedFd, record: &SocketV1) -> Result<()> {
    let name = || "cannot rebuild a TCP connection".to_owned();
    internet::set_sizes(socket.as_fd(), record).context(name)?;
    internet::set_late_options(socket.as_fd(), record).context(name)?;
    // The end of the file arrives by itself, where the other end has said so.
    if record.shutdown & 2 != 0 {
        shut(socket.as_fd(), 2).context(name)?;
    }
    Ok(())
}

/// shutdown(2) of the receiving direction, where the other end has not said the end of the file.
fn stop_receiving(socket: &OwnedFd, record: &SocketV1, other: Option<&SocketV1>) -> Result<()> {
    let told = other.is_some_and(|other| other.shutdown & 2 != 0);
    if record.shutdown & 1 != 0 && !told {
        shut(socket.as_fd(), 1).context(|| "cannot rebuild a TCP connection".to_owned())?;
    }
    Ok(())
}

/// A client that connects and closes before it is accepted.
pub(super) fn come_and_go(own: SocketAddr, peer: SocketAddr) {
    let family = if own.is_ipv4() {
        libc::AF_INET
    } else {
        libc::AF_INET6
    };
    let record = SocketV1 {
        family,
        ..SocketV1::default()
    };
    let peer = match canonical(peer) {
        peer if peer.ip().is_unspecified() => SocketAddr::new(own.ip(), peer.port()),
        peer => peer,
    };
    if let Ok(client) = internet::bound(&record, Some(own)) {
        let _ = connect_within(&client, peer);
    }
}
