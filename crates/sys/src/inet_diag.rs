//! What sock_diag(7) tells of TCP sockets, also of those that no process has open: connections that were not accepted
//! yet, and those that were closed and still have bytes to deliver.

use crate::socket::{half, too_short, word};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, recv, send, socket_with,
};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;

/// States of a TCP socket (net/tcp_states.h), as TCP_INFO and sock_diag(7) give them.
#[allow(missing_docs)]
pub mod state {
    pub const ESTABLISHED: u8 = 1;
    pub const SYN_SENT: u8 = 2;
    pub const SYN_RECV: u8 = 3;
    pub const FIN_WAIT1: u8 = 4;
    pub const FIN_WAIT2: u8 = 5;
    pub const TIME_WAIT: u8 = 6;
    pub const CLOSE: u8 = 7;
    pub const CLOSE_WAIT: u8 = 8;
    pub const LAST_ACK: u8 = 9;
    pub const LISTEN: u8 = 10;
    pub const CLOSING: u8 = 11;
}

/// A TCP socket of this network namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TcpSocket {
    /// See [`state`].
    pub state: u8,
    /// Its own address; an IPv4 address that is mapped into IPv6 is an IPv4 address here.
    pub own: SocketAddr,
    /// The address of the other end.
    pub peer: SocketAddr,
    /// 0 when no process has it open.
    pub inode: u32,
    /// Bytes waiting to be read.
    pub received: u32,
    /// Bytes that the other end has not acknowledged.
    pub unsent: u32,
    /// shutdown(2) state: bit 0 receive, bit 1 send.
    pub shutdown: u8,
    /// Milliseconds since something last came in; at first, since it was connected.
    pub idle_ms: u32,
}

const HEADER: usize = 16; // struct nlmsghdr
const ANSWER: usize = 72; // struct inet_diag_msg
const REQUEST: u16 = 1; // NLM_F_REQUEST
const DUMP: u16 = 0x300; // NLM_F_DUMP

/// The socket with exactly these two addresses.
pub fn tcp_socket(own: SocketAddr, peer: SocketAddr) -> io::Result<Option<TcpSocket>> {
    let (own, peer) = (canonical(own), canonical(peer));
    let socket = ask(&request(libc::IPPROTO_TCP, REQUEST, u32::MAX, own, peer))?;
    let mut found = Vec::new();
    match read_answer(&socket, &mut found) {
        Err(e) if e.raw_os_error() == Some(libc::ENOENT) => return Ok(None),
        outcome => outcome?,
    };
    // Where there is none, the kernel gives the socket that listens there.
    Ok(found
        .into_iter()
        .find(|found| (found.own, found.peer) == (own, peer)))
}

/// All connections whose own port is this one, in any of the states of the mask.
pub fn tcp_connections(port: u16, states: u32) -> io::Result<Vec<TcpSocket>> {
    at_port(libc::IPPROTO_TCP, port, states)
}

/// In which directions a UDP socket is shut down (shutdown(2)): bit 0 receive, bit 1 send.
pub fn shutdown_of(protocol: i32, port: u16, inode: u32) -> io::Result<u8> {
    let found = at_port(protocol, port, u32::MAX)?;
    let found = found.into_iter().find(|one| one.inode == inode);
    Ok(found.map_or(0, |one| one.shutdown))
}

fn at_port(protocol: i32, port: u16, states: u32) -> io::Result<Vec<TcpSocket>> {
    let mut found = Vec::new();
    for any in [
        IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    ] {
        let (own, peer) = (SocketAddr::new(any, port), SocketAddr::new(any, 0));
        let socket = ask(&request(protocol, REQUEST | DUMP, states, own, peer))?;
        while read_answer(&socket, &mut found)? {}
    }
    Ok(found)
}

/// IPv4 as IPv4, however it is written.
pub fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// Sends a request to sock_diag(7); the answers are to be read from the socket.
pub(crate) fn ask(request: &[u8]) -> io::Result<OwnedFd> {
    let socket = socket_with(
        AddressFamily::NETLINK,
        SocketType::RAW,
        SocketFlags::CLOEXEC,
        Some(netlink::SOCK_DIAG),
    )?;
    send(&socket, request, SendFlags::empty())?;
    Ok(socket)
}

/// struct nlmsghdr, struct inet_diag_req_v2.
fn request(protocol: i32, flags: u16, states: u32, own: SocketAddr, peer: SocketAddr) -> Vec<u8> {
    const LEN: u32 = 72;
    const SOCK_DIAG_BY_FAMILY: u16 = 20;
    const SHOW_INFO: u8 = 1 << 1; // INET_DIAG_INFO, 2
    let family = if own.is_ipv4() {
        libc::AF_INET
    } else {
        libc::AF_INET6
    };
    let mut bytes = LEN.to_ne_bytes().to_vec();
    bytes.extend(SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    bytes.extend(flags.to_ne_bytes());
    bytes.extend([0; 8]);
    bytes.extend([family as u8, protocol as u8, SHOW_INFO, 0]);
    bytes.extend(states.to_ne_bytes());
    bytes.extend(own.port().to_be_bytes());
    bytes.extend(peer.port().to_be_bytes());
    bytes.extend(sixteen(own.ip()));
    bytes.extend(sixteen(peer.ip()));
    bytes.extend(0_u32.to_ne_bytes()); // any interface
    bytes.extend([0xff; 8]); // INET_DIAG_NOCOOKIE
    bytes
}

fn sixteen(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V6(address) => address.octets(),
        IpAddr::V4(address) => {
            let mut bytes = [0; 16];
            bytes[..4].copy_from_slice(&address.octets());
            bytes
        }
    }
}

