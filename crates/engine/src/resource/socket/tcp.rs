//! TCP connections: which sockets are each other's ends, and what waits in them.

use super::super::descriptor::Seen;
use super::drain::{self, Flow, Source};
use super::{Around, address, internet, signs, unread};
use crate::Result;
use crate::checkpoint::External;
use crate::error::{Context, Error};
use crate::others::Others;
use rethaw_image::record::{DescriptionKind, Elsewhere, SocketV1, TcpConnectionV1, TcpStage};
use rethaw_sys::inet_diag::{TcpSocket, canonical, state, tcp_connections, tcp_socket};
use rethaw_sys::proc::Pid;
use rethaw_sys::socket::{int_option, option};
use rustix::event::PollFlags;
use rustix::net::getsockname;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// A TCP socket of the computation.
#[derive(Debug, Clone, Copy)]
struct End {
    /// Number of its description.
    number: u32,
    state: u8,
    own: SocketAddr,
    /// Unspecified, when there is none.
    peer: Option<SocketAddr>,
}

/// A connection that a socket of the computation has not accepted yet.
#[derive(Debug, Clone, Copy)]
struct Waiting {
    listener: u32,
    socket: TcpSocket,
}

/// All TCP sockets of a computation.
#[derive(Debug, Default)]
pub(super) struct Ends {
    /// By where their descriptions were first seen.
    by_place: BTreeMap<(Pid, i32), End>,
    /// Those that are connected, by own and peer's address.
    connected: BTreeMap<(SocketAddr, SocketAddr), u32>,
    waiting: Vec<Waiting>,
    /// Those that lead to other nodes of the computation, and whether they accept at a restart.
    elsewhere: BTreeMap<(SocketAddr, SocketAddr), bool>,
}

/// Where the other end of a connection is.
enum Other {
    /// A description.
    Open(u32),
    /// In the queue of a socket that listens, for so many milliseconds.
    Waiting(u32, u32),
    /// Nobody has it open any more.
    Closed,
    /// The same, but not all of its bytes have arrived.
    Ending,
    /// On another node of the computation. At a restart, this end accepts.
    Elsewhere(bool),
    Outside,
}

impl Ends {
    /// Looks at all, once everything that is on its way has arrived.
    pub fn look(all: &[Seen], others: Option<&mut dyn Others>) -> Result<Ends> {
        let before = Ends::connected(all);
        let elsewhere = match others {
            Some(others) => before.drain_with(all, others)?,
            None if before.connected.is_empty() => BTreeMap::new(),
            None => {
                drain::drain(before.flows(all), &mut || {}).context(cannot_drain)?;
                BTreeMap::new()
            }
        };
        // What has arrived may have ended connections.
        let mut ends = Ends::connected(all).with_waiting(all)?;
        ends.elsewhere = elsewhere;
        Ok(ends)
    }

    /// The same together with the other nodes of the computation, to which some of these lead.
    fn drain_with(
        &self,
        all: &[Seen],
        others: &mut dyn Others,
    ) -> Result<BTreeMap<(SocketAddr, SocketAddr), bool>> {
        Ends::connected(all)
            .with_waiting(all)?
            .refuse_to_wait_for_others(all)?;
        let inside = others.frozen(self.leading_away())?;
        let elsewhere: BTreeMap<_, _> = inside
            .iter()
            .map(|one| ((one.own, one.peer), one.accepts))
            .collect();
        let mut flows = self.flows(all);
        let sockets: Vec<&OwnedFd> = elsewhere
            .keys()
            .filter_map(|key| self.connected.get(key))
            .filter_map(|number| Some(&all.get(*number as usize - 1)?.duplicate))
            .collect();
        flows.extend(sockets.iter().map(|socket| Flow {
            from: Source::Open(socket),
            to: None,
        }));
        let rooms = drain::make_room(&sockets).context(cannot_drain)?;
        let mut receive = || {
            sockets
                .iter()
                .for_each(|socket| drain::acknowledge(socket.as_fd()))
        };
        let arrived = drain::drain(flows, &mut receive)
            .context(cannot_drain)
            .and_then(|()| others.drained(&mut receive));
        rooms
            .into_iter()
            .try_for_each(drain::Room::leave)
            .context(cannot_drain)?;
        arrived.map(|()| elsewhere)
    }

    /// Ends whose other ends are not among these.
    fn leading_away(&self) -> Vec<crate::others::End> {
        let listening: Vec<SocketAddr> = self
            .by_place
            .values()
            .filter(|end| end.state == state::LISTEN)
            .map(|end| end.own)
            .collect();
        let away = self
            .connected
            .keys()
            .filter(|(own, peer)| !self.connected.contains_key(&(*peer, *own)));
        away.map(|(own, peer)| crate::others::End {
            own: *own,
            peer: *peer,
            listens: listening.iter().any(|listener| listens_at(*listener, *own)),
        })
        .collect()
    }

