//! Addresses of internet sockets.

use crate::Result;
use crate::error::Error;
use crate::restart::damaged;
use rethaw_sys::inet_diag::canonical;
use rethaw_sys::socket::{int_option, option_of_length};
use rustix::net::SocketAddrAny;
use std::net::{IpAddr, SocketAddr, SocketAddrV6, UdpSocket};
use std::os::fd::BorrowedFd;

/// Empty when it has no port: then it is not bound.
pub(super) fn text(address: SocketAddrAny) -> String {
    let address = SocketAddr::try_from(address)
        .ok()
        .filter(|address| address.port() != 0);
    address.map(|address| address.to_string()).unwrap_or_default()
}

pub(super) fn parse(text: &str) -> Result<Option<SocketAddr>> {
    match text {
        "" => Ok(None),
        text => text
            .parse()
            .map(Some)
            .map_err(|_| damaged("a socket with an unreadable address")),
    }
}

/// An address that has to be there.
pub(super) fn must(text: &str) -> Result<SocketAddr> {
    parse(text)?.ok_or_else(|| damaged("a connection without an address"))
}

/// The other end's address (SO_PEERNAME). Unlike getpeername(2) it is told after the connection has ended too.
pub(super) fn peer(socket: BorrowedFd<'_>) -> Option<SocketAddr> {
    const SO_PEERNAME: i32 = 28;
    // The kernel refuses to give it into more bytes than an address of the family has.
    let v4 = int_option(socket, libc::SOL_SOCKET, libc::SO_DOMAIN).ok()? == libc::AF_INET;
    let length = if v4 { 16 } else { 28 }; // struct sockaddr_in, sockaddr_in6
    let bytes = option_of_length(socket, libc::SOL_SOCKET, SO_PEERNAME, length).ok()?;
    let family = u16::from_ne_bytes(bytes.get(..2)?.try_into().ok()?);
    let port = u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?);
    let found = if i32::from(family) == libc::AF_INET {
        let octets: [u8; 4] = bytes.get(4..8)?.try_into().ok()?;
        SocketAddr::new(IpAddr::from(octets), port)
    } else {
        let octets: [u8; 16] = bytes.get(8..24)?.try_into().ok()?;
        let scope = u32::from_ne_bytes(bytes.get(24..28)?.try_into().ok()?);
        SocketAddr::V6(SocketAddrV6::new(octets.into(), port, 0, scope))
    };
    (port != 0).then_some(found)
}

/// The same address as a socket of this family writes it.
pub(super) fn in_family(address: SocketAddr, family: i32) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(ip) if family == libc::AF_INET6 => {
            SocketAddr::new(IpAddr::V6(ip.to_ipv6_mapped()), address.port())
        }
        _ if family == libc::AF_INET => canonical(address),
        _ => address,
    }
}

/// Whether it is an address of this machine.
pub(super) fn is_here(ip: IpAddr) -> bool {
    ip.is_loopback() || UdpSocket::bind((ip, 0)).is_ok()
}

pub(super) fn not_here(address: &SocketAddr) -> Error {
    Error::CannotRestart {
        what: format!(
            "{}, which a socket of the program is bound to, is not an address of this node",
            address.ip()
        ),
        remedy: "restart on the node where the checkpoint was taken".to_owned(),
    }
}
