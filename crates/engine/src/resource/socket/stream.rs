//! Connections: stream and seqpacket sockets. An end that was accepted has the name of the socket that listened,
//! which many may have at once: it can only be accepted again.

use super::make::{self, MadeSockets, maker, new, take};
use super::name;
use super::workshop::{Spot, Workshop};
use crate::Result;
use crate::error::Context;
use crate::restart::damaged;
use rethaw_image::record::{UnixNameV1, UnixSocketV1};
use rustix::net::{SocketFlags, accept_with};
use std::os::fd::{AsFd, OwnedFd};

/// Backlog while connections are made again.
const BACKLOG: u32 = 128;

/// A socket that listens while connections are made again, when none of the computation's does.
struct Stage {
    socket: OwnedFd,
    spot: Spot,
    socket_type: i32,
    name: Vec<u8>,
}

/// One end.
struct End<'r> {
    /// 0: it is closed in the end.
    id: u32,
    bound: Option<&'r UnixNameV1>,
    /// Who made the end opposite.
    maker: i32,
}

/// Makes all connections.
pub(super) fn connect(sockets: &mut MadeSockets<'_>, workshop: &mut Workshop<'_>) -> Result<()> {
    let mut stages = Vec::new();
    for (id, record) in sockets.all() {
        if !make::valid(record) {
            return Err(damaged("a Unix socket that cannot be"));
        }
        let connected = record.peer != 0 || record.peer_closed;
        if record.socket_type == libc::SOCK_DGRAM || !connected || sockets.made.contains_key(&id) {
            continue;
        }
        let lost = make::gone(&record.peer_name);
        let one = End {
            id,
            bound: record.bound.as_ref(),
            maker: maker(record),
        };
        let two = match sockets.records.get(&record.peer) {
            Some(other)
                if other.peer == id && other.socket_type == record.socket_type && record.peer != id =>
            {
                End {
                    id: record.peer,
                    bound: other.bound.as_ref(),
                    maker: maker(other),
                }
            }
            None if record.peer_closed => End {
                id: 0,
                bound: lost.as_ref(),
                maker: 0,
            },
            _ => return Err(damaged("a Unix socket whose other end is missing")),
        };
        let (first, second) = one_connection(sockets, record, [&one, &two], &mut stages, workshop)?;
        sockets.made.insert(id, first);
        match two.id {
            0 => sockets.gone.insert(id, second),
            other => sockets.made.insert(other, second),
        };
    }
    Ok(())
}

/// The two ends, connected and bound.
fn one_connection(
    sockets: &mut MadeSockets<'_>,
    record: &UnixSocketV1,
    [one, two]: [&End<'_>; 2],
    stages: &mut Vec<Stage>,
    workshop: &mut Workshop<'_>,
) -> Result<(OwnedFd, OwnedFd)> {
    let socket_type = record.socket_type;
    match (one.bound, two.bound) {
        (None, None) => workshop.pair(one.maker, socket_type),
        (Some(name), other) if other.is_none() || shared(sockets, one, name) => {
            accept(sockets, socket_type, name, [one, two], stages, workshop)
        }
        (_, Some(name)) => {
            let ends = accept(sockets, socket_type, name, [two, one], stages, workshop)?;
            Ok((ends.1, ends.0))
        }
        (Some(name), None) => accept(sockets, socket_type, name, [one, two], stages, workshop),
    }
}

/// Whether other sockets have this name, too: then it is the name of one that listened.
fn shared(sockets: &MadeSockets<'_>, end: &End<'_>, name: &UnixNameV1) -> bool {
    let mut others = sockets.records.iter().filter(|(id, _)| **id != end.id);
    others.any(|(_, other)| other.bound.as_ref().is_some_and(|bound| bound.name == name.name))
}

/// Connects `client` to a socket that listens under `name`. Gives the accepted end first.
fn accept(
    sockets: &mut MadeSockets<'_>,
    socket_type: i32,
    name: &UnixNameV1,
    [server, client]: [&End<'_>; 2],
    stages: &mut Vec<Stage>,
    workshop: &mut Workshop<'_>,
) -> Result<(OwnedFd, OwnedFd)> {
    let context = || format!("cannot connect a pair of sockets at {}", name::show(&name.name));
    let connector = new(socket_type)?;
    if client.id == 0 {
        if let Some(bound) = client.bound {
            take(connector.as_fd(), bound, sockets.places, workshop)?;
        }
    } else {
        sockets.bind(client.id, &connector, client.bound, workshop)?;
    }
    let same = |other: &UnixSocketV1| {
        other.listens
            && other.socket_type == socket_type
            && other.bound.as_ref().is_some_and(|bound| bound.name == name.name)
    };
    let real = sockets
        .records
        .iter()
        .find(|(_, other)| same(other))
        .map(|(id, _)| *id);
    let staged = stages
        .iter()
        .position(|stage| stage.socket_type == socket_type && stage.name == name.name);
    let (listener, spot) = match (real, staged) {
        (Some(id), _) => (sockets.get(id)?, sockets.spots.get(&id)),
        (None, Some(index)) => (stages[index].socket.as_fd(), Some(&stages[index].spot)),
        (None, None) => {
            stages.push(stage(sockets, socket_type, name, workshop)?);
            let stage = &stages[stages.len() - 1];
            (stage.socket.as_fd(), Some(&stage.spot))
        }
    };
    let spot = spot.ok_or_else(|| damaged("a socket that listens without a name"))?;
    // The client is told who listened, the accepted end who connected.
    workshop.listen(client.maker, listener, BACKLOG)?;
    workshop.connect(server.maker, connector.as_fd(), spot)?;
    let accepted = accept_with(listener, SocketFlags::CLOEXEC).context(context)?;
    Ok((accepted, connector))
}

/// Listens under a name whose file, if there is one, stays as it is: only the name counts.
fn stage(
    sockets: &MadeSockets<'_>,
    socket_type: i32,
    name: &UnixNameV1,
    workshop: &mut Workshop<'_>,
) -> Result<Stage> {
    let socket = new(socket_type)?;
    let lost = UnixNameV1 {
        mode: 0,
        ..name.clone()
    };
    let spot = take(socket.as_fd(), &lost, sockets.places, workshop)?;
    Ok(Stage {
        socket,
        spot,
        socket_type,
        name: name.name.clone(),
    })
}

/// Connects those that wait to be accepted, in their order.
pub(super) fn wait(sockets: &mut MadeSockets<'_>, workshop: &mut Workshop<'_>) -> Result<()> {
    for (id, record) in sockets.all() {
        if record.waiting.is_empty() {
            continue;
        }
        let Some(spot) = sockets.spots.get(&id) else {
            return Err(damaged("a socket that listens without a name"));
        };
        let backlog = record.waiting.len().max(BACKLOG as usize) as u32;
        workshop.listen(maker(record), sockets.get(id)?, backlog)?;
        for client in &record.waiting {
            let known = sockets.records.get(client);
            if known.is_none_or(|client| client.socket_type != record.socket_type || client.listens) {
                return Err(damaged("a connection that waits of a socket that is missing"));
            }
            let holder = workshop.holder(*client);
            workshop.connect(holder, sockets.get(*client)?, spot)?;
        }
    }
    Ok(())
}
