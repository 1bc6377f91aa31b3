//! May this user stop a process, look into it, and learn how it ended?

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::Path;

use rustix::event::{EventfdFlags, eventfd};

use super::Outcome;
use super::trial::{Board, end, fork, wait};

/// What came of tracing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tracing {
    /// ptrace(2) of a child: what a program started by rethaw is.
    pub child: Outcome,
    /// ptrace(2) of a process of the same user that is no descendant: what `attach` needs.
    pub stranger: Outcome,
    /// Copying a descriptor out of a process: pidfd_getfd(2) (Linux 5.6).
    pub descriptor: Outcome,
    /// The exit status of a process that somebody else has reaped: PIDFD_GET_INFO with PIDFD_INFO_EXIT (Linux 6.15).
    pub exit_status: Outcome,
    /// `/proc/sys/kernel/yama/ptrace_scope`: 0 any process of the user, 1 descendants, 2 root only, 3 nobody. `None`
    /// without the security module Yama.
    pub yama_scope: Option<u32>,
}

const CHILD: usize = 0;
const STRANGER: usize = 1;
const DESCRIPTOR: usize = 2;
const EXIT_STATUS: usize = 3;

/// `_IOWR(0xff, 11, struct pidfd_info)` with the structure's first size (Linux 6.13).
const PIDFD_GET_INFO: libc::Ioctl = 0xc040_ff0b_u32 as libc::Ioctl;
const PIDFD_INFO_EXIT: u64 = 1 << 3;

/// struct pidfd_info of linux/pidfd.h, of which only the mask is looked at here.
#[repr(C)]
#[derive(Default)]
struct PidfdInfo {
    mask: u64,
    rest: [u64; 7],
}

/// Tries all of it on two children that then end.
pub(super) fn try_all() -> io::Result<Tracing> {
    let board = Board::new()?;
    let sample = eventfd(0, EventfdFlags::CLOEXEC)?;
    // SAFETY: the child makes system calls only.
    let tracee = unsafe { fork(sleep) };
    if tracee < 0 {
        return Err(io::Error::last_os_error());
    }
    try_stranger(&board, tracee);
    try_child(&board, tracee);
    let pidfd = open_pidfd(tracee);
    if let Ok(pidfd) = &pidfd {
        try_descriptor(&board, pidfd, sample.as_raw_fd());
    }
    end(tracee);
    if let Ok(pidfd) = &pidfd {
        try_exit_status(&board, pidfd);
    }
    Ok(Tracing {
        child: board.outcome(CHILD),
        stranger: board.outcome(STRANGER),
        descriptor: board.outcome(DESCRIPTOR),
        exit_status: board.outcome(EXIT_STATUS),
        yama_scope: yama_scope(),
    })
}

/// In the child: waits to be killed.
fn sleep() {
    loop {
        // SAFETY: no memory is involved.
        unsafe { libc::pause() };
    }
}

/// A second child tries to trace its sibling. What it traces is let go when it ends.
fn try_stranger(board: &Board, tracee: libc::pid_t) {
    // SAFETY: the child makes system calls only.
    let stranger = unsafe {
        fork(|| {
            board.note(STRANGER, seize(tracee));
        })
    };
    if stranger >= 0 {
        wait(stranger);
    }
}

fn try_child(board: &Board, tracee: libc::pid_t) {
    board.note(CHILD, seize(tracee));
}

fn seize(pid: libc::pid_t) -> libc::c_long {
    // SAFETY: PTRACE_SEIZE takes no address and, as data, options; none are given.
    unsafe { libc::ptrace(libc::PTRACE_SEIZE, pid, 0usize, 0usize) }
}

fn open_pidfd(pid: libc::pid_t) -> io::Result<OwnedFd> {
    // SAFETY: no memory is involved.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made this descriptor, and nobody else knows of it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

fn try_descriptor(board: &Board, pidfd: &OwnedFd, number: i32) {
    // SAFETY: no memory is involved.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_getfd, pidfd.as_raw_fd(), number, 0) };
    if board.note(DESCRIPTOR, fd) {
        // SAFETY: the kernel has just made this descriptor, and nobody else knows of it.
        drop(unsafe { OwnedFd::from_raw_fd(fd as i32) });
    }
}

/// The kernel sets the bit in the mask if it knows how the (reaped) process ended.
fn try_exit_status(board: &Board, pidfd: &OwnedFd) {
    let mut info = PidfdInfo {
        mask: PIDFD_INFO_EXIT,
        ..PidfdInfo::default()
    };
    // SAFETY: the ioctl's number says that the structure has 64 bytes, as `info` has; it outlives the call.
    let mut returned = unsafe { libc::ioctl(pidfd.as_raw_fd(), PIDFD_GET_INFO, &raw mut info) };
    if returned == 0 && info.mask & PIDFD_INFO_EXIT == 0 {
        // SAFETY: errno's place belongs to this thread.
        unsafe { *libc::__errno_location() = libc::EOPNOTSUPP };
        returned = -1;
    }
    board.note(EXIT_STATUS, returned.into());
}

fn yama_scope() -> Option<u32> {
    let text = std::fs::read_to_string(Path::new("/proc/sys/kernel/yama/ptrace_scope")).ok()?;
    text.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_structure_has_its_first_size() {
        assert_eq!(size_of::<PidfdInfo>(), 64);
    }
}
