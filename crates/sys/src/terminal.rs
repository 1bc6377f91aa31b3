//! Terminals: requests of ioctl_tty(2) and TIOCGPTPEER that the libraries lack, or in which they interpret what is
//! only to be kept.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

const TCGETS2: libc::c_ulong = 0x802c_542a;
const TCSETS2: libc::c_ulong = 0x402c_542b;
const TIOCGEXCL: libc::c_ulong = 0x8004_5440;
const TIOCGPKT: libc::c_ulong = 0x8004_5438;
const TIOCGPTLCK: libc::c_ulong = 0x8004_5439;
const TIOCGDEV: libc::c_ulong = 0x8004_5432;
const TIOCGPTPEER: libc::c_ulong = 0x5441;

/// Modes of a terminal: `struct termios2`. Of a pseudo-terminal always the slave's, whichever end is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Modes(pub [u8; Modes::SIZE]);

impl Modes {
    /// Four words, the discipline, the characters, two speeds.
    pub const SIZE: usize = 44;
    const CHARACTERS: usize = 17;
    /// Number of special characters.
    pub const CHARACTERS_LEN: usize = 19;

    /// From the bytes of a record; none when it is not as long.
    pub fn from_bytes(bytes: &[u8]) -> Option<Modes> {
        bytes.try_into().ok().map(Modes)
    }

    /// c_iflag, c_oflag, c_cflag, c_lflag.
    pub fn flags(&self, which: usize) -> u32 {
        let at = 4 * which;
        u32::from_ne_bytes([self.0[at], self.0[at + 1], self.0[at + 2], self.0[at + 3]])
    }

    /// The same with other flags.
    #[must_use]
    pub fn with_flags(mut self, which: usize, flags: u32) -> Modes {
        self.0[4 * which..4 * which + 4].copy_from_slice(&flags.to_ne_bytes());
        self
    }

    /// Special character VINTR, VEOF …; 0 for none.
    pub fn character(&self, which: usize) -> u8 {
        self.0[Modes::CHARACTERS + which]
    }

    /// The same with another special character.
    #[must_use]
    pub fn with_character(mut self, which: usize, character: u8) -> Modes {
        self.0[Modes::CHARACTERS + which] = character;
        self
    }

    /// Line discipline; 0 for the ordinary one.
    pub fn discipline(&self) -> u8 {
        self.0[16]
    }
}

/// Index of c_iflag in [`Modes::flags`].
pub const INPUT: usize = 0;
/// Index of c_oflag.
pub const OUTPUT: usize = 1;
/// Index of c_lflag.
pub const LOCAL: usize = 3;

fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result == -1 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

/// A request that writes one int.
fn ask(fd: BorrowedFd<'_>, request: libc::c_ulong) -> io::Result<i32> {
    let mut value = 0;
    // SAFETY: the requests given here write one int, and `value` is a live one.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), request, &raw mut value) })?;
    Ok(value)
}

/// A request that reads one int.
fn tell(fd: BorrowedFd<'_>, request: libc::c_ulong, value: i32) -> io::Result<()> {
    // SAFETY: the requests given here read one int, and `value` is a live one.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), request, &raw const value) }).map(drop)
}

/// A request whose argument is a number.
fn order(fd: BorrowedFd<'_>, request: libc::c_ulong, value: libc::c_int) -> io::Result<libc::c_int> {
    // SAFETY: the requests given here take their argument as a number.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), request, value) })
}

/// Its modes.
pub fn modes(fd: BorrowedFd<'_>) -> io::Result<Modes> {
    let mut modes = Modes([0; Modes::SIZE]);
    // SAFETY: the kernel writes a struct termios2, which is as large as `modes`.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), TCGETS2, modes.0.as_mut_ptr()) })?;
    Ok(modes)
}

/// Sets its modes at once.
pub fn set_modes(fd: BorrowedFd<'_>, modes: &Modes) -> io::Result<()> {
    // SAFETY: the kernel reads a struct termios2, which is as large as `modes`.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), TCSETS2, modes.0.as_ptr()) }).map(drop)
}

/// Rows, columns, and the size in pixels.
pub fn size(fd: BorrowedFd<'_>) -> io::Result<[u16; 4]> {
    let mut size = [0_u16; 4];
    // SAFETY: the kernel writes a struct winsize, four u16.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), libc::TIOCGWINSZ, size.as_mut_ptr()) })?;
    Ok(size)
}

/// Sets the size. The foreground group gets SIGWINCH if it is another one.
pub fn set_size(fd: BorrowedFd<'_>, size: [u16; 4]) -> io::Result<()> {
    // SAFETY: the kernel reads a struct winsize, four u16.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), libc::TIOCSWINSZ, size.as_ptr()) }).map(drop)
}

