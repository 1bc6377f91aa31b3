//! Trying things in forked children, so that nothing changes for the caller.

use std::io;
use std::sync::atomic::{AtomicI32, Ordering};

use rustix::io::Errno;
use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous, munmap};

use super::Outcome;

const PLACES: usize = 16;
/// What a place holds until something is noted there.
const UNTRIED: i32 = -1;

/// A page shared with forked children, on which they note an errno for each thing tried; 0 says that it worked.
pub(super) struct Board {
    places: *mut [AtomicI32; PLACES],
}

impl Board {
    pub(super) fn new() -> io::Result<Board> {
        let bytes = size_of::<[AtomicI32; PLACES]>();
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new mapping at a place of the kernel's choice touches no existing memory.
        let page = unsafe { mmap_anonymous(std::ptr::null_mut(), bytes, protection, MapFlags::SHARED) }?;
        let board = Board { places: page.cast() };
        board
            .places()
            .iter()
            .for_each(|place| place.store(UNTRIED, Ordering::Relaxed));
        Ok(board)
    }

    fn places(&self) -> &[AtomicI32; PLACES] {
        // SAFETY: the mapping is aligned to a page, as long as the array, valid as integers (it began as zeros),
        // shared only through atomics, and unmapped only in `drop`.
        unsafe { &*self.places }
    }

    /// Notes how a system call ended: `returned` -1 means errno. True if it worked. Async-signal-safe.
    pub(super) fn note(&self, place: usize, returned: libc::c_long) -> bool {
        let errno = if returned < 0 { errno() } else { 0 };
        if let Some(place) = self.places().get(place) {
            place.store(errno, Ordering::Relaxed);
        }
        errno == 0
    }

    pub(super) fn outcome(&self, place: usize) -> Outcome {
        match self
            .places()
            .get(place)
            .map(|place| place.load(Ordering::Relaxed))
        {
            None | Some(UNTRIED) => Outcome::Untried,
            Some(0) => Outcome::Works,
            Some(errno) => Outcome::Refused(Errno::from_raw_os_error(errno)),
        }
    }
}

impl Drop for Board {
    fn drop(&mut self) {
        let bytes = size_of::<[AtomicI32; PLACES]>();
        // SAFETY: `new` mapped exactly these bytes, and no reference to them outlives `self`. A failure leaks a page.
        let _ = unsafe { munmap(self.places.cast(), bytes) };
    }
}

/// Forks a child that does `work` and then ends; returns its number, or -1 with errno. Async-signal-safe itself.
///
/// # Safety
/// `work` must only make system calls: the caller may have other threads, whose locks (the allocator's, say) are
/// held for ever in the child.
pub(super) unsafe fn fork(work: impl FnOnce()) -> libc::pid_t {
    // SAFETY: the child runs only `work`, which the caller vouches for, and ends without unwinding or destructors.
    unsafe {
        let pid = libc::fork();
        if pid == 0 {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
            work();
            libc::_exit(0);
        }
        pid
    }
}

/// The error of the last failed system call of this thread. Async-signal-safe.
fn errno() -> i32 {
    // SAFETY: errno's place belongs to this thread, for as long as it runs.
    unsafe { *libc::__errno_location() }
}

/// Forks a child with a number of choice, by clone3(2), which only ends; its number, or -1 with errno.
/// Async-signal-safe.
pub(super) fn fork_as(pid: libc::pid_t) -> libc::c_long {
    let wanted = [pid];
    // SAFETY: all zeros is a valid clone_args.
    let mut arguments: libc::clone_args = unsafe { std::mem::zeroed() };
    arguments.exit_signal = libc::SIGCHLD as u64;
    arguments.set_tid = wanted.as_ptr() as u64;
    arguments.set_tid_size = 1;
    // SAFETY: `arguments` and `wanted` outlive the call; without CLONE_VM the child is a fork, and it only ends.
    unsafe {
        let child = libc::syscall(
            libc::SYS_clone3,
            &raw mut arguments,
            size_of::<libc::clone_args>(),
        );
        if child == 0 {
            libc::_exit(0);
        }
        child
    }
}

/// Waits for a child of this process to end. Async-signal-safe.
pub(super) fn wait(pid: libc::pid_t) {
    let mut status = 0;
    // SAFETY: the kernel writes one int to `status`, which outlives the call.
    while unsafe { libc::waitpid(pid, &mut status, libc::__WALL) } < 0 && errno() == libc::EINTR {}
}

/// Ends a child of this process and reaps it. Async-signal-safe.
pub(super) fn end(pid: libc::pid_t) {
    // SAFETY: no memory is involved; the number is that of a child not yet reaped, so it is nobody else's.
    unsafe { libc::kill(pid, libc::SIGKILL) };
    wait(pid);
}
