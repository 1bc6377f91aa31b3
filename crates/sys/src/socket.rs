//! Sockets: options by number, and what sock_diag(7) tells of Unix sockets.

mod unix;

pub use unix::{
    Credentials, Received, UNKNOWN_ID, at_mark, last_part, name, peek, peer_credentials, peer_name,
};

use rustix::net::{RecvFlags, recv};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

/// Value of an option (getsockopt(2)), at most 256 bytes of it.
pub fn option(fd: BorrowedFd<'_>, level: i32, name: i32) -> io::Result<Vec<u8>> {
    option_of_length(fd, level, name, 256)
}

/// Value of an option that may have to be asked for by its length.
pub fn option_of_length(fd: BorrowedFd<'_>, level: i32, name: i32, most: usize) -> io::Result<Vec<u8>> {
    let mut value = vec![0_u8; most];
    let mut len = value.len() as libc::socklen_t;
    // SAFETY: the kernel writes at most `len` bytes, all of which are `value`'s, and the new length.
    let result = unsafe {
        libc::getsockopt(
            fd.as_raw_fd(),
            level,
            name,
            value.as_mut_ptr().cast(),
            &raw mut len,
        )
    };
    if result == -1 {
        return Err(io::Error::last_os_error());
    }
    value.truncate(len as usize);
    Ok(value)
}

/// Sets an option (setsockopt(2)).
pub fn set_option(fd: BorrowedFd<'_>, level: i32, name: i32, value: &[u8]) -> io::Result<()> {
    let len = value.len() as libc::socklen_t;
    // SAFETY: the kernel reads `len` bytes, all of which are `value`'s.
    let result = unsafe { libc::setsockopt(fd.as_raw_fd(), level, name, value.as_ptr().cast(), len) };
    if result == -1 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

/// An option whose value is one int.
pub fn int_option(fd: BorrowedFd<'_>, level: i32, name: i32) -> io::Result<i32> {
    let value = option(fd, level, name)?;
    word(&value, 0).map(u32::cast_signed).ok_or_else(too_short)
}

/// A Unix socket as sock_diag(7) shows it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct UnixSocket {
    /// It waits for connections (listen(2)).
    pub listens: bool,
    /// Inode of the other end; 0 when that is closed, or was not accepted yet.
    pub peer: Option<u32>,
    /// Bytes waiting to be read (of the first message only, for datagrams); when it listens, connections
    /// waiting to be accepted.
    pub waiting: u32,
    /// When it listens: the inodes of the clients whose connections wait, the first first; 0 for one that is closed.
    pub clients: Vec<u32>,
    /// When it listens: the backlog. Else the kernel memory that takes what it sent and nobody has read.
    pub backlog_or_sent: u32,
    /// shutdown(2) state: bit 0 receive, bit 1 send.
    pub shutdown: u8,
    /// Low half of the inode of the file that it is bound to.
    pub file: Option<u32>,
}

const HEADER: usize = 16; // struct nlmsghdr
const ANSWER: usize = 16; // struct unix_diag_msg

/// Looks at a Unix socket of this network namespace by its inode. An ordinary user may ask for any.
pub fn unix_socket(ino: u32) -> io::Result<UnixSocket> {
    let socket = crate::inet_diag::ask(&request(ino))?;
    parse(&answer(&socket)?)
}

fn answer(socket: &OwnedFd) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; 1 << 16];
    let (len, _) = recv(socket, &mut bytes[..], RecvFlags::empty())?;
    bytes.truncate(len);
    Ok(bytes)
}

/// struct nlmsghdr and struct unix_diag_req.
fn request(ino: u32) -> Vec<u8> {
    const LEN: u32 = 40;
    const SOCK_DIAG_BY_FAMILY: u16 = 20;
    const NLM_F_REQUEST: u16 = 1;
    const ALL_STATES: u32 = u32::MAX;
    const SHOW: u32 = 2 | 4 | 8 | 16; // UDIAG_SHOW_VFS, _PEER, _ICONS, _RQLEN; the shutdown state always comes
    const NO_COOKIE: u32 = u32::MAX;
    let mut bytes = LEN.to_ne_bytes().to_vec();
    bytes.extend(SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    bytes.extend(NLM_F_REQUEST.to_ne_bytes());
    bytes.extend([0; 8]);
    bytes.extend([libc::AF_UNIX as u8, 0, 0, 0]);
    bytes.extend(
        [ALL_STATES, ino, SHOW, NO_COOKIE, NO_COOKIE]
            .into_iter()
            .flat_map(u32::to_ne_bytes),
    );
    bytes
}

pub(crate) fn word(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4)?.try_into().ok().map(u32::from_ne_bytes)
}

