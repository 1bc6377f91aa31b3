//! Checkpoint and restart of the processes of one node. Knows nothing of networks or terminals.
#![forbid(unsafe_code)]

pub mod checkpoint;
pub mod error;
pub mod init;
pub mod restart;
pub mod tree;

pub use error::{Error, Result};

use std::os::fd::BorrowedFd;
use std::time::Duration;

/// Waits at most `timeout` until `fd` is readable.
pub(crate) fn wait_readable(fd: BorrowedFd<'_>, timeout: Duration) -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let timeout = Timespec::try_from(timeout).ok();
    poll(&mut [PollFd::from_borrowed_fd(fd, PollFlags::IN)], timeout.as_ref()).is_ok_and(|n| n > 0)
}