    /// A connection from another node that is not accepted yet: nobody there can know that it is one of ours.
    fn refuse_to_wait_for_others(&self, all: &[Seen]) -> Result<()> {
        let far = self
            .waiting
            .iter()
            .find(|one| !address::is_here(one.socket.peer.ip()));
        match far.and_then(|one| all.get(one.listener as usize - 1)) {
            Some(seen) => Err(try_again(
                seen,
                "a TCP socket with a connection from another node that it has not accepted yet",
            )),
            None => Ok(()),
        }
    }

    fn connected(all: &[Seen]) -> Ends {
        let mut ends = Ends::default();
        for (number, seen) in (1..).zip(all) {
            let Some(end) = look_at(number, seen) else {
                continue;
            };
            ends.by_place.insert((seen.pid, seen.fd), end);
            if let (true, Some(peer)) = (is_connected(end.state), end.peer) {
                ends.connected.insert((end.own, peer), number);
            }
        }
        ends
    }

    /// Both directions of all connections whose two ends are here, and what closed sockets still have to deliver.
    fn flows<'a>(&self, all: &'a [Seen]) -> Vec<Flow<'a>> {
        let socket = |number: u32| all.get(number as usize - 1).map(|seen| &seen.duplicate);
        let flow = |((own, peer), number): (&(SocketAddr, SocketAddr), &u32)| {
            let from = match self.connected.get(&(*peer, *own)) {
                Some(other) => Source::Open(socket(*other)?),
                None => Source::Closed(*peer, *own),
            };
            let to = socket(*number);
            to.is_some().then_some(Flow { from, to })
        };
        self.connected.iter().filter_map(flow).collect()
    }

    /// Which connections wait in which queue. Sockets that listen at the same address share them in any way.
    fn with_waiting(mut self, all: &[Seen]) -> Result<Ends> {
        const NOT_ACCEPTED: u32 = 1 << state::ESTABLISHED | 1 << state::CLOSE_WAIT;
        let mut taken = BTreeSet::new();
        let listening = self.by_place.values().filter(|end| end.state == state::LISTEN);
        for end in listening {
            let Some(seen) = all.get(end.number as usize - 1) else {
                continue;
            };
            let count = internet::queue_of(seen)?.waiting as usize;
            if count == 0 {
                continue;
            }
            let mut found = tcp_connections(end.own.port(), NOT_ACCEPTED)
                .context(|| "cannot ask the kernel for TCP connections (sock_diag)".to_owned())?;
            found.retain(|one| {
                let address = (one.own, one.peer);
                one.inode == 0 && listens_at(end.own, one.own) && !taken.contains(&address)
            });
            found.sort_by_key(|one| std::cmp::Reverse(one.idle_ms));
            if found.len() < count {
                return Err(try_again(
                    seen,
                    "a TCP socket with connections that are just coming in",
                ));
            }
            for socket in found.into_iter().take(count) {
                taken.insert((socket.own, socket.peer));
                self.waiting.push(Waiting {
                    listener: end.number,
                    socket,
                });
            }
        }
        Ok(self)
    }

    fn other(&self, own: SocketAddr, peer: SocketAddr) -> io::Result<Other> {
        if let Some(number) = self.connected.get(&(peer, own)) {
            return Ok(Other::Open(*number));
        }
        if let Some(accepts) = self.elsewhere.get(&(own, peer)) {
            return Ok(Other::Elsewhere(*accepts));
        }
        let waits = self
            .waiting
            .iter()
            .find(|one| (one.socket.own, one.socket.peer) == (peer, own));
        if let Some(one) = waits {
            return Ok(Other::Waiting(one.listener, one.socket.idle_ms));
        }
        let Some(found) = tcp_socket(peer, own)? else {
            return Ok(if address::is_here(peer.ip()) {
                Other::Closed
            } else {
                Other::Outside
            });
        };
        let mut listening = self.by_place.values().filter(|end| end.state == state::LISTEN);
        let ours = listening.find(|end| listens_at(end.own, peer));
        Ok(match (found.state, ours) {
            _ if found.inode != 0 => Other::Outside,
            // The queue is full, or the server waits for the first bytes (TCP_DEFER_ACCEPT).
            (state::SYN_RECV, Some(listener)) => Other::Waiting(listener.number, 0),
            (state::SYN_RECV | state::ESTABLISHED | state::CLOSE_WAIT, _) => Other::Outside,
            (of, _) if drain::is_ending(of) => Other::Ending,
            _ => Other::Closed,
        })
    }
}

