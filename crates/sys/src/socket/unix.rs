//! What only Unix sockets have: names, messages with descriptors and credentials, and who the peer is.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// Process and user, as the kernel tells of peers and senders (struct ucred of unix(7)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Credentials {
    /// Number here; 0 for a process of another pid namespace, or none.
    pub pid: i32,
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

/// Stands for a user that the kernel does not know, or that this user namespace has no number for
/// (`kernel.overflowuid`).
pub const UNKNOWN_ID: u32 = 65534;

/// The other end of a connection, or who called listen(2) (SO_PEERCRED). `None` where there is nobody.
pub fn peer_credentials(fd: BorrowedFd<'_>) -> io::Result<Option<Credentials>> {
    let value = super::option(fd, libc::SOL_SOCKET, libc::SO_PEERCRED)?;
    let credentials = credentials(&value).ok_or_else(super::too_short)?;
    Ok((credentials.uid != u32::MAX).then_some(credentials))
}

fn credentials(bytes: &[u8]) -> Option<Credentials> {
    Some(Credentials {
        pid: super::word(bytes, 0)?.cast_signed(),
        uid: super::word(bytes, 4)?,
        gid: super::word(bytes, 8)?,
    })
}

const FAMILY: usize = size_of::<libc::sa_family_t>();

/// Room for a name: `struct sockaddr_un` and the zero byte that the kernel puts behind a path that fills it.
fn room() -> [u8; 128] {
    [0; 128]
}

/// A path without its last zero byte, or an abstract name with its first one; empty when there is none.
fn name_in(address: &[u8], len: usize) -> Vec<u8> {
    match address.get(FAMILY..len) {
        Some(abstract_name @ [0, ..]) => abstract_name.to_vec(),
        Some(path) => path.iter().copied().take_while(|byte| *byte != 0).collect(),
        None => Vec::new(),
    }
}

/// What a Unix socket is bound to.
pub fn name(fd: BorrowedFd<'_>) -> io::Result<Vec<u8>> {
    let mut address = room();
    let mut len = address.len() as libc::socklen_t;
    // SAFETY: the kernel writes at most `len` bytes, all of which are `address`'s, and the new length.
    let result = unsafe { libc::getsockname(fd.as_raw_fd(), address.as_mut_ptr().cast(), &raw mut len) };
    if result == -1 {
        return Err(io::Error::last_os_error());
    }
    Ok(name_in(&address, len as usize))
}

/// What the other end is bound to, also when that is closed; empty when it is not connected.
pub fn peer_name(fd: BorrowedFd<'_>) -> io::Result<Vec<u8>> {
    let mut address = room();
    let mut len = address.len() as libc::socklen_t;
    // SAFETY: as above.
    let result = unsafe { libc::getpeername(fd.as_raw_fd(), address.as_mut_ptr().cast(), &raw mut len) };
    match result {
        -1 => match io::Error::last_os_error() {
            e if e.raw_os_error() == Some(libc::ENOTCONN) => Ok(Vec::new()),
            e => Err(e),
        },
        _ => Ok(name_in(&address, len as usize)),
    }
}

/// Whether the next byte of a stream is the urgent one (SIOCATMARK of unix(7)).
pub fn at_mark(fd: BorrowedFd<'_>) -> io::Result<bool> {
    const SIOCATMARK: libc::c_ulong = 0x8905;
    let mut mark: libc::c_int = 0;
    // SAFETY: the kernel writes one live int.
    match unsafe { libc::ioctl(fd.as_raw_fd(), SIOCATMARK, &raw mut mark) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(mark != 0),
    }
}

/// What [`peek`] saw.
#[derive(Debug)]
pub struct Received {
    /// Bytes seen; with MSG_TRUNC the length of the message.
    pub bytes: usize,
    /// There was a control message.
    pub control: bool,
    /// There was no room for all control messages.
    pub cut: bool,
    /// Descriptors in flight (SCM_RIGHTS): duplicates, close-on-exec.
    pub descriptors: Vec<OwnedFd>,
    /// Who sent it (SCM_CREDENTIALS).
    pub credentials: Option<Credentials>,
    /// Where the sender is bound.
    pub sender: Vec<u8>,
}

/// Looks at what waits in a Unix socket without taking it, and does not wait (MSG_PEEK, MSG_DONTWAIT of recv(2)).
pub fn peek(fd: BorrowedFd<'_>, buffer: &mut [u8], flags: i32) -> io::Result<Received> {
    const CONTROL: usize = 4096; // 253 descriptors (SCM_MAX_FD), credentials, a timestamp and a label
    let mut control = [0_u64; CONTROL / 8];
    let mut address = room();
    let mut iov = libc::iovec {
        iov_base: buffer.as_mut_ptr().cast(),
        iov_len: buffer.len(),
    };
    // SAFETY: all fields of a msghdr may be zero.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_name = address.as_mut_ptr().cast();
    header.msg_namelen = address.len() as libc::socklen_t;
    header.msg_iov = &raw mut iov;
    header.msg_iovlen = 1;
    header.msg_control = control.as_mut_ptr().cast();
    header.msg_controllen = CONTROL as _;
    let flags = flags | libc::MSG_PEEK | libc::MSG_DONTWAIT | libc::MSG_CMSG_CLOEXEC;
    // SAFETY: `header` points to live buffers and says their lengths.
    let bytes = unsafe { libc::recvmsg(fd.as_raw_fd(), &raw mut header, flags) };
    if bytes < 0 {
        return Err(io::Error::last_os_error());
    }
    let mut received = Received {
        bytes: bytes as usize,
        control: false,
        cut: header.msg_flags & libc::MSG_CTRUNC != 0,
        descriptors: Vec::new(),
        credentials: None,
        sender: name_in(&address, header.msg_namelen as usize),
    };
    // SAFETY: the kernel has filled the control buffer in; its messages are walked by the macros, and each lies in it.
    unsafe {
        let mut message = libc::CMSG_FIRSTHDR(&raw const header);
        while let Some(at) = message.as_ref() {
            let start = libc::CMSG_DATA(message);
            let len = at.cmsg_len.saturating_sub(libc::CMSG_LEN(0) as usize);
            let data = std::slice::from_raw_parts(start, len);
            control_message(&mut received, at.cmsg_level, at.cmsg_type, data);
            message = libc::CMSG_NXTHDR(&raw const header, message);
        }
    }
    Ok(received)
}

