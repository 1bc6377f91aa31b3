//! TCP connections, the other direction: both ends are connected again at their old addresses, and the bytes that
//! waited are sent again.

use super::drain::{Room, acknowledge};
use super::internet::{REMEMBERED, will_be_free};
use super::{address, internet, name, shut};
use crate::Result;
use crate::error::{Context, Error};
use crate::restart::damaged;
use rethaw_image::record::{DescriptionKind, DescriptionV1, SocketV1, TcpConnectionV1, TcpStage};
use rethaw_sys::inet::unacknowledged;
use rethaw_sys::inet_diag::canonical;
use rethaw_sys::socket::{int_option, set_option};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{SendFlags, SocketFlags, accept_with, bind, connect, getsockname, listen, send};
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
            let other = self.0.get(&connection.peer);
            let other = other.filter(|other| other.0.peer == id && connection.peer != id);
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
            let own = if connection.listener == 0 {
                let own = internet::bound(socket, address::parse(&socket.address)?)?;
                begin_connect(&own, peer).context(name)?;
                own
            } else {
                connect_patiently(&Place::of(socket)?, peer)?
            };
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
    let name = || "cannot rebuild a TCP connection".to_owned();
    internet::set_sizes(a.as_fd(), one.1).context(name)?;
    internet::set_sizes(b.as_fd(), two.1).context(name)?;
    refill(&b, &a, one.0, false)?;
    refill(&a, &b, two.0, false)?;
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
    refill(&other, &own, connection, !connection.queue.is_empty())?;
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
    refill(&other, &own, connection, !connection.queue.is_empty())?;
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

/// Between loopback addresses, a closed connection is forgotten within a second.
const A_MOMENT: Duration = Duration::from_millis(1500);

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
        && let Ok(joined) = join(&own, &at(peer), A_MOMENT)
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

