//! Internet sockets: requests that the libraries lack.

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Instructions of a classic BPF program, 8 bytes each (struct sock_filter).
pub type Filter = Vec<u8>;
const INSTRUCTION: usize = 8;
/// The kernel takes no longer programs (BPF_MAXINSNS).
const MOST_INSTRUCTIONS: usize = 4096;

fn check(result: libc::c_int) -> io::Result<()> {
    if result == -1 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

/// Bytes that the other end has not acknowledged (SIOCOUTQ of tcp(7)).
pub fn unacknowledged(socket: BorrowedFd<'_>) -> io::Result<u32> {
    let mut bytes: libc::c_int = 0;
    // SAFETY: the kernel writes one int, which lives.
    check(unsafe { libc::ioctl(socket.as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) })?;
    Ok(bytes.max(0).cast_unsigned())
}

/// Whether the next byte to be read is the one behind the urgent byte (SIOCATMARK of tcp(7)).
pub fn at_mark(socket: BorrowedFd<'_>) -> io::Result<bool> {
    const SIOCATMARK: libc::c_ulong = 0x8905;
    let mut at: libc::c_int = 0;
    // SAFETY: the kernel writes one int, which lives.
    check(unsafe { libc::ioctl(socket.as_raw_fd(), SIOCATMARK, &raw mut at) })?;
    Ok(at != 0)
}

/// What SO_RCVBUF can be set to at most (net.core.rmem_max, socket(7)); its usual value where it cannot be read.
pub fn largest_receive_buffer() -> u64 {
    const USUAL: u64 = 212_992;
    let text = std::fs::read_to_string("/proc/sys/net/core/rmem_max").unwrap_or_default();
    text.trim().parse().unwrap_or(USUAL)
}

/// Lets a TCP socket's receive buffer grow beyond net.core.rmem_max, up to what net.ipv4.tcp_rmem allows: the kernel
/// makes it as large as a low-water mark needs (SO_RCVLOWAT, tcp_set_rcvlowat, measured on Linux 6.18), and leaves
/// it so when the mark goes back to `mark`.
///
/// A program that was left alone with such a mark would wait for data forever. So a child of its own does it, which
/// is not hit when this process is killed between the two calls.
pub fn raise_receive_buffer(socket: BorrowedFd<'_>, mark: i32) -> io::Result<()> {
    let fd = socket.as_raw_fd();
    // SAFETY: the child only makes system calls on integers and on its own copy of the stack, then _exit(2); none of
    // them takes a lock that another thread may hold.
    unsafe {
        let child = libc::fork();
        if child == 0 {
            let set = |value: libc::c_int| {
                let size = size_of::<libc::c_int>() as libc::socklen_t;
                libc::setsockopt(
                    fd,
                    libc::SOL_SOCKET,
                    libc::SO_RCVLOWAT,
                    (&raw const value).cast(),
                    size,
                )
            };
            let raised = set(libc::c_int::MAX);
            let back = set(mark);
            libc::_exit(libc::c_int::from(raised != 0 || back != 0));
        }
        check(child)?;
        let mut status = 0;
        while libc::waitpid(child, &raw mut status, 0) == -1 {
            if io::Error::last_os_error().kind() != io::ErrorKind::Interrupted {
                return Err(io::Error::last_os_error());
            }
        }
        if status == 0 {
            Ok(())
        } else {
            Err(io::Error::other("the kernel refuses a low-water mark"))
        }
    }
}

/// Whom a socket hears in a multicast group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Senders {
    /// It has not joined.
    NotJoined,
    /// Everybody.
    All,
    /// Only some, or all but some.
    Some,
}

/// `struct group_req` of ip(7) and the level of its option: an interface and a group.
pub fn group_request(interface: u32, group: IpAddr) -> (i32, Vec<u8>) {
    const LENGTH: usize = 136;
    const ADDRESS: usize = 8;
    let mut bytes = vec![0; LENGTH];
    bytes[..4].copy_from_slice(&interface.to_ne_bytes());
    let (level, family) = match group {
        IpAddr::V4(group) => {
            bytes[ADDRESS + 4..ADDRESS + 8].copy_from_slice(&group.octets());
            (libc::IPPROTO_IP, libc::AF_INET)
        }
        IpAddr::V6(group) => {
            bytes[ADDRESS + 8..ADDRESS + 24].copy_from_slice(&group.octets());
            (libc::IPPROTO_IPV6, libc::AF_INET6)
        }
    };
    bytes[ADDRESS..ADDRESS + 2].copy_from_slice(&(family as u16).to_ne_bytes());
    (level, bytes)
}