/// One piece of the answer. Gives whether more comes.
fn read_answer(socket: &OwnedFd, found: &mut Vec<TcpSocket>) -> io::Result<bool> {
    const NLMSG_ERROR: u16 = 2;
    const NLMSG_DONE: u16 = 3;
    const NLM_F_MULTI: u16 = 2;
    let mut bytes = vec![0; 64 << 10];
    let (len, _) = recv(socket, &mut bytes[..], RecvFlags::empty())?;
    let mut rest = &bytes[..len];
    let mut more = true;
    while !rest.is_empty() {
        let length = word(rest, 0).ok_or_else(too_short)? as usize;
        let kind = half(rest, 4).ok_or_else(too_short)?;
        let flags = half(rest, 6).ok_or_else(too_short)?;
        let message = rest.get(HEADER..length).ok_or_else(too_short)?;
        match kind {
            NLMSG_DONE => return Ok(false),
            NLMSG_ERROR => {
                let error = word(message, 0).ok_or_else(too_short)?.cast_signed();
                return Err(io::Error::from_raw_os_error(-error));
            }
            _ => found.push(parse(message)?),
        }
        more = flags & NLM_F_MULTI != 0;
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(more)
}

/// struct inet_diag_msg and its attributes.
fn parse(message: &[u8]) -> io::Result<TcpSocket> {
    const INET_DIAG_INFO: u16 = 2;
    const INET_DIAG_SHUTDOWN: u16 = 8;
    const LAST_DATA_RECEIVED: usize = 52; // struct tcp_info
    let fixed = message.get(..ANSWER).ok_or_else(too_short)?;
    let v4 = i32::from(fixed[0]) == libc::AF_INET;
    let mut socket = TcpSocket {
        state: fixed[1],
        own: address(v4, &fixed[8..24], &fixed[4..6]),
        peer: address(v4, &fixed[24..40], &fixed[6..8]),
        received: word(fixed, 56).unwrap_or_default(),
        unsent: word(fixed, 60).unwrap_or_default(),
        inode: word(fixed, 68).unwrap_or_default(),
        shutdown: 0,
        idle_ms: 0,
    };
    let mut rest = &message[ANSWER..];
    while let (Some(len), Some(kind)) = (half(rest, 0), half(rest, 2)) {
        let len = usize::from(len);
        let value = rest.get(4..len).ok_or_else(too_short)?;
        match kind {
            INET_DIAG_INFO => socket.idle_ms = word(value, LAST_DATA_RECEIVED).unwrap_or_default(),
            INET_DIAG_SHUTDOWN => socket.shutdown = value.first().copied().unwrap_or_default(),
            _ => {}
        }
        rest = rest.get(len.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(socket)
}

fn address(v4: bool, address: &[u8], port: &[u8]) -> SocketAddr {
    let mut octets = [0; 16];
    octets.copy_from_slice(address);
    let ip = if v4 {
        IpAddr::V4(Ipv4Addr::new(octets[0], octets[1], octets[2], octets[3]))
    } else {
        IpAddr::V6(Ipv6Addr::from(octets))
    };
    canonical(SocketAddr::new(ip, u16::from_be_bytes([port[0], port[1]])))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::net::{TcpListener, TcpStream};

    fn seen_from(a: &TcpStream) -> Option<TcpSocket> {
        tcp_socket(a.peer_addr().unwrap(), a.local_addr().unwrap()).unwrap()
    }

    #[test]
    fn the_other_end_is_found_before_and_after_it_is_accepted() {
        for host in ["127.0.0.1:0", "[::1]:0"] {
            let listener = TcpListener::bind(host).unwrap();
            let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            client.write_all(b"four").unwrap();
            let waiting = seen_from(&client).unwrap();
            assert_eq!(
                (waiting.state, waiting.inode, waiting.received),
                (state::ESTABLISHED, 0, 4)
            );
            let port = listener.local_addr().unwrap().port();
            let all = tcp_connections(port, 1 << state::ESTABLISHED).unwrap();
            assert_eq!(all.len(), 1);
            assert_eq!(all[0].peer, client.local_addr().unwrap());
            let server = listener.accept().unwrap().0;
            assert_ne!(seen_from(&client).unwrap().inode, 0);
            drop(server);
        }
    }

    #[test]
    fn a_socket_that_listens_is_no_connection() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let nobody = "127.0.0.1:1".parse().unwrap();
        assert_eq!(tcp_socket(listener.local_addr().unwrap(), nobody).unwrap(), None);
    }

    #[test]
    fn a_cut_answer_is_an_error() {
        assert!(parse(&[0; 71]).is_err());
        let mut message = vec![0; ANSWER];
        message.extend([9, 0, 2, 0, 1]);
        assert!(parse(&message).is_err());
    }
}
