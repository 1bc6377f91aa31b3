//! UDP and UDP-Lite sockets, with the messages that wait in them.

use super::super::descriptor::Seen;
use super::{address, signs};
use crate::Result;
use crate::error::Context;
use rethaw_image::record::{DatagramV1, SocketV1};
use rethaw_sys::inet::unacknowledged;
use rethaw_sys::inet_diag::{canonical, shutdown_of};
use rethaw_sys::socket::{int_option, set_option};
use rustix::event::PollFlags;
use rustix::fs::fstat;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, bind, getpeername, ipproto};
use rustix::net::{recvfrom, sendto, socket_with};
use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

pub(super) fn collect(seen: &Seen, record: &mut SocketV1, own: Option<SocketAddr>) -> Result<()> {
    let name = || format!("cannot look at {}", seen.name());
    let fd = seen.duplicate.as_fd();
    let peer = getpeername(fd).ok().flatten();
    record.peer_address = peer.map(address::text).unwrap_or_default();
    if holds_unsent(fd) {
        return Err(seen.refused("a UDP socket with a message that is not complete yet (UDP_CORK, MSG_MORE)"));
    }
    let signs = signs(seen);
    if let Some(own) = own.filter(|own| own.port() != 0) {
        let inode = fstat(fd).context(name)?.st_ino as u32;
        record.shutdown = shutdown_of(record.protocol, own.port(), inode)
            .context(name)?
            .into();
    }
    // A look would consume the error.
    if !signs.contains(PollFlags::ERR) {
        record.datagrams = copy(fd).context(|| format!("cannot read {}", seen.name()))?;
    }
    Ok(())
}

/// What is not sent yet. A network card may take a moment for what is.
fn holds_unsent(fd: BorrowedFd<'_>) -> bool {
    const TRIES: u32 = 5;
    (0..TRIES).all(|_| {
        let holds = unacknowledged(fd).is_ok_and(|bytes| bytes > 0);
        if holds {
            std::thread::sleep(Duration::from_millis(1));
        }
        holds
    })
}

/// Copies the queue without consuming it: with SO_PEEK_OFF, every look starts behind the one before it.
fn copy(fd: BorrowedFd<'_>) -> io::Result<Vec<DatagramV1>> {
    let set_offset = |value: i32| set_option(fd, libc::SOL_SOCKET, libc::SO_PEEK_OFF, &value.to_ne_bytes());
    let before = int_option(fd, libc::SOL_SOCKET, libc::SO_PEEK_OFF)?;
    set_offset(0)?;
    let mut found = Vec::new();
    let outcome = loop {
        match look(fd) {
            Ok(Some(datagram)) => found.push(datagram),
            Ok(None) => break Ok(found),
            Err(e) => break Err(e),
        }
    };
    set_offset(before)?;
    outcome
}

fn look(fd: BorrowedFd<'_>) -> io::Result<Option<DatagramV1>> {
    const LONGEST: usize = 1 << 16;
    let mut bytes = vec![0; LONGEST];
    let (len, _, sender) = match recvfrom(fd, &mut bytes[..], RecvFlags::PEEK | RecvFlags::DONTWAIT) {
        Err(rustix::io::Errno::AGAIN) => return Ok(None),
        outcome => outcome?,
    };
    let Some(sender) = sender else {
        return Ok(None);
    };
    bytes.truncate(len);
    Ok(Some(DatagramV1 {
        sender: address::text(sender),
        bytes,
    }))
}

/// Sends the messages again, each from the address that it came from: by the program's own socket, or one that has the
/// address for a moment. What came from another machine is lost, as UDP may lose it.
pub(super) fn refill(record: &SocketV1, sockets: &BTreeMap<SocketAddr, BorrowedFd<'_>>) -> Result<()> {
    let Some(own) = address::parse(&record.address)? else {
        return Ok(());
    };
    for datagram in &record.datagrams {
        let Some(sender) = address::parse(&datagram.sender)? else {
            continue;
        };
        let target = reachable(canonical(own), sender);
        let _ = match sockets.get(&canonical(sender)) {
            Some(socket) => send(*socket, target, &datagram.bytes),
            None => passing(sender, record.protocol)
                .and_then(|socket| send(socket.as_fd(), target, &datagram.bytes)),
        };
    }
    Ok(())
}

/// Where to send for a socket that is bound to all addresses: the sender's own, which is one of them.
fn reachable(own: SocketAddr, sender: SocketAddr) -> SocketAddr {
    if own.ip().is_unspecified() {
        SocketAddr::new(canonical(sender).ip(), own.port())
    } else {
        own
    }
}

fn passing(sender: SocketAddr, protocol: i32) -> io::Result<OwnedFd> {
    let sender = canonical(sender);
    let family = if sender.is_ipv4() {
        AddressFamily::INET
    } else {
        AddressFamily::INET6
    };
    let protocol = if protocol == libc::IPPROTO_UDPLITE {
        ipproto::UDPLITE
    } else {
        ipproto::UDP
    };
    let socket = socket_with(family, SocketType::DGRAM, SocketFlags::CLOEXEC, Some(protocol))?;
    bind(&socket, &sender)?;
    Ok(socket)
}

fn send(from: BorrowedFd<'_>, target: SocketAddr, bytes: &[u8]) -> io::Result<()> {
    let family = int_option(from, libc::SOL_SOCKET, libc::SO_DOMAIN)?;
    sendto(
        from,
        bytes,
        SendFlags::DONTWAIT,
        &address::in_family(target, family),
    )?;
    Ok(())
}