/// Connects `a` with `b`, which accepts. The kernel may remember a connection with the same addresses, at the end that
/// was closed first: then the other one has to connect. Between loopback addresses it forgets within a second
/// (net.ipv4.tcp_tw_reuse), else within a minute.
fn join(a: &Place<'_>, b: &Place<'_>, patience: Duration) -> Result<(OwnedFd, OwnedFd)> {
    let begin = Instant::now();
    loop {
        if let Some(joined) = try_join(a, b)? {
            return Ok(joined);
        }
        if let Some((b, a)) = try_join(b, a)? {
            return Ok((a, b));
        }
        if !will_be_free(&[a.address, b.address], begin, patience) {
            return Err(Error::CannotRestart {
                what: format!(
                    "the addresses of a TCP connection between {} and {} are in use",
                    a.address, b.address
                ),
                remedy: "end the programs that use them (perhaps this one runs already)".to_owned(),
            });
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// None: an address, or the connection, is in use or not forgotten yet.
fn try_join(client: &Place<'_>, server: &Place<'_>) -> Result<Option<(OwnedFd, OwnedFd)>> {
    let name = || format!("cannot connect {} with {} again", client.address, server.address);
    let Some(listener) = internet::try_bound(server.record, server.address)? else {
        return Ok(None);
    };
    listen(&listener, 8).context(name)?;
    let own = SocketAddr::try_from(getsockname(&listener).context(name)?).context(name)?;
    let Some(connector) = connect_from(client, address::in_family(own, client.record.family))? else {
        return Ok(None);
    };
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

/// Connects once closed connections are forgotten.
fn connect_patiently(client: &Place<'_>, peer: SocketAddr) -> Result<OwnedFd> {
    let begin = Instant::now();
    loop {
        if let Some(connected) = connect_from(client, peer)? {
            return Ok(connected);
        }
        if !will_be_free(&[client.address], begin, REMEMBERED) {
            return Err(name::in_use(&client.address.to_string()));
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// A socket that connects from its old address. None: that is in use or not forgotten yet.
fn connect_from(client: &Place<'_>, peer: SocketAddr) -> Result<Option<OwnedFd>> {
    let name = || format!("cannot connect {} with {peer} again", client.address);
    if let Some(connector) = connect_by_range(client, peer)? {
        return Ok(Some(connector));
    }
    let Some(connector) = internet::try_bound(client.record, client.address)? else {
        return Ok(None);
    };
    match connect_within(&connector, peer) {
        Err(e) if e.raw_os_error() == Some(libc::EADDRNOTAVAIL) => Ok(None),
        outcome => {
            outcome.context(name)?;
            Ok(Some(connector))
        }
    }
}

/// The kernel itself chooses the port, as it did for the program, out of a range of this one port (IP_LOCAL_PORT_RANGE,
/// Linux 6.3). So it also gives one that another connection has, or that a closed connection had. None: it does not.
fn connect_by_range(client: &Place<'_>, peer: SocketAddr) -> Result<Option<OwnedFd>> {
    let port = client.address.port();
    let socket = internet::unbound(client.record)?;
    let fd = socket.as_fd();
    let late = libc::IP_BIND_ADDRESS_NO_PORT;
    let set = |name: i32, value: u32| set_option(fd, libc::IPPROTO_IP, name, &value.to_ne_bytes());
    let before = int_option(fd, libc::IPPROTO_IP, late)
        .unwrap_or(0)
        .cast_unsigned();
    let range = u32::from(port) << 16 | u32::from(port);
    if port == 0 || set(late, 1).is_err() || set(super::IP_LOCAL_PORT_RANGE, range).is_err() {
        return Ok(None);
    }
    match bind(&socket, &SocketAddr::new(client.address.ip(), 0)) {
        Err(rustix::io::Errno::ADDRNOTAVAIL) => return Err(address::not_here(&client.address)),
        Err(_) => return Ok(None),
        Ok(()) => {}
    }
    let connected = connect_within(&socket, peer).is_ok();
    let own = getsockname(&socket)
        .ok()
        .and_then(|own| SocketAddr::try_from(own).ok());
    // The range counts only inside of net.ipv4.ip_local_port_range.
    if !connected || own.map(|own| own.port()) != Some(port) {
        return Ok(None);
    }
    let back = set(late, before).and_then(|()| set(super::IP_LOCAL_PORT_RANGE, 0));
    back.context(|| "cannot set options of a socket".to_owned())?;
    Ok(Some(socket))
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

/// Sends again what waited to be read in `to`. What does not fit there stays in the sender's buffer, as it was before;
/// only what does not fit there either makes the receiver's buffer larger. `whole`: the sender is about to be closed.
fn refill(from: &OwnedFd, to: &OwnedFd, connection: &TcpConnectionV1, whole: bool) -> Result<()> {
    let name = || "cannot put back the bytes in flight of a TCP connection".to_owned();
    let queue = &connection.queue[..];
    let mut way = Way {
        from,
        to,
        room: whole.then(|| Room::make(to)).transpose().context(name)?,
    };
    match &connection.urgent {
        None => way.send(queue, SendFlags::empty()).context(name)?,
        Some(urgent) => {
            let at = usize::try_from(urgent.at).ok();
            let Some((before, after)) = at.and_then(|at| queue.split_at_checked(at)) else {
                return Err(damaged("an urgent byte outside of its queue"));
            };
            way.send(before, SendFlags::empty()).context(name)?;
            way.send(&[urgent.byte as u8], SendFlags::OOB).context(name)?;
            way.send(after, SendFlags::empty()).context(name)?;
        }
    }
    way.settle().context(name)
}

/// One direction of a connection, while it is filled.
struct Way<'a> {
    from: &'a OwnedFd,
    to: &'a OwnedFd,
    room: Option<Room<'a>>,
}

impl Way<'_> {
    fn send(&mut self, mut bytes: &[u8], flags: SendFlags) -> io::Result<()> {
        let mut progress = Instant::now();
        while !bytes.is_empty() {
            match send(
                self.from,
                bytes,
                flags | SendFlags::DONTWAIT | SendFlags::NOSIGNAL,
            ) {
                Ok(sent) => {
                    bytes = &bytes[sent..];
                    progress = Instant::now();
                }
                Err(rustix::io::Errno::AGAIN) if progress.elapsed() < STANDSTILL => self.wait()?,
                Err(rustix::io::Errno::AGAIN) if self.room.is_none() => {
                    self.room = Some(Room::make(self.to)?);
                    progress = Instant::now();
                }
                Err(rustix::io::Errno::AGAIN) if progress.elapsed() < LONGEST => self.wait()?,
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

    fn wait(&self) -> io::Result<()> {
        acknowledge(self.to.as_fd());
        let mut fds = [PollFd::new(self.from, PollFlags::OUT)];
        let moment = Timespec {
            tv_sec: 0,
            tv_nsec: 2_000_000,
        };
        poll(&mut fds, Some(&moment)).map(drop).map_err(io::Error::from)
    }

    /// Waits until what fits has arrived.
    fn settle(self) -> io::Result<()> {
        let (mut before, mut progress) = (u32::MAX, Instant::now());
        loop {
            acknowledge(self.to.as_fd());
            let now = unacknowledged(self.from.as_fd())?;
            if now == 0 || progress.elapsed() > STANDSTILL {
                break;
            }
            if now != before {
                (before, progress) = (now, Instant::now());
            }
            std::thread::sleep(Duration::from_micros(200));
        }
        self.room.map_or(Ok(()), Room::leave)
    }
}

/// After this, nothing moves any more.
const STANDSTILL: Duration = Duration::from_millis(30);
/// Longest time without any progress, although there is room.
const LONGEST: Duration = Duration::from_secs(5);

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