pub(crate) fn half(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..at + 2)?.try_into().ok().map(u16::from_ne_bytes)
}

pub(crate) fn too_short() -> io::Error {
    io::Error::other("the kernel's answer is too short")
}

fn parse(message: &[u8]) -> io::Result<UnixSocket> {
    const NLMSG_ERROR: u16 = 2;
    const TCP_LISTEN: u8 = 10;
    if half(message, 4) == Some(NLMSG_ERROR) {
        let error = word(message, HEADER).ok_or_else(too_short)?.cast_signed();
        return Err(io::Error::from_raw_os_error(-error));
    }
    let state = message.get(HEADER + 2).ok_or_else(too_short)?;
    let mut socket = UnixSocket {
        listens: *state == TCP_LISTEN,
        ..UnixSocket::default()
    };
    let mut rest = message.get(HEADER + ANSWER..).ok_or_else(too_short)?;
    while let (Some(len), Some(kind)) = (half(rest, 0), half(rest, 2)) {
        let len = usize::from(len);
        let value = rest.get(4..len).ok_or_else(too_short)?;
        attribute(&mut socket, kind, value);
        rest = rest.get(len.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(socket)
}

/// linux/unix_diag.h
fn attribute(socket: &mut UnixSocket, kind: u16, value: &[u8]) {
    const UNIX_DIAG_VFS: u16 = 1;
    const UNIX_DIAG_PEER: u16 = 2;
    const UNIX_DIAG_ICONS: u16 = 3;
    const UNIX_DIAG_RQLEN: u16 = 4;
    const UNIX_DIAG_SHUTDOWN: u16 = 6;
    match kind {
        UNIX_DIAG_VFS => socket.file = word(value, 0),
        UNIX_DIAG_PEER => socket.peer = word(value, 0),
        UNIX_DIAG_ICONS => {
            let inodes = value.chunks_exact(4).filter_map(|inode| word(inode, 0));
            socket.clients = inodes.collect();
        }
        UNIX_DIAG_RQLEN => {
            socket.waiting = word(value, 0).unwrap_or_default();
            socket.backlog_or_sent = word(value, 4).unwrap_or_default();
        }
        UNIX_DIAG_SHUTDOWN => socket.shutdown = value.first().copied().unwrap_or_default(),
        _ => {}
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use rustix::fs::fstat;
    use std::io::Write;
    use std::os::fd::AsFd;
    use std::os::unix::net::{UnixListener, UnixStream};

    fn ino(socket: impl AsFd) -> u32 {
        fstat(socket).unwrap().st_ino as u32
    }

    #[test]
    fn a_pair_shows_who_is_whose_peer() {
        let (a, mut b) = UnixStream::pair().unwrap();
        b.write_all(b"four").unwrap();
        b.shutdown(std::net::Shutdown::Write).unwrap();
        let seen = unix_socket(ino(&a)).unwrap();
        assert_eq!(seen.peer, Some(ino(&b)));
        assert_eq!((seen.waiting, seen.shutdown, seen.listens), (4, 1, false));
        drop(b);
        let seen = unix_socket(ino(&a)).unwrap();
        assert_eq!((seen.peer, seen.shutdown), (Some(0), 3));
    }

    #[test]
    fn a_listener_shows_its_backlog() {
        let folder = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(folder.path().join("socket")).unwrap();
        let client = UnixStream::connect(folder.path().join("socket")).unwrap();
        let seen = unix_socket(ino(&listener)).unwrap();
        assert!(seen.listens && seen.file.is_some() && seen.peer.is_none());
        assert_eq!((seen.waiting, &seen.clients[..]), (1, &[ino(&client)][..]));
    }

    #[test]
    fn an_unknown_inode_is_an_error() {
        assert_eq!(
            unix_socket(u32::MAX).unwrap_err().raw_os_error(),
            Some(libc::ENOENT)
        );
    }

    #[test]
    fn a_cut_answer_is_an_error() {
        assert!(parse(&[0; 17]).is_err());
        let mut message = vec![0; HEADER + ANSWER];
        message.extend([9, 0, 2, 0, 1]);
        assert!(parse(&message).is_err());
    }

    #[test]
    fn options_are_read_and_set() {
        let (a, _b) = UnixStream::pair().unwrap();
        let (level, name) = (libc::SOL_SOCKET, libc::SO_PEEK_OFF);
        assert_eq!(int_option(a.as_fd(), level, name).unwrap(), -1);
        set_option(a.as_fd(), level, name, &5_i32.to_ne_bytes()).unwrap();
        assert_eq!(option(a.as_fd(), level, name).unwrap(), 5_i32.to_ne_bytes());
    }
}
