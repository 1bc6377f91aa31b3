//! TCP connections to other nodes of the computation, of which one end is in this image and one in another.
//!
//! At a restart one end accepts and the other connects, from its old port where it can have it. They show each other a
//! key that only the nodes know, and which connection they are. Then each sends what waited in its own queue, gets the
//! other's, and sends that back: so the bytes are in the connection again as they were, and no node has to keep or know
//! what waits at another.

use super::address;
use super::connection::{End, Place, connect_from, connect_within, finish, stop_receiving};
use super::drain::{Room, acknowledge};
use super::internet;
use super::patience::Patience;
use crate::Result;
use crate::error::{Context, Error};
use crate::others::Meeting;
use crate::restart::damaged;
use rethaw_image::record::{Elsewhere, SocketV1};
use rethaw_sys::inet_diag::canonical;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{SocketFlags, accept_with, listen};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

/// How long to wait for another node, which may have more to read before it comes so far.
const PATIENCE: Duration = Duration::from_secs(120);
/// How long a stranger may take to show what it is.
const A_MOMENT: Duration = Duration::from_secs(5);
const STEP: Duration = Duration::from_millis(20);

/// A connection by its two addresses, the same on both nodes.
type Key = (SocketAddr, SocketAddr);

/// An end that leads to another node.
struct Way<'a> {
    number: u32,
    end: End<'a>,
    own: SocketAddr,
    peer: SocketAddr,
    accepts: bool,
}

impl Way<'_> {
    fn key(&self) -> Key {
        let (own, peer) = (canonical(self.own), canonical(self.peer));
        (own.min(peer), own.max(peer))
    }
}

/// Connects all ends with those on other nodes, by the numbers of their descriptions.
pub(super) fn rebuild<'a>(
    ends: impl Iterator<Item = (u32, End<'a>)>,
    meeting: &Meeting,
    patience: &Patience,
) -> Result<BTreeMap<u32, OwnedFd>> {
    let mut ways = ends
        .map(|(number, end)| way(number, end))
        .collect::<Result<Vec<_>>>()?;
    // The same order on all nodes, so that none waits for one that waits for it.
    ways.sort_by_key(Way::key);
    let deadline = Instant::now() + PATIENCE;
    let listeners = listeners(&ways, patience)?;
    let mut sockets = BTreeMap::new();
    for way in ways.iter().filter(|way| !way.accepts) {
        sockets.insert(way.key(), reach(way, meeting, deadline)?);
    }
    await_all(&ways, &listeners, meeting, deadline, &mut sockets)?;
    drop(listeners);
    let mut made = BTreeMap::new();
    for way in &ways {
        let Some(mut socket) = sockets.remove(&way.key()) else {
            return Err(damaged("two connections with the same addresses"));
        };
        if !way.accepts {
            socket = confirmed(socket, way, meeting, deadline)?;
        }
        made.insert(way.number, refill(way, socket)?);
    }
    Ok(made)
}