/// Number of a pseudo-terminal, asked of its master.
pub fn number(master: BorrowedFd<'_>) -> io::Result<u32> {
    ask(master, libc::TIOCGPTN).map(i32::cast_unsigned)
}

/// Device number of the terminal that it really is, for /dev/tty (TIOCGDEV, in the kernel's encoding; the same as
/// makedev(3) for small numbers).
pub fn device(fd: BorrowedFd<'_>) -> io::Result<u64> {
    ask(fd, TIOCGDEV).map(|device| device.cast_unsigned().into())
}

/// Whether the slave cannot be opened.
pub fn locked(master: BorrowedFd<'_>) -> io::Result<bool> {
    ask(master, TIOCGPTLCK).map(|value| value != 0)
}

/// Allows or forbids opening the slave.
pub fn lock(master: BorrowedFd<'_>, locked: bool) -> io::Result<()> {
    tell(master, libc::TIOCSPTLCK, locked.into())
}

/// Whether nobody else may open it.
pub fn exclusive(fd: BorrowedFd<'_>) -> io::Result<bool> {
    ask(fd, TIOCGEXCL).map(|value| value != 0)
}

/// Sets or ends exclusive mode.
pub fn set_exclusive(fd: BorrowedFd<'_>, exclusive: bool) -> io::Result<()> {
    let request = if exclusive { libc::TIOCEXCL } else { libc::TIOCNXCL };
    order(fd, request, 0).map(drop)
}

/// Whether reads from the master begin with a byte that tells what comes (TIOCPKT).
pub fn packet_mode(master: BorrowedFd<'_>) -> io::Result<bool> {
    ask(master, TIOCGPKT).map(|value| value != 0)
}

/// Sets or ends packet mode.
pub fn set_packet_mode(master: BorrowedFd<'_>, on: bool) -> io::Result<()> {
    tell(master, libc::TIOCPKT, on.into())
}

/// Opens the slave of a master, without a path (TIOCGPTPEER, Linux 4.13).
pub fn open_slave(master: BorrowedFd<'_>, flags: libc::c_int) -> io::Result<OwnedFd> {
    let fd = order(master, TIOCGPTPEER, flags | libc::O_NOCTTY)?;
    // SAFETY: the kernel gave a new descriptor that nobody else owns.
    let slave = unsafe { OwnedFd::from_raw_fd(fd) };
    // As a flag of this request, it would stay among the flags of the description (measured on Linux 6.18), and
    // /proc would show it of every duplicate.
    rustix::io::fcntl_setfd(&slave, rustix::io::FdFlags::CLOEXEC)?;
    Ok(slave)
}

/// Session whose controlling terminal it is. ENOTTY: nobody's.
pub fn session(master: BorrowedFd<'_>) -> io::Result<i32> {
    ask(master, libc::TIOCGSID)
}

/// Foreground process group.
pub fn foreground(fd: BorrowedFd<'_>) -> io::Result<i32> {
    ask(fd, libc::TIOCGPGRP)
}

/// Sets the foreground process group of this process's controlling terminal.
pub fn set_foreground(fd: BorrowedFd<'_>, group: i32) -> io::Result<()> {
    tell(fd, libc::TIOCSPGRP, group)
}

/// Bytes that can be read.
pub fn waiting(fd: BorrowedFd<'_>) -> io::Result<usize> {
    ask(fd, libc::FIONREAD).map(|count| count.max(0) as usize)
}

/// Stops or starts output, as tcflow(3).
pub fn set_flow(fd: BorrowedFd<'_>, stopped: bool) -> io::Result<()> {
    order(fd, libc::TCXONC, if stopped { libc::TCOOFF } else { libc::TCOON }).map(drop)
}

/// Blocks SIGTTOU: a process in the background may change its terminal then (tcsetattr(3)).
pub fn block_background_signal() {
    let mut set = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: sigemptyset initialises `set` before it is used.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        libc::sigaddset(set.as_mut_ptr(), libc::SIGTTOU);
        libc::sigprocmask(libc::SIG_BLOCK, set.as_ptr(), std::ptr::null_mut());
    }
}

/// Blocks all signals of the calling thread and leaves the session: nobody's Ctrl-C reaches this process.
pub fn be_undisturbed() -> io::Result<()> {
    let mut all = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: sigfillset initialises `all` before it is read; setsid takes no arguments.
    unsafe {
        libc::sigfillset(all.as_mut_ptr());
        check(libc::sigprocmask(
            libc::SIG_SETMASK,
            all.as_ptr(),
            std::ptr::null_mut(),
        ))?;
        check(libc::setsid())?;
    }
    Ok(())
}
