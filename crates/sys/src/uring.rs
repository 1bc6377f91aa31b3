//! io_uring instances (io_uring(7)), used from outside by way of a duplicate of their descriptor.

use crate::memory;
use crate::proc::Pid;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::atomic::{AtomicU32, Ordering};

/// Offsets in the descriptor at which the two areas are mapped (IORING_OFF_SQ_RING, IORING_OFF_SQES).
pub const OFFSET_RINGS: u64 = 0;
/// See [`OFFSET_RINGS`].
pub const OFFSET_ENTRIES: u64 = 0x1000_0000;

/// Places in the rings (struct io_rings, io_uring_types.h): the same since Linux 5.4.
pub mod place {
    /// Head and tail of the submission queue.
    pub const SQ_HEAD: u64 = 0;
    /// See `SQ_HEAD`.
    pub const SQ_TAIL: u64 = 4;
    /// Head and tail of the completion queue.
    pub const CQ_HEAD: u64 = 8;
    /// See `CQ_HEAD`.
    pub const CQ_TAIL: u64 = 12;
    /// Entries of the submission queue, less one; that of the completion queue follows.
    pub const SQ_MASK: u64 = 16;
    /// Entries that were invalid.
    pub const SQ_DROPPED: u64 = 32;
    /// The kernel's flags, such as IORING_SQ_NEED_WAKEUP.
    pub const SQ_FLAGS: u64 = 36;
    /// Completions that were lost.
    pub const CQ_OVERFLOW: u64 = 44;
    /// The first completion.
    pub const COMPLETIONS: u64 = 64;
}

/// IORING_ENTER_GETEVENTS.
pub const ENTER_GETEVENTS: u32 = 1;
/// IORING_ENTER_SQ_WAKEUP.
pub const ENTER_SQ_WAKEUP: u32 = 2;

/// One of the areas of an instance, mapped into this process. A page beyond its end is not there.
#[derive(Debug)]
pub struct Area {
    start: *mut u8,
    len: u64,
}

impl Area {
    /// Maps `len` bytes, a multiple of the page size, from `offset` on.
    ///
    /// # Errors
    /// EINVAL for an instance in memory of the program's own (IORING_SETUP_NO_MMAP).
    pub fn map(ring: BorrowedFd<'_>, offset: u64, len: u64) -> io::Result<Area> {
        // SAFETY: a new mapping where the kernel likes it; no memory of ours is replaced.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                len as usize,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                ring.as_raw_fd(),
                offset as i64,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        Ok(Area {
            start: start.cast(),
            len,
        })
    }

    /// What is there, up to the first page that is not. By way of the kernel, since others write to it.
    pub fn contents(&self, page: u64) -> Vec<u8> {
        let mut contents = Vec::new();
        let mut bytes = vec![0; page as usize];
        while (contents.len() as u64) < self.len
            && memory::read(Pid::own(), self.address(contents.len() as u64), &mut bytes).is_ok()
        {
            contents.extend_from_slice(&bytes);
        }
        contents
    }

