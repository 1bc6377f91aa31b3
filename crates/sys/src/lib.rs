//! The kernel interface of rethaw, and the only crate with `unsafe`.

pub mod arch;
pub mod descriptor;
pub mod inet;
pub mod inet_diag;
pub mod memory;
pub mod mqueue;
pub mod namespace;
pub mod probe;
pub mod proc;
pub mod ptrace;
pub mod remote;
pub mod socket;
pub mod spawn;
pub mod task;
pub mod terminal;
pub mod uring;
pub mod vdso;

use std::io;
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;

/// Takes over a socket that was inherited as descriptor number `fd`. To be called once per number.
pub fn inherited_socket(fd: i32) -> io::Result<UnixStream> {
    inherited(fd).map(UnixStream::from)
}

/// Takes over a descriptor that was inherited as number `fd`. To be called once per number.
pub fn inherited(fd: i32) -> io::Result<OwnedFd> {
    if rustix::io::fcntl_getfd(rustix::fd::AsFd::as_fd(&borrow(fd)?)).is_err() {
        return Err(io::Error::from_raw_os_error(libc::EBADF));
    }
    // SAFETY: the descriptor is open (just asked) and the caller, who was told its number by the process that
    // started it, is its only user.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn borrow(fd: i32) -> io::Result<rustix::fd::BorrowedFd<'static>> {
    if fd < 0 {
        return Err(io::Error::from_raw_os_error(libc::EBADF));
    }
    // SAFETY: only used to ask the kernel whether the number is open; it is not -1.
    Ok(unsafe { rustix::fd::BorrowedFd::borrow_raw(fd) })
}

/// Binds stdin, stdout and stderr to /dev/null, so that nobody waits for the end of a pipe that this process
/// happens to hold.
pub fn leave_stdio() -> io::Result<()> {
    let null = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/null")?;
    for target in 0..3 {
        // SAFETY: integers only; dup2 replaces the descriptor in one step.
        if unsafe { libc::dup2(std::os::fd::AsRawFd::as_raw_fd(&null), target) } == -1 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}