/// Where in the next `len` bytes of a stream the last part begins: what one call has sent stays one part, which a
/// look cannot copy by halves. A look that is to copy all parts but runs into an address that cannot be written to,
/// in the last byte, gives all parts but the last one (unix_stream_read_generic; measured on Linux 6.18).
pub fn last_part(fd: BorrowedFd<'_>, len: usize) -> io::Result<usize> {
    const NOWHERE: usize = 1;
    let mut buffer = vec![0_u8; len.saturating_sub(1)];
    let mut parts = [
        libc::iovec {
            iov_base: buffer.as_mut_ptr().cast(),
            iov_len: buffer.len(),
        },
        libc::iovec {
            iov_base: std::ptr::without_provenance_mut(NOWHERE),
            iov_len: 1,
        },
    ];
    // SAFETY: all fields of a msghdr may be zero.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_iov = parts.as_mut_ptr();
    header.msg_iovlen = parts.len() as _;
    let flags = libc::MSG_PEEK | libc::MSG_DONTWAIT;
    // SAFETY: the first part of the buffer is live; the kernel finds that nothing is mapped where the second is.
    match unsafe { libc::recvmsg(fd.as_raw_fd(), &raw mut header, flags) } {
        -1 => match io::Error::last_os_error() {
            e if e.raw_os_error() == Some(libc::EFAULT) => Ok(0),
            e => Err(e),
        },
        start => Ok(start as usize),
    }
}

/// Takes one control message over.
///
/// # Safety
/// `data` was received: descriptors in it belong to nobody yet.
unsafe fn control_message(received: &mut Received, level: i32, kind: i32, data: &[u8]) {
    received.control = true;
    match (level, kind) {
        (libc::SOL_SOCKET, libc::SCM_RIGHTS) => {
            let numbers = data.chunks_exact(4).filter_map(|number| super::word(number, 0));
            // SAFETY: the kernel has just made these descriptors for us (the caller's promise).
            let owned = numbers.map(|fd| unsafe { OwnedFd::from_raw_fd(fd.cast_signed()) });
            received.descriptors.extend(owned);
        }
        (libc::SOL_SOCKET, libc::SCM_CREDENTIALS) => received.credentials = credentials(data),
        _ => {}
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::set_option;
    use super::*;
    use std::io::Write;
    use std::os::fd::AsFd;
    use std::os::unix::net::{UnixListener, UnixStream};

    #[test]
    fn names_are_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let listener = UnixListener::bind(&path).unwrap();
        let client = UnixStream::connect(&path).unwrap();
        let bytes = path.as_os_str().as_encoded_bytes();
        assert_eq!(name(listener.as_fd()).unwrap(), bytes);
        assert_eq!(peer_name(client.as_fd()).unwrap(), bytes);
        assert_eq!(name(client.as_fd()).unwrap(), b"");
        assert_eq!(peer_name(listener.as_fd()).unwrap(), b"");
        assert_eq!(name_in(&[1, 0, 0, b'x'], 4), b"\0x");
        assert_eq!(name_in(&[1, 0, 0], 3), b"\0");
    }

    #[test]
    fn a_peer_has_credentials_and_nobody_has_none() {
        let (a, _b) = UnixStream::pair().unwrap();
        let pid = std::process::id().cast_signed();
        assert_eq!(peer_credentials(a.as_fd()).unwrap().unwrap().pid, pid);
        let alone = rustix::net::socket(
            rustix::net::AddressFamily::UNIX,
            rustix::net::SocketType::STREAM,
            None,
        );
        assert_eq!(peer_credentials(alone.unwrap().as_fd()).unwrap(), None);
    }

    #[test]
    fn the_last_part_is_found() {
        let (a, mut b) = UnixStream::pair().unwrap();
        for part in [&b"one"[..], b"twelve", b"x"] {
            b.write_all(part).unwrap();
        }
        assert_eq!(last_part(a.as_fd(), 10).unwrap(), 9);
        assert_eq!(last_part(a.as_fd(), 9).unwrap(), 3);
        assert_eq!(last_part(a.as_fd(), 3).unwrap(), 0);
    }

    #[test]
    fn a_look_takes_nothing() {
        let (a, mut b) = UnixStream::pair().unwrap();
        set_option(
            a.as_fd(),
            libc::SOL_SOCKET,
            libc::SO_PASSCRED,
            &1_i32.to_ne_bytes(),
        )
        .unwrap();
        b.write_all(b"four").unwrap();
        for _ in 0..2 {
            let mut buffer = [0; 8];
            let seen = peek(a.as_fd(), &mut buffer, 0).unwrap();
            assert_eq!((seen.bytes, &buffer[..4]), (4, &b"four"[..]));
            assert_eq!(seen.credentials.unwrap().pid, std::process::id().cast_signed());
            assert!(seen.control && !seen.cut && seen.descriptors.is_empty());
        }
        assert!(!at_mark(a.as_fd()).unwrap());
    }
}
