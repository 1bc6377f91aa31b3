//! Unix sockets that are connected with each other, with the bytes in flight in both directions.

use super::super::descriptor::Seen;
use super::{name, queue, set_buffers, set_options, shut, signs, unix};
use crate::Result;
use crate::error::Context;
use crate::restart::{Places, damaged};
use rethaw_image::record::{DescriptionKind, DescriptionV1, SocketPairV1, SocketV1, UnixNameV1};
use rethaw_sys::socket::unix_socket;
use rustix::event::PollFlags;
use rustix::net::{SendFlags, SocketFlags, accept_with, connect, listen, send};
use std::collections::BTreeMap;
use std::fs;
use std::os::fd::{AsFd, OwnedFd};

/// `peer`: the description of the other end, if that is open.
pub(super) fn collect(seen: &Seen, peer: Option<(u32, &Seen)>, record: SocketV1) -> Result<SocketPairV1> {
    let stream = record.socket_type == libc::SOCK_STREAM;
    let signs = signs(seen);
    let reset = signs.contains(PollFlags::ERR);
    // Looking at messages would consume the error; only a stream shows its bytes first.
    if reset && (peer.is_some() || !stream && waits(seen)) {
        return Err(seen.refused("a socket with an error that the program has not read yet"));
    }
    let queue = if reset && !stream {
        Vec::new()
    } else {
        queue::copy(seen, stream)?
    };
    let readable = !reset && signs.contains(PollFlags::IN) && record.shutdown & 1 == 0;
    if !stream && (queue.is_empty() && readable || hides(peer, &queue, record.socket_type)?) {
        // Each can be looked at once only, and an earlier checkpoint did.
        return Err(seen.refused("a socket in which empty messages wait, at a second checkpoint"));
    }
    Ok(SocketPairV1 {
        peer: peer.map_or(0, |(number, _)| number),
        socket_type: record.socket_type,
        queue,
        shutdown: record.shutdown,
        send_buffer: record.send_buffer,
        receive_buffer: record.receive_buffer,
        options: record.options,
        reset,
        bound: record.bound,
    })
}

/// Whether the other end has sent more than these messages: what it sent takes more memory than they do when
/// they are sent again.
fn hides(peer: Option<(u32, &Seen)>, messages: &[Vec<u8>], socket_type: i32) -> Result<bool> {
    const LEAST: u32 = 512; // struct sk_buff and struct skb_shared_info, without any bytes
    let Some((_, sender)) = peer else { return Ok(false) };
    if messages.is_empty() {
        return Ok(false);
    }
    let name = || "cannot try a socket pair".to_owned();
    let sample = unix::make_pair(socket_type)?;
    queue::refill(sample.0.as_fd(), messages, false).context(name)?;
    let shown = unix_socket(unix::inode(&sample.0).context(name)?).context(name)?;
    Ok(unix::look(sender)?.backlog_or_sent >= shown.backlog_or_sent + LEAST)
}

fn waits(seen: &Seen) -> bool {
    rustix::io::ioctl_fionread(&seen.duplicate).is_ok_and(|bytes| bytes > 0)
}

/// Makes a pair again, of which `end`, description `id`, is one end. Gives the ends that are open.
pub(super) fn rebuild(
    id: u32,
    end: &SocketPairV1,
    descriptions: &BTreeMap<u32, DescriptionV1>,
    places: &Places,
) -> Result<Vec<(u32, OwnedFd)>> {
    let other = match descriptions.get(&end.peer).and_then(|d| d.kind.as_ref()) {
        Some(DescriptionKind::SocketPair(other)) if other.peer == id => Some(other),
        _ if end.peer == 0 => None,
        _ => return Err(damaged("a socket whose other end is missing")),
    };
    let name = || "cannot put back the bytes in flight of a socket pair".to_owned();
    let stream = end.socket_type == libc::SOCK_STREAM;
    let (one, two) = make(end, other, places)?;
    queue::refill(two.as_fd(), &end.queue, stream).context(name)?;
    let Some(other) = other else {
        if end.reset {
            send(&one, b"x", SendFlags::DONTWAIT | SendFlags::NOSIGNAL).context(name)?;
        }
        drop(two);
        finish(&one, end)?;
        return Ok(vec![(id, one)]);
    };
    queue::refill(one.as_fd(), &other.queue, stream).context(name)?;
    finish(&one, end)?;
    finish(&two, other)?;
    Ok(vec![(id, one), (end.peer, two)])
}

/// What must not be before the queue is full again.
fn finish(socket: &OwnedFd, record: &SocketPairV1) -> Result<()> {
    let name = || "cannot rebuild a socket pair".to_owned();
    set_buffers(socket.as_fd(), record.send_buffer, record.receive_buffer).context(name)?;
    set_options(socket.as_fd(), &record.options).context(name)?;
    shut(socket.as_fd(), record.shutdown).context(name)
}

/// The two ends, connected and bound.
fn make(one: &SocketPairV1, two: Option<&SocketPairV1>, places: &Places) -> Result<(OwnedFd, OwnedFd)> {
    let bound = |end: Option<&SocketPairV1>| end.and_then(|end| end.bound.clone());
    let names = (bound(Some(one)), bound(two));
    if one.socket_type == libc::SOCK_DGRAM {
        let pair = unix::make_pair(one.socket_type)?;
        for (socket, bound) in [(&pair.0, names.0), (&pair.1, names.1)] {
            bound
                .map(|bound| name::take(socket.as_fd(), &bound, places))
                .transpose()?;
        }
        return Ok(pair);
    }
    match names {
        (None, None) => unix::make_pair(one.socket_type),
        (Some(server), client) => accept(one.socket_type, server, client, places),
        (None, Some(server)) => {
            accept(one.socket_type, server, None, places).map(|(server, client)| (client, server))
        }
    }
}

/// An end that was accepted has the name of the socket that listened, which many may have at once: it can only
/// be accepted again. Gives the accepted end first.
fn accept(
    socket_type: i32,
    mut server: UnixNameV1,
    client: Option<UnixNameV1>,
    places: &Places,
) -> Result<(OwnedFd, OwnedFd)> {
    let context = || format!("cannot connect a pair of sockets at {}", name::show(&server.name));
    let address = name::address(&server.name, places).context(context)?;
    let listener = unix::make(socket_type)?;
    let connector = unix::make(socket_type)?;
    // The file stays for the moment of connecting.
    server.mode = server.mode.max(0o600);
    name::take(listener.as_fd(), &server, places)?;
    let context = || format!("cannot connect a pair of sockets at {}", name::show(&server.name));
    listen(&listener, 1).context(context)?;
    if let Some(client) = client {
        name::take(connector.as_fd(), &client, places)?;
    }
    connect(&connector, &address).context(context)?;
    let accepted = accept_with(&listener, SocketFlags::CLOEXEC).context(context)?;
    if let Some(path) = address.path_bytes() {
        fs::remove_file(crate::resource::file::path_of(path)).context(context)?;
    }
    Ok((accepted, connector))
}
