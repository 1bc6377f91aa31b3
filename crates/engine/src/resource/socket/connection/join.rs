//! Connecting two addresses that were connected before, though the kernel may remember that they were.

use super::super::patience::{Patience, Wait};
use super::super::{IP_LOCAL_PORT_RANGE, address, internet, name};
use super::wait_for;
use crate::Result;
use crate::error::{Context, Error};
use rethaw_image::record::SocketV1;
use rethaw_sys::inet_diag::canonical;
use rethaw_sys::socket::{int_option, set_option};
use rustix::event::PollFlags;
use rustix::net::{SocketFlags, accept_with, bind, connect, getsockname, listen};
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};

/// An end that is to be, and its address.
pub(super) struct Place<'a> {
    pub address: SocketAddr,
    pub record: &'a SocketV1,
}

impl Place<'_> {
    /// Where it was.
    pub fn of(record: &SocketV1) -> Result<Place<'_>> {
        let address = address::must(&record.address)?;
        Ok(Place { address, record })
    }
}

/// Connects `a` with `b`, which accepts. The kernel may remember a connection with the same addresses, at the end that
/// was closed first: then the other one has to connect. Between loopback addresses it forgets within a second
/// (net.ipv4.tcp_tw_reuse), else within a minute.
pub(super) fn join(a: &Place<'_>, b: &Place<'_>, wait: &Wait<'_>) -> Result<(OwnedFd, OwnedFd)> {
    loop {
        if let Some(joined) = try_join(a, b)? {
            return Ok(joined);
        }
        if let Some((b, a)) = try_join(b, a)? {
            return Ok((a, b));
        }
        if !wait.goes_on(&[a.address, b.address]) {
            return Err(Error::CannotRestart {
                what: format!(
                    "the addresses of a TCP connection between {} and {} are in use",
                    a.address, b.address
                ),
                remedy: "end the programs that use them (perhaps this one runs already)".to_owned(),
            });
        }
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
pub(super) fn connect_patiently(
    client: &Place<'_>,
    peer: SocketAddr,
    patience: &Patience,
) -> Result<OwnedFd> {
    let wait = patience.wait();
    loop {
        if let Some(connected) = connect_from(client, peer)? {
            return Ok(connected);
        }
        if !wait.goes_on(&[client.address]) {
            return Err(name::in_use(&client.address.to_string()));
        }
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
    if port == 0 || set(late, 1).is_err() || set(IP_LOCAL_PORT_RANGE, range).is_err() {
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
    let back = set(late, before).and_then(|()| set(IP_LOCAL_PORT_RANGE, 0));
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
pub(super) fn begin_connect(socket: &OwnedFd, peer: SocketAddr) -> io::Result<()> {
    rustix::io::ioctl_fionbio(socket, true)?;
    match connect(socket, &peer) {
        Err(rustix::io::Errno::INPROGRESS) => Ok(()),
        outcome => outcome.map_err(io::Error::from),
    }
}

/// A client that connects and closes before it is accepted.
pub(in super::super) fn come_and_go(own: SocketAddr, peer: SocketAddr, patience: &Patience) {
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
    if let Ok(client) = internet::bound(&record, Some(own), patience) {
        let _ = connect_within(&client, peer);
    }
}
