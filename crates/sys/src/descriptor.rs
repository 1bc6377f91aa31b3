//! Descriptors: requests that the libraries lack.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result == -1 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

/// Who connected to a Unix socket, as a user id (SO_PEERCRED of unix(7)). The libraries fail where the peer's pid is
/// 0, because it is in another pid namespace.
pub fn peer_uid(socket: impl AsFd) -> io::Result<u32> {
    let mut peer = libc::ucred {
        pid: 0,
        uid: u32::MAX,
        gid: u32::MAX,
    };
    let mut length = size_of::<libc::ucred>() as libc::socklen_t;
    // SAFETY: `peer` is live and `length` bytes long.
    check(unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            (&raw mut peer).cast(),
            &raw mut length,
        )
    })?;
    Ok(peer.uid)
}

/// A signalfd(2) that accepts `mask`.
pub fn signalfd(mask: u64) -> io::Result<OwnedFd> {
    // SAFETY: the kernel reads 8 bytes of mask and gives a descriptor that nobody else owns.
    unsafe {
        let fd = libc::syscall(libc::SYS_signalfd4, -1, &raw const mask, 8, libc::SFD_CLOEXEC);
        check(fd as libc::c_int).map(|fd| OwnedFd::from_raw_fd(fd))
    }
}

/// Sets the unread expirations of a timerfd (TFD_IOC_SET_TICKS, Linux 3.17, CONFIG_CHECKPOINT_RESTORE).
pub fn set_timer_ticks(fd: BorrowedFd<'_>, ticks: u64) -> io::Result<()> {
    const TFD_IOC_SET_TICKS: libc::c_ulong = 0x4008_5400;
    // SAFETY: the kernel reads one live u64.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), TFD_IOC_SET_TICKS, &raw const ticks) }).map(drop)
}

/// Takes a lock of the description (F_OFD_SETLK of fcntl(2), Linux 3.15). `len` 0: to the end.
pub fn lock_description(fd: BorrowedFd<'_>, exclusive: bool, start: u64, len: u64) -> io::Result<()> {
    let kind = if exclusive { libc::F_WRLCK } else { libc::F_RDLCK };
    let lock = libc::flock {
        l_type: kind as i16,
        l_whence: libc::SEEK_SET as i16,
        l_start: start as i64,
        l_len: len as i64,
        l_pid: 0,
    };
    // SAFETY: `lock` is live.
    check(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_OFD_SETLK, &raw const lock) }).map(drop)
}

/// Who gets a description's signals (F_GETOWN_EX of fcntl(2)): a kind (0 thread, 1 process, 2 group) and a number; 0
/// for nobody.
pub fn owner(fd: BorrowedFd<'_>) -> io::Result<(i32, i32)> {
    let mut owner = [0_i32; 2];
    // SAFETY: the kernel writes a struct f_owner_ex, two int.
    check(unsafe { libc::fcntl(fd.as_raw_fd(), F_GETOWN_EX, owner.as_mut_ptr()) })?;
    Ok((owner[0], owner[1]))
}

/// Sets who gets a description's signals (F_SETOWN_EX).
pub fn set_owner(fd: BorrowedFd<'_>, kind: i32, number: i32) -> io::Result<()> {
    let owner = [kind, number];
    // SAFETY: the kernel reads a struct f_owner_ex, two int.
    check(unsafe { libc::fcntl(fd.as_raw_fd(), F_SETOWN_EX, owner.as_ptr()) }).map(drop)
}

/// The signal that is sent (F_GETSIG); 0 for SIGIO.
pub fn owner_signal(fd: BorrowedFd<'_>) -> io::Result<i32> {
    // SAFETY: integers only.
    check(unsafe { libc::fcntl(fd.as_raw_fd(), F_GETSIG) })
}

/// Sets the signal that is sent (F_SETSIG).
pub fn set_owner_signal(fd: BorrowedFd<'_>, signal: i32) -> io::Result<()> {
    // SAFETY: integers only.
    check(unsafe { libc::fcntl(fd.as_raw_fd(), F_SETSIG, signal) }).map(drop)
}

const F_SETSIG: libc::c_int = 10;
const F_GETSIG: libc::c_int = 11;
const F_SETOWN_EX: libc::c_int = 15;
const F_GETOWN_EX: libc::c_int = 16;

/// A duplicate (close-on-exec) of a descriptor of this process that is known by its number only.
pub fn duplicate_own(fd: i32) -> io::Result<OwnedFd> {
    // SAFETY: integers only; the kernel gives a new descriptor that nobody else owns, or EBADF.
    unsafe { check(libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, 3)).map(|fd| OwnedFd::from_raw_fd(fd)) }
}