/// Whether a socket is in this group (MCAST_MSFILTER).
pub fn senders(socket: BorrowedFd<'_>, interface: u32, group: IpAddr) -> io::Result<Senders> {
    const MCAST_MSFILTER: libc::c_int = 48;
    const MCAST_EXCLUDE: u32 = 0;
    // struct group_filter: struct group_req, mode, number of senders; room for none.
    let (level, mut filter) = group_request(interface, group);
    let mode = filter.len();
    filter.extend([0; 8]);
    let mut length = filter.len() as libc::socklen_t;
    // SAFETY: the kernel reads and writes at most `length` bytes, all of which are `filter`'s.
    let outcome = check(unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            level,
            MCAST_MSFILTER,
            filter.as_mut_ptr().cast(),
            &raw mut length,
        )
    });
    match outcome {
        Err(e) if e.raw_os_error() == Some(libc::EADDRNOTAVAIL) => return Ok(Senders::NotJoined),
        // IPv6 of a socket of IPv4.
        Err(e) if [Some(libc::ENOPROTOOPT), Some(libc::EOPNOTSUPP)].contains(&e.raw_os_error()) => {
            return Ok(Senders::NotJoined);
        }
        outcome => outcome?,
    }
    let word = |at: usize| crate::socket::word(&filter, at).ok_or_else(crate::socket::too_short);
    Ok(if (word(mode)?, word(mode + 4)?) == (MCAST_EXCLUDE, 0) {
        Senders::All
    } else {
        Senders::Some
    })
}

/// The filter of a socket (SO_GET_FILTER of socket(7)); empty when it has none. EACCES: it is not a classic one.
pub fn filter(socket: BorrowedFd<'_>) -> io::Result<Filter> {
    const SO_GET_FILTER: libc::c_int = libc::SO_ATTACH_FILTER;
    let mut program = vec![0_u8; MOST_INSTRUCTIONS * INSTRUCTION];
    let mut count = MOST_INSTRUCTIONS as libc::socklen_t;
    // SAFETY: the kernel writes at most `count` instructions, for which there is room, and their number.
    check(unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            SO_GET_FILTER,
            program.as_mut_ptr().cast(),
            &raw mut count,
        )
    })?;
    program.truncate(count as usize * INSTRUCTION);
    Ok(program)
}

/// Sets a filter that [`filter`] gave.
pub fn attach_filter(socket: BorrowedFd<'_>, program: &Filter) -> io::Result<()> {
    let instructions = program.len() / INSTRUCTION;
    if instructions == 0 || instructions > MOST_INSTRUCTIONS || !program.len().is_multiple_of(INSTRUCTION) {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    // Aligned as the kernel does not need it, but the type has it.
    let aligned: Vec<u64> = program
        .chunks_exact(INSTRUCTION)
        .map(|one| {
            one.iter()
                .rev()
                .fold(0, |word, byte| word << 8 | u64::from(*byte))
                .to_le()
        })
        .collect();
    let header = libc::sock_fprog {
        len: instructions as libc::c_ushort,
        filter: aligned.as_ptr().cast_mut().cast(),
    };
    // SAFETY: the kernel reads `header`, and `len` instructions where it points, all of which live.
    check(unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_FILTER,
            (&raw const header).cast(),
            size_of::<libc::sock_fprog>() as libc::socklen_t,
        )
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::socket::int_option;
    use std::io::Write;
    use std::net::{TcpListener, TcpStream, UdpSocket};
    use std::os::fd::AsFd;

    #[test]
    fn the_buffer_grows_and_the_mark_stays() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let server = listener.accept().unwrap().0;
        let ask = |option| int_option(server.as_fd(), libc::SOL_SOCKET, option).unwrap();
        let before = ask(libc::SO_RCVBUF);
        raise_receive_buffer(server.as_fd(), 1).unwrap();
        assert!(ask(libc::SO_RCVBUF) > before);
        assert_eq!(ask(libc::SO_RCVLOWAT), 1);
        client.write_all(b"x").unwrap();
        assert!(unacknowledged(client.as_fd()).unwrap() <= 1);
        assert!(!at_mark(server.as_fd()).unwrap());
    }

    #[test]
    fn a_group_is_joined() {
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        let (group, other) = ("239.1.2.3".parse().unwrap(), "239.1.2.4".parse().unwrap());
        let (level, request) = group_request(1, group);
        crate::socket::set_option(socket.as_fd(), level, 42, &request).unwrap();
        assert_eq!(senders(socket.as_fd(), 1, group).unwrap(), Senders::All);
        assert_eq!(senders(socket.as_fd(), 1, other).unwrap(), Senders::NotJoined);
        let v6 = "ff02::1".parse().unwrap();
        assert_eq!(senders(socket.as_fd(), 1, v6).unwrap(), Senders::NotJoined);
    }

    #[test]
    fn a_filter_is_read_and_set() {
        let (one, two) = (
            UdpSocket::bind("127.0.0.1:0").unwrap(),
            UdpSocket::bind("127.0.0.1:0").unwrap(),
        );
        assert!(filter(one.as_fd()).unwrap().is_empty());
        let accept_all = vec![0x06, 0, 0, 0, 0xff, 0xff, 0, 0]; // ret #0xffff
        attach_filter(one.as_fd(), &accept_all).unwrap();
        let read = filter(one.as_fd()).unwrap();
        assert_eq!(read, accept_all);
        attach_filter(two.as_fd(), &read).unwrap();
        assert_eq!(filter(two.as_fd()).unwrap(), read);
        assert!(attach_filter(two.as_fd(), &vec![1, 2, 3]).is_err());
    }
}