fn cannot_drain() -> String {
    "cannot bring TCP's bytes to their receivers".to_owned()
}

/// None: not a TCP socket.
fn look_at(number: u32, seen: &Seen) -> Option<End> {
    if !seen.is_socket() {
        return None;
    }
    let fd = seen.duplicate.as_fd();
    let family = int_option(fd, libc::SOL_SOCKET, libc::SO_DOMAIN).ok()?;
    let protocol = int_option(fd, libc::SOL_SOCKET, libc::SO_PROTOCOL).ok()?;
    if ![libc::AF_INET, libc::AF_INET6].contains(&family) || protocol != libc::IPPROTO_TCP {
        return None;
    }
    let own = SocketAddr::try_from(getsockname(fd).ok()?).ok()?;
    Some(End {
        number,
        state: state_of(fd).ok()?,
        own: canonical(own),
        peer: address::peer(fd).map(canonical),
    })
}

/// TCP_INFO of tcp(7).
fn state_of(fd: BorrowedFd<'_>) -> io::Result<u8> {
    let info = option(fd, libc::IPPROTO_TCP, libc::TCP_INFO)?;
    info.first()
        .copied()
        .ok_or_else(|| io::ErrorKind::InvalidData.into())
}

fn is_connected(of: u8) -> bool {
    use state::{CLOSE_WAIT, CLOSING, ESTABLISHED, FIN_WAIT1, FIN_WAIT2, LAST_ACK};
    [ESTABLISHED, FIN_WAIT1, FIN_WAIT2, CLOSE_WAIT, LAST_ACK, CLOSING].contains(&of)
}

fn listens_at(listener: SocketAddr, address: SocketAddr) -> bool {
    listener.port() == address.port() && (listener.ip().is_unspecified() || listener.ip() == address.ip())
}

pub(super) fn collect(seen: &Seen, around: &Around<'_>, mut record: SocketV1) -> Result<DescriptionKind> {
    let name = || format!("cannot look at {}", seen.name());
    let Some(end) = around.tcp.by_place.get(&(seen.pid, seen.fd)) else {
        return Err(seen.refused("a TCP socket that cannot be looked at"));
    };
    record.address = address::text(getsockname(&seen.duplicate).context(name)?);
    let alone = match end.state {
        state::LISTEN => true,
        // One that was never connected has no end of the file.
        state::CLOSE => !signs(seen).contains(PollFlags::RDHUP) || end.peer.is_none(),
        _ => false,
    };
    record.foreign = internet::is_foreign(&record);
    if alone {
        if end.state == state::LISTEN {
            record.backlog = internet::queue_of(seen)?.backlog;
            record.closed_clients = closed_clients(seen, around, end.number)?;
        }
        return Ok(DescriptionKind::Socket(record));
    }
    let peer = address::peer(seen.duplicate.as_fd());
    record.peer_address = peer.map(|peer| peer.to_string()).unwrap_or_default();
    let mut connection = TcpConnectionV1 {
        socket: Some(record),
        ..TcpConnectionV1::default()
    };
    match end.state {
        state::CLOSE => connection.set_stage(TcpStage::Over),
        state::SYN_SENT => connection.set_stage(TcpStage::Connecting),
        of if is_connected(of) => collect_connected(seen, around, *end, &mut connection)?,
        _ => return Err(try_again(seen, "a TCP connection that is just coming into being")),
    }
    unread::collect(seen, &mut connection)?;
    Ok(DescriptionKind::TcpConnection(connection))
}

fn collect_connected(
    seen: &Seen,
    around: &Around<'_>,
    end: End,
    connection: &mut TcpConnectionV1,
) -> Result<()> {
    let Some(peer) = end.peer else {
        return Err(seen.refused("a TCP connection to nowhere"));
    };
    if peer == end.own {
        return Err(seen.refused("a TCP connection of a socket with itself"));
    }
    connection.set_stage(TcpStage::Connected);
    if let Some(socket) = &mut connection.socket {
        socket.shutdown = shutdown(seen, end.state);
    }
    let mut is_inside = true;
    match around
        .tcp
        .other(end.own, peer)
        .context(|| "cannot ask the kernel for a TCP connection (sock_diag)".to_owned())?
    {
        Other::Open(number) => connection.peer = number,
        Other::Waiting(listener, ms) => {
            (connection.listener, connection.waiting_ms) = (listener, ms);
            nothing_sent(seen, around, end.own, peer)?;
        }
        Other::Closed => is_inside = false,
        Other::Ending => return Err(again_later(seen, MORE_THAN_FITS)),
        Other::Elsewhere(_) if signs(seen).contains(PollFlags::PRI) => {
            return Err(again_later(
                seen,
                "a TCP connection to another node with an urgent byte that is not read yet",
            ));
        }
        Other::Elsewhere(accepts) => connection.set_elsewhere(if accepts {
            Elsewhere::Accepts
        } else {
            Elsewhere::Connects
        }),
        Other::Outside => {
            is_inside = false;
            match around.external() {
                External::Refuse => return Err(outside(seen, peer)),
                External::Close => {}
                External::Reset => connection.reset = true,
            }
        }
    }
    if is_inside && unacknowledged(seen) > 0 {
        return Err(again_later(seen, MORE_THAN_FITS));
    }
    Ok(())
}