    /// Writes bytes.
    pub fn write(&self, at: u64, bytes: &[u8]) -> io::Result<()> {
        if at
            .checked_add(bytes.len() as u64)
            .is_none_or(|end| end > self.len)
        {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        memory::write(Pid::own(), self.address(at), bytes)
    }

    /// A word that the kernel reads and writes, too.
    pub fn load(&self, at: u64) -> io::Result<u32> {
        self.word(at).map(|word| word.load(Ordering::Acquire))
    }

    /// Sets such a word.
    pub fn store(&self, at: u64, value: u32) -> io::Result<()> {
        self.word(at).map(|word| word.store(value, Ordering::Release))
    }

    fn address(&self, at: u64) -> u64 {
        self.start as u64 + at
    }

    /// One of the words at the beginning, which every instance has.
    fn word(&self, at: u64) -> io::Result<&AtomicU32> {
        if at >= place::COMPLETIONS || !at.is_multiple_of(4) || self.len < place::COMPLETIONS {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        // SAFETY: aligned, within the first page of a mapping that lives as long as `self`, which every instance has;
        // it is only used atomically.
        Ok(unsafe { AtomicU32::from_ptr(self.start.add(at as usize).cast()) })
    }
}

impl Drop for Area {
    fn drop(&mut self) {
        // SAFETY: the mapping that `map` made; no reference into it outlives `self`.
        unsafe { libc::munmap(self.start.cast(), self.len as usize) };
    }
}

/// io_uring_enter(2): submits. Gives how many were taken.
pub fn enter(ring: BorrowedFd<'_>, submit: u32, flags: u32) -> io::Result<u32> {
    let none = std::ptr::null::<u8>();
    // SAFETY: integers and no pointer but null.
    let taken = unsafe {
        libc::syscall(
            libc::SYS_io_uring_enter,
            ring.as_raw_fd(),
            submit,
            0,
            flags,
            none,
            0,
        )
    };
    match taken {
        -1 => Err(io::Error::last_os_error()),
        taken => Ok(taken as u32),
    }
}

/// An address that is never mapped: the kernel gives EFAULT when it gets as far as reading it.
pub const NOWHERE: u64 = 8;

/// io_uring_register(2) with arguments at an address that leads nowhere: only tells how far the kernel gets.
pub fn try_register(ring: BorrowedFd<'_>, operation: u32, count: u32) -> io::Error {
    // SAFETY: integers only; the address is not mapped, which the kernel finds out.
    let outcome = unsafe {
        libc::syscall(
            libc::SYS_io_uring_register,
            ring.as_raw_fd(),
            operation,
            NOWHERE,
            count,
        )
    };
    match outcome {
        -1 => io::Error::last_os_error(),
        _ => io::Error::from_raw_os_error(0),
    }
}

/// Whether operations are polled for completion (IORING_SETUP_IOPOLL): the time-out of a wait is not looked at then,
/// else its address is found to lead nowhere (io_uring_enter in io_uring.c).
pub fn polls_for_completions(ring: BorrowedFd<'_>) -> io::Result<bool> {
    const EXT_ARG: u32 = 8;
    // struct io_uring_getevents_arg: sigmask, its size, least time to wait, address of the time-out.
    let argument: [u64; 3] = [0, 0, NOWHERE];
    // SAFETY: `argument` has the size that is said and is only read.
    let outcome = unsafe {
        libc::syscall(
            libc::SYS_io_uring_enter,
            ring.as_raw_fd(),
            0,
            0,
            ENTER_GETEVENTS | EXT_ARG,
            argument.as_ptr(),
            size_of_val(&argument),
        )
    };
    if outcome >= 0 {
        return Ok(true);
    }
    let error = io::Error::last_os_error();
    match error.raw_os_error() {
        Some(libc::EFAULT) => Ok(false),
        // Only its own thread may wait (IORING_SETUP_DEFER_TASKRUN), which is found after the time-out was read.
        Some(libc::EEXIST) => Ok(true),
        _ => Err(error),
    }
}

/// What IORING_REGISTER_PBUF_STATUS is told: struct io_uring_buf_status.
pub fn buffer_status(group: u16) -> [u8; 40] {
    let mut status = [0; 40];
    status[..4].copy_from_slice(&u32::from(group).to_ne_bytes());
    status
}

/// Whether there is a group of provided buffers with this number (IORING_REGISTER_PBUF_STATUS, Linux 6.8).
pub fn has_buffers(ring: BorrowedFd<'_>, group: u16) -> bool {
    let mut status = buffer_status(group);
    let (fd, at) = (ring.as_raw_fd(), status.as_mut_ptr());
    // SAFETY: `status` has the size that the kernel reads and writes.
    let outcome = unsafe { libc::syscall(libc::SYS_io_uring_register, fd, REGISTER_PBUF_STATUS, at, 1) };
    outcome >= 0 || io::Error::last_os_error().raw_os_error() != Some(libc::ENOENT)
}

/// IORING_REGISTER_ operations.
pub const REGISTER_BUFFERS: u32 = 0;
/// See `REGISTER_BUFFERS`.
pub const REGISTER_FILES: u32 = 2;
/// See `REGISTER_BUFFERS`.
pub const REGISTER_EVENTFD: u32 = 4;
/// See `REGISTER_BUFFERS`.
pub const REGISTER_RESTRICTIONS: u32 = 11;
/// See `REGISTER_BUFFERS`.
pub const REGISTER_PBUF_STATUS: u32 = 26;
/// See `REGISTER_BUFFERS`.
pub const REGISTER_MEM_REGION: u32 = 34;

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::os::fd::{AsFd, FromRawFd, OwnedFd};

    fn ring(flags: u32) -> Option<OwnedFd> {
        let mut parameters = [0_u32; 30];
        parameters[2] = flags;
        // SAFETY: `parameters` has the size of struct io_uring_params; the descriptor is new and nobody else's.
        unsafe {
            let fd = libc::syscall(libc::SYS_io_uring_setup, 8, parameters.as_mut_ptr());
            (fd >= 0).then(|| OwnedFd::from_raw_fd(fd as i32))
        }
    }

    #[test]
    fn an_instance_is_used_from_outside() {
        let Some(ring) = ring(0) else { return };
        let area = Area::map(ring.as_fd(), OFFSET_RINGS, 8192).unwrap();
        assert_eq!(area.contents(4096).len(), 4096);
        area.store(place::SQ_TAIL, 3).unwrap();
        assert_eq!(enter(ring.as_fd(), 3, 0).unwrap(), 3);
        assert_eq!(area.load(place::SQ_HEAD).unwrap(), 3);
        assert_eq!(area.load(place::CQ_TAIL).unwrap(), 3);
        let error = try_register(ring.as_fd(), 4, 1);
        assert_eq!(error.raw_os_error(), Some(libc::EFAULT));
        assert!(area.load(place::COMPLETIONS).is_err());
        assert!(area.write(8190, &[0; 3]).is_err());
    }

    #[test]
    fn polling_is_told() {
        let (Some(plain), Some(polling)) = (ring(0), ring(1)) else {
            return;
        };
        assert!(!polls_for_completions(plain.as_fd()).unwrap());
        assert!(polls_for_completions(polling.as_fd()).unwrap());
    }
}
