//! Datagram sockets: each is connected to one other or none, and takes messages from many.

use super::make::{self, MadeSockets, maker, new, take};
use super::name;
use super::send::deliver;
use super::workshop::{Letter, Workshop};
use crate::Result;
use crate::error::Context;
use crate::restart::damaged;
use rethaw_image::record::UnixSocketV1;
use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Makes those whose connection has no name: both ends at once. All others are connected by name, when the queues
/// are full: a connected socket takes no messages from others.
pub(super) fn pair(sockets: &mut MadeSockets<'_>, workshop: &mut Workshop<'_>) -> Result<()> {
    for (id, record) in sockets.all() {
        if record.socket_type != libc::SOCK_DGRAM || sockets.made.contains_key(&id) {
            continue;
        }
        if record.peer_closed {
            closed(sockets, id, record, workshop)?;
            continue;
        }
        let Some(other) = sockets.records.get(&record.peer).copied() else {
            match record.peer {
                0 => continue,
                _ => return Err(damaged("a Unix socket whose other end is missing")),
            }
        };
        let by_pair = other.bound.is_none() || other.peer == id && record.peer_credentials.is_some();
        if !by_pair {
            continue;
        }
        if other.socket_type != libc::SOCK_DGRAM
            || record.peer == id
            || sockets.made.contains_key(&record.peer)
        {
            return Err(damaged("a Unix socket whose other end is missing"));
        }
        let (one, two) = workshop.pair(maker(record), record.socket_type)?;
        sockets.connected.insert((id, record.peer));
        if other.peer == id {
            sockets.connected.insert((record.peer, id));
        } else {
            disconnect(&two)?;
        }
        sockets.bind(id, &one, record.bound.as_ref(), workshop)?;
        sockets.bind(record.peer, &two, other.bound.as_ref(), workshop)?;
        sockets.made.insert(id, one);
        sockets.made.insert(record.peer, two);
    }
    Ok(())
}

/// One whose other end is closed.
fn closed(
    sockets: &mut MadeSockets<'_>,
    id: u32,
    record: &UnixSocketV1,
    workshop: &mut Workshop<'_>,
) -> Result<()> {
    let (one, two) = workshop.pair(maker(record), record.socket_type)?;
    if let Some(lost) = make::gone(&record.peer_name) {
        take(two.as_fd(), &lost, sockets.places, workshop)?;
    }
    sockets.bind(id, &one, record.bound.as_ref(), workshop)?;
    sockets.made.insert(id, one);
    sockets.gone.insert(id, two);
    Ok(())
}

/// Only while nothing waits in it: the kernel drops what does.
fn disconnect(socket: &OwnedFd) -> Result<()> {
    rustix::net::connect_unspec(socket).context(|| "cannot disconnect a socket".to_owned())
}

/// Sends a message to socket `id` from where it came.
pub(super) fn deliver_to<'m>(
    sockets: &'m MadeSockets<'_>,
    id: u32,
    record: &UnixSocketV1,
    sender: &[u8],
    mut letter: Letter<'m>,
    workshop: &mut Workshop<'_>,
) -> Result<()> {
    let name = || "cannot put back a message in flight".to_owned();
    let stranger;
    let (from, connected) = match sender_of(sockets, id, record, sender)? {
        Some(known) => known,
        None => {
            stranger = new(libc::SOCK_DGRAM)?;
            if let Some(lost) = make::gone(sender) {
                take(stranger.as_fd(), &lost, sockets.places, workshop)?;
            }
            (stranger.as_fd(), false)
        }
    };
    if !connected {
        let spot = sockets.spots.get(&id);
        letter.to = Some(spot.ok_or_else(|| damaged("a message in a socket without a name"))?);
    }
    deliver(workshop, from, false, letter).context(name)
}

/// The socket that is bound to this name, the other end first, and whether it is connected to `id` already.
fn sender_of<'s>(
    sockets: &'s MadeSockets<'_>,
    id: u32,
    record: &UnixSocketV1,
    sender: &[u8],
) -> Result<Option<(BorrowedFd<'s>, bool)>> {
    if let Some(gone) = sockets.gone.get(&id)
        && record.peer_name == sender
    {
        return Ok(Some((gone.as_fd(), true)));
    }
    let fits = |other: &UnixSocketV1| {
        let bound = other.bound.as_ref().map_or(&b""[..], |bound| &bound.name);
        other.socket_type == libc::SOCK_DGRAM && bound == sender
    };
    let peer = sockets
        .records
        .get(&record.peer)
        .filter(|peer| fits(peer))
        .map(|_| record.peer);
    // One without a name is known by being connected here.
    let by_name = || {
        let mut all = sockets.records.iter();
        let found = all.find(|(_, other)| fits(other) && (!sender.is_empty() || other.peer == id));
        found.map(|(id, _)| *id)
    };
    let Some(from) = peer.or_else(by_name) else {
        return Ok(None);
    };
    Ok(Some((
        sockets.get(from)?,
        sockets.connected.contains(&(from, id)),
    )))
}

/// Connects by name.
pub(super) fn connect(
    sockets: &MadeSockets<'_>,
    workshop: &mut Workshop<'_>,
    warnings: &mut Vec<String>,
) -> Result<()> {
    let mut left = BTreeMap::new();
    for (id, record) in sockets.all() {
        if record.service {
            service(sockets.get(id)?, record, warnings)?;
        } else if record.socket_type == libc::SOCK_DGRAM
            && record.peer != 0
            && !sockets.connected.contains(&(id, record.peer))
        {
            left.insert(id, record.peer);
        }
    }
    while let Some((id, peer)) = next(&left) {
        left.remove(&id);
        let spot = sockets.spots.get(&peer);
        let spot = spot.ok_or_else(|| damaged("a Unix socket whose other end is missing"))?;
        workshop.connect(0, sockets.get(id)?, spot)?;
    }
    Ok(())
}

/// Nobody can connect to a socket that is connected to somebody else (EPERM): those come last.
fn next(left: &BTreeMap<u32, u32>) -> Option<(u32, u32)> {
    let awaited = |id: u32, peer: u32| {
        let mut others = left.iter();
        others.any(|(other, to)| *to == id && *other != id && *other != peer)
    };
    let ready = left.iter().find(|(id, peer)| !awaited(**id, **peer));
    ready
        .or_else(|| left.iter().next())
        .map(|(id, peer)| (*id, *peer))
}

/// Connects to a service of this machine.
fn service(socket: BorrowedFd<'_>, record: &UnixSocketV1, warnings: &mut Vec<String>) -> Result<()> {
    let shown = name::show(&record.peer_name);
    let address =
        name::address(&record.peer_name).context(|| format!("cannot connect a socket to {shown}"))?;
    if rustix::net::connect(socket, &address).is_err() {
        warnings.push(format!(
            "nobody takes messages at {shown}, which the program was connected to"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_that_others_connect_to_waits_for_them() {
        let mut left = BTreeMap::from([(1, 2), (2, 3), (3, 3), (4, 2), (5, 6), (6, 5)]);
        let mut order = Vec::new();
        while let Some((id, _)) = next(&left) {
            left.remove(&id);
            order.push(id);
        }
        assert_eq!(order, [1, 4, 2, 3, 5, 6]);
    }
}
