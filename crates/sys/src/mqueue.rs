//! POSIX message queues (mq_overview(7)), by their descriptors.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Limits of a queue and what is in it (struct mq_attr).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Attributes {
    /// Messages that it takes.
    pub max_messages: u32,
    /// Bytes of the longest message.
    pub max_bytes: u32,
    /// Messages that are in it.
    pub messages: u32,
}

fn check(result: libc::c_long) -> io::Result<libc::c_long> {
    if result == -1 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

/// Reads the attributes.
pub fn attributes(queue: BorrowedFd<'_>) -> io::Result<Attributes> {
    let mut raw = [0_i64; 8];
    let none = std::ptr::null::<u8>();
    // SAFETY: the kernel writes a struct mq_attr, which is eight longs.
    check(unsafe { libc::syscall(libc::SYS_mq_getsetattr, queue.as_raw_fd(), none, raw.as_mut_ptr()) })?;
    let word = |index: usize| u32::try_from(raw[index]).map_err(io::Error::other);
    Ok(Attributes {
        max_messages: word(1)?,
        max_bytes: word(2)?,
        messages: word(3)?,
    })
}

/// Takes the next message out, of a queue that does not take longer ones than `longest`. Gives its priority and bytes.
pub fn receive(queue: BorrowedFd<'_>, longest: u32) -> io::Result<(u32, Vec<u8>)> {
    let mut bytes = vec![0; longest as usize];
    let mut priority = 0_u32;
    let none = std::ptr::null::<libc::timespec>();
    // SAFETY: `bytes` has the length that is said; `priority` is an unsigned int.
    let len = check(unsafe {
        libc::syscall(
            libc::SYS_mq_timedreceive,
            queue.as_raw_fd(),
            bytes.as_mut_ptr(),
            bytes.len(),
            &raw mut priority,
            none,
        )
    })?;
    bytes.truncate(len as usize);
    Ok((priority, bytes))
}

/// Puts a message in.
pub fn send(queue: BorrowedFd<'_>, priority: u32, bytes: &[u8]) -> io::Result<()> {
    let none = std::ptr::null::<libc::timespec>();
    // SAFETY: `bytes` has the length that is said and is only read.
    check(unsafe {
        libc::syscall(
            libc::SYS_mq_timedsend,
            queue.as_raw_fd(),
            bytes.as_ptr(),
            bytes.len(),
            priority,
            none,
        )
    })
    .map(drop)
}
