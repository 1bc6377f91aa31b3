//! TCP connections, the other direction: both ends are connected again at their old addresses, and the bytes that
//! waited are sent again.

mod join;

use super::drain::{Room, acknowledge};
use super::patience::Patience;
use super::{address, internet, shut};
use crate::Result;
use crate::error::Context;
use crate::restart::damaged;
pub(super) use join::come_and_go;
use join::{Place, begin_connect, connect_patiently, join};
use rethaw_image::record::{DescriptionKind, DescriptionV1, SocketV1, TcpConnectionV1, TcpStage};
use rethaw_sys::inet::unacknowledged;
use rethaw_sys::inet_diag::canonical;
use rethaw_sys::socket::{int_option, set_option};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{SendFlags, send};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

/// Which connections there are, by the numbers of their descriptions.
pub(super) struct Connections<'a> {
    ends: BTreeMap<u32, End<'a>>,
    patience: &'a Patience,
}

type End<'a> = (&'a TcpConnectionV1, &'a SocketV1);

impl<'a> Connections<'a> {
    pub fn of(
        descriptions: &'a BTreeMap<u32, DescriptionV1>,
        patience: &'a Patience,
    ) -> Result<Connections<'a>> {
        let mut found = BTreeMap::new();
        for (id, record) in descriptions {
            if let Some(DescriptionKind::TcpConnection(connection)) = &record.kind {
                let Some(socket) = &connection.socket else {
                    return Err(damaged("a connection without a socket"));
                };
                found.insert(*id, (connection, socket));
            }
        }
        Ok(Connections {
            ends: found,
            patience,
        })
    }

    /// Those that need no socket that listens. What has ended comes first: it needs addresses only for a moment.
    pub fn rebuild(&self) -> Result<BTreeMap<u32, OwnedFd>> {
        let mut made = BTreeMap::new();
        let stage = |wanted: TcpStage| {
            let each = self.ends.iter().map(|(id, pair)| (*id, *pair));
            each.filter(move |(_, (connection, _))| connection.stage() == wanted)
        };
        for (id, (connection, socket)) in stage(TcpStage::Over) {
            made.insert(id, over(connection, socket, self.patience)?);
        }
        let ports = self.servers();
        for (id, (connection, socket)) in stage(TcpStage::Connected) {
            if connection.listener != 0 || made.contains_key(&id) {
                continue;
            }
            if connection.peer == 0 {
                made.insert(id, half(connection, socket, self.patience)?);
                continue;
            }
            let other = self.ends.get(&connection.peer);
            let other = other.filter(|other| other.0.peer == id && connection.peer != id);
            let Some(other) = other else {
                return Err(damaged("a connection whose other end is missing"));
            };
            let (one, two) = pair((connection, socket), *other, &ports, self.patience)?;
            made.insert(id, one);
            made.insert(connection.peer, two);
        }
        Ok(made)
    }

    /// Ports at which connections were most likely accepted: those that several have as their own.
    fn servers(&self) -> BTreeSet<u16> {
        let own = self
            .ends
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
        self.ends.iter().map(|(id, (_, socket))| (*id, *socket))
    }

    /// Those that wait in the queues of sockets that listen, in their order, and those that are still connecting.
    pub fn connect(&self) -> Result<BTreeMap<u32, OwnedFd>> {
        let later = |(connection, _): &End<'_>| {
            connection.listener != 0 || connection.stage() == TcpStage::Connecting
        };
        let mut later: Vec<_> = self.ends.iter().filter(|(_, pair)| later(pair)).collect();
        later.sort_by_key(|(_, (connection, _))| {
            (connection.listener == 0, std::cmp::Reverse(connection.waiting_ms))
        });
        let mut made = BTreeMap::new();
        for (id, (connection, socket)) in later {
            let peer = address::must(&socket.peer_address)?;
            let name = || format!("cannot connect to {peer} again");
            let own = if connection.listener == 0 {
                let own = internet::bound(socket, address::parse(&socket.address)?, self.patience)?;
                begin_connect(&own, peer).context(name)?;
                own
            } else {
                connect_patiently(&Place::of(socket)?, peer, self.patience)?
            };
            finish(&own, socket)?;
            stop_receiving(&own, socket, None)?;
            made.insert(*id, own);
        }
        Ok(made)
    }
}

/// Two ends that are both open.
fn pair(
    one: End<'_>,
    two: End<'_>,
    servers: &BTreeSet<u16>,
    patience: &Patience,
) -> Result<(OwnedFd, OwnedFd)> {
    let (a, b) = (Place::of(one.1)?, Place::of(two.1)?);
    let (a, b) = if servers.contains(&a.address.port()) {
        join(&b, &a, &patience.wait()).map(|(b, a)| (a, b))?
    } else {
        join(&a, &b, &patience.wait())?
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
fn half(connection: &TcpConnectionV1, record: &SocketV1, patience: &Patience) -> Result<OwnedFd> {
    let name = || "cannot rebuild a TCP connection".to_owned();
    let (own, other) = with_stranger(record, patience)?;
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
fn over(connection: &TcpConnectionV1, record: &SocketV1, patience: &Patience) -> Result<OwnedFd> {
    let name = || "cannot rebuild a TCP connection that has ended".to_owned();
    let (own, other) = with_stranger(record, patience)?;
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
fn with_stranger(record: &SocketV1, patience: &Patience) -> Result<(OwnedFd, OwnedFd)> {
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
        && let Ok(joined) = join(&own, &at(peer), &patience.wait_at_most(A_MOMENT))
    {
        return Ok(joined);
    }
    let at_once = patience.wait_at_most(Duration::ZERO);
    let beside = SocketAddr::new(own.address.ip(), 0);
    if let Ok(joined) = join(&own, &at(beside), &at_once) {
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
    join(&own, &at(anywhere), &at_once)
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