fn way(number: u32, end: End<'_>) -> Result<Way<'_>> {
    let (connection, socket) = end;
    Ok(Way {
        number,
        end,
        own: address::must(&socket.address)?,
        peer: address::must(&socket.peer_address)?,
        accepts: connection.elsewhere() == Elsewhere::Accepts,
    })
}

/// A socket that listens at each address where connections are accepted.
fn listeners(ways: &[Way<'_>], patience: &Patience) -> Result<BTreeMap<SocketAddr, OwnedFd>> {
    let mut made = BTreeMap::new();
    for way in ways.iter().filter(|way| way.accepts) {
        if made.contains_key(&way.own) {
            continue;
        }
        let listener = internet::bound(way.end.1, Some(way.own), patience)?;
        listen(&listener, 4096).context(|| format!("cannot listen at {}", way.own))?;
        made.insert(way.own, listener);
    }
    Ok(made)
}

/// Connects to an end that accepts on another node, which may not have come so far yet. Where the old port is not to be
/// had, as the kernel remembers the old connection for a minute, another one has to do.
fn reach(way: &Way<'_>, meeting: &Meeting, deadline: Instant) -> Result<OwnedFd> {
    let place = Place::of(way.end.1)?;
    loop {
        match try_reach(way, &place).and_then(|socket| introduce(socket, way, meeting)) {
            Ok(socket) => return Ok(socket),
            Err(Error::Os { source, .. }) if Instant::now() < deadline && may_come(&source) => {
                std::thread::sleep(STEP);
            }
            Err(error) => return Err(error),
        }
    }
}

fn may_come(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionRefused, ConnectionReset, HostUnreachable, NetworkUnreachable, TimedOut};
    [
        ConnectionRefused,
        ConnectionReset,
        HostUnreachable,
        NetworkUnreachable,
        TimedOut,
    ]
    .contains(&error.kind())
}

fn try_reach(way: &Way<'_>, place: &Place<'_>) -> Result<OwnedFd> {
    if let Some(socket) = connect_from(place, way.peer)? {
        return Ok(socket);
    }
    let anywhere = SocketAddr::new(way.own.ip(), 0);
    let Some(socket) = internet::try_bound(way.end.1, anywhere)? else {
        return Err(damaged("a connection without a port"));
    };
    connect_within(&socket, way.peer)
        .context(|| format!("cannot connect {} with {} again", way.own, way.peer))?;
    Ok(socket)
}

/// Says which connection it is.
fn introduce(socket: OwnedFd, way: &Way<'_>, meeting: &Meeting) -> Result<OwnedFd> {
    let mut stream = stream(socket).context(|| "cannot use a socket".to_owned())?;
    let name = || format!("cannot reach the node at {}", way.peer);
    stream
        .write_all(&introduction(way.key(), meeting))
        .context(name)?;
    Ok(stream.into())
}

/// Waits until the other node has taken it. Whoever listened there first may have been somebody else, about to stop.
fn confirmed(mut socket: OwnedFd, way: &Way<'_>, meeting: &Meeting, deadline: Instant) -> Result<OwnedFd> {
    loop {
        let mut stream = File::from(socket);
        let mut answer = [0];
        match stream.read_exact(&mut answer).map_err(cut_off) {
            Ok(()) => return Ok(stream.into()),
            Err(e) if Instant::now() < deadline && may_come(&e) => socket = reach(way, meeting, deadline)?,
            Err(e) => return Err(e).context(|| format!("cannot reach the node at {}", way.peer)),
        }
    }
}

fn cut_off(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => io::ErrorKind::ConnectionReset.into(),
        io::ErrorKind::WouldBlock => io::ErrorKind::TimedOut.into(),
        _ => error,
    }
}

/// Reads and writes that do not wait for ever.
fn stream(socket: OwnedFd) -> io::Result<File> {
    for which in [Timeout::Recv, Timeout::Send] {
        set_socket_timeout(&socket, which, Some(PATIENCE))?;
    }
    Ok(socket.into())
}

const INTRODUCTION: usize = 16 + 2 * 18;

fn introduction((one, two): Key, meeting: &Meeting) -> [u8; INTRODUCTION] {
    let mut bytes = [0; INTRODUCTION];
    bytes[..16].copy_from_slice(&meeting.key);
    for (at, address) in [(16, one), (34, two)] {
        let ip = match address.ip() {
            std::net::IpAddr::V4(ip) => ip.to_ipv6_mapped(),
            std::net::IpAddr::V6(ip) => ip,
        };
        bytes[at..at + 16].copy_from_slice(&ip.octets());
        bytes[at + 16..at + 18].copy_from_slice(&address.port().to_be_bytes());
    }
    bytes
}