const MORE_THAN_FITS: &str = "a TCP connection with more bytes on their way than its receiver can take";

fn unacknowledged(seen: &Seen) -> u32 {
    rethaw_sys::inet::unacknowledged(seen.duplicate.as_fd()).unwrap_or(0)
}

/// Nobody can read what a connection holds that is not accepted yet.
fn nothing_sent(seen: &Seen, around: &Around<'_>, own: SocketAddr, peer: SocketAddr) -> Result<()> {
    let waits = |one: &&Waiting| (one.socket.own, one.socket.peer) == (peer, own);
    let received = around
        .tcp
        .waiting
        .iter()
        .find(waits)
        .map_or(0, |one| one.socket.received);
    // The end of the file counts as a byte.
    let sent_end = u32::from(shutdown(seen, state::ESTABLISHED) & 2 != 0);
    if received > sent_end || unacknowledged(seen) > sent_end {
        return Err(try_again(
            seen,
            "a TCP connection that the other program has not accepted yet, with bytes in it",
        ));
    }
    Ok(())
}

/// Clients of connections that wait to be accepted, which were closed meanwhile.
fn closed_clients(seen: &Seen, around: &Around<'_>, listener: u32) -> Result<Vec<String>> {
    let mut closed = Vec::new();
    for one in around.tcp.waiting.iter().filter(|one| one.listener == listener) {
        let (own, peer) = (one.socket.own, one.socket.peer);
        if around.tcp.connected.contains_key(&(peer, own)) {
            continue;
        }
        let client = tcp_socket(peer, own)
            .context(|| "cannot ask the kernel for a TCP connection (sock_diag)".to_owned())?;
        let outside = client.map_or(!address::is_here(peer.ip()), |client| client.inode != 0);
        if outside {
            match around.external() {
                External::Refuse => return Err(outside_waits(seen, peer)),
                External::Close | External::Reset => continue,
            }
        }
        let sent_end = u32::from(one.socket.state == state::CLOSE_WAIT);
        if one.socket.received > sent_end {
            let what = "a TCP socket with a connection that it has not accepted yet, with bytes in it";
            return Err(try_again(seen, what));
        }
        closed.push(peer.to_string());
    }
    Ok(closed)
}

/// Bit 0: no more comes in. Bit 1: nothing more goes out.
fn shutdown(seen: &Seen, of: u8) -> u32 {
    use state::{CLOSING, FIN_WAIT1, FIN_WAIT2, LAST_ACK};
    let now = state_of(seen.duplicate.as_fd()).unwrap_or(of);
    let receive = u32::from(signs(seen).contains(PollFlags::RDHUP));
    let send = u32::from([FIN_WAIT1, FIN_WAIT2, CLOSING, LAST_ACK].contains(&now));
    receive | send << 1
}

fn outside(seen: &Seen, peer: SocketAddr) -> Error {
    Error::Refused {
        what: format!("a TCP connection with {peer}, which is outside of the computation"),
        pid: seen.pid.0,
        place: format!("descriptor {}", seen.fd),
        remedy: "start both programs under one rethaw, take the checkpoint while it is closed, or have it closed at \
                 a restart with --external close (or reset)"
            .to_owned(),
    }
}

fn outside_waits(seen: &Seen, peer: SocketAddr) -> Error {
    Error::Refused {
        what: format!("a TCP connection with {peer}, outside of the computation, that is not accepted yet"),
        pid: seen.pid.0,
        place: format!("descriptor {}", seen.fd),
        remedy: "try again, or have it dropped at a restart with --external close (or reset)".to_owned(),
    }
}

/// What may have passed by the next checkpoint.
fn again_later(seen: &Seen, what: &str) -> Error {
    Error::Refused {
        what: format!("{what} ({})", seen.target.display()),
        pid: seen.pid.0,
        place: format!("descriptor {}", seen.fd),
        remedy: "try again a moment later".to_owned(),
    }
}

/// What will have passed in a few milliseconds.
fn try_again(seen: &Seen, what: &str) -> Error {
    Error::Passing(Box::new(again_later(seen, what)))
}