/// Accepts until every end that is waited for has come. What does not show the key is somebody else's.
fn await_all(
    ways: &[Way<'_>],
    listeners: &BTreeMap<SocketAddr, OwnedFd>,
    meeting: &Meeting,
    deadline: Instant,
    sockets: &mut BTreeMap<Key, OwnedFd>,
) -> Result<()> {
    let mut missing: Vec<&Way<'_>> = ways.iter().filter(|way| way.accepts).collect();
    while let Some(first) = missing.first() {
        if Instant::now() > deadline {
            return Err(not_come(first));
        }
        let Some(listener) = listeners.get(&first.own) else {
            return Err(damaged("a connection without an address"));
        };
        let Some(socket) = accept(listener).context(|| format!("cannot accept at {}", first.own))? else {
            continue;
        };
        let Some(shown) = introduced(&socket) else {
            continue;
        };
        let known = missing
            .iter()
            .position(|way| introduction(way.key(), meeting) == shown);
        let Some(index) = known else { continue };
        let way = missing.swap_remove(index);
        let mut stream = stream(socket).context(|| "cannot use a socket".to_owned())?;
        stream
            .write_all(&[1])
            .context(|| format!("cannot answer the node at {}", way.peer))?;
        sockets.insert(way.key(), stream.into());
    }
    Ok(())
}

fn not_come(way: &Way<'_>) -> Error {
    Error::CannotRestart {
        what: format!(
            "the node at {} did not connect to {} within {} s",
            way.peer,
            way.own,
            PATIENCE.as_secs()
        ),
        remedy: "see what stopped it there, and whether the two nodes reach each other".to_owned(),
    }
}

/// None: nobody has come within a second.
fn accept(listener: &OwnedFd) -> io::Result<Option<OwnedFd>> {
    if !crate::wait_readable(listener.as_fd(), Duration::from_secs(1)) {
        return Ok(None);
    }
    Ok(Some(accept_with(listener, SocketFlags::CLOEXEC)?))
}

fn introduced(socket: &OwnedFd) -> Option<[u8; INTRODUCTION]> {
    set_socket_timeout(socket, Timeout::Recv, Some(A_MOMENT)).ok()?;
    let mut bytes = [0; INTRODUCTION];
    File::from(socket.try_clone().ok()?).read_exact(&mut bytes).ok()?;
    Some(bytes)
}

/// What one node tells the other of its end.
struct Told {
    shutdown: u32,
    queue: Vec<u8>,
}

/// Fills both directions again.
fn refill(way: &Way<'_>, socket: OwnedFd) -> Result<OwnedFd> {
    let name = || {
        format!(
            "cannot put back the bytes in flight between {} and {}",
            way.own, way.peer
        )
    };
    let (connection, record) = way.end;
    internet::set_sizes(socket.as_fd(), record).context(name)?;
    let room = if connection.queue.is_empty() {
        None
    } else {
        Some(Room::make(&socket).context(name)?)
    };
    let told = exchange(&socket, record.shutdown, &connection.queue)
        .map_err(cut_off)
        .context(name)?;
    send_back(&socket, &told.queue, connection.queue.len())
        .map_err(cut_off)
        .context(name)?;
    room.map_or(Ok(()), Room::leave).context(name)?;
    for which in [Timeout::Recv, Timeout::Send] {
        set_socket_timeout(&socket, which, None)
            .map_err(io::Error::from)
            .context(name)?;
    }
    finish(&socket, record)?;
    let other = SocketV1 {
        shutdown: told.shutdown,
        ..SocketV1::default()
    };
    stop_receiving(&socket, record, Some(&other))?;
    Ok(socket)
}

/// Sends one's own queue and receives the other's, at the same time: neither need fit into the buffers.
fn exchange(socket: &OwnedFd, shutdown: u32, queue: &[u8]) -> io::Result<Told> {
    let mut sender = File::from(socket.try_clone()?);
    let mut receiver = File::from(socket.try_clone()?);
    std::thread::scope(|scope| {
        let sent = scope.spawn(move || {
            sender.write_all(&shutdown.to_le_bytes())?;
            sender.write_all(&(queue.len() as u64).to_le_bytes())?;
            sender.write_all(queue)
        });
        let mut head = [0; 12];
        receiver.read_exact(&mut head)?;
        let [shutdown, low, high] = [0, 4, 8].map(|at| {
            let bytes = head.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
            bytes.map_or(0, u32::from_le_bytes)
        });
        let length = u64::from(low) | u64::from(high) << 32;
        if length > MOST {
            return Err(io::Error::other(format!(
                "{length} bytes are said to wait at the other end"
            )));
        }
        let mut queue = vec![0; length as usize];
        receiver.read_exact(&mut queue)?;
        let sent = sent
            .join()
            .map_err(|_| io::Error::other("the sending thread failed"))?;
        sent.map(|()| Told { shutdown, queue })
    })
}

/// Larger than any buffer of the kernel.
const MOST: u64 = 1 << 30;

/// Sends back what the other end had in its queue, and waits until what was in this one's is there again.
fn send_back(socket: &OwnedFd, others: &[u8], expected: usize) -> io::Result<()> {
    let mut sender = File::from(socket.try_clone()?);
    std::thread::scope(|scope| {
        let sent = scope.spawn(move || sender.write_all(others));
        let deadline = Instant::now() + PATIENCE;
        while (rustix::io::ioctl_fionread(socket)? as usize) < expected {
            if Instant::now() > deadline {
                return Err(io::Error::other("the bytes in flight did not arrive"));
            }
            acknowledge(socket.as_fd());
            std::thread::sleep(Duration::from_micros(200));
        }
        sent.join()
            .map_err(|_| io::Error::other("the sending thread failed"))?
    })
}
