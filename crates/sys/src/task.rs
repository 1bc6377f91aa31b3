//! What the kernel tells of a thread or process through system calls made from outside.

use crate::proc::{Pid, Tid};
use std::cmp::Ordering;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

fn check(result: libc::c_long) -> io::Result<libc::c_long> {
    if result == -1 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

/// A descriptor for a process (pidfd_open(2), Linux 5.3).
pub fn pidfd_open(pid: Pid) -> io::Result<OwnedFd> {
    // SAFETY: integers only; the kernel gives a new descriptor that nobody else owns.
    unsafe { check(libc::syscall(libc::SYS_pidfd_open, pid.0, 0)).map(|fd| OwnedFd::from_raw_fd(fd as i32)) }
}

/// As [`pidfd_open`], also for a thread that is not a leader (PIDFD_THREAD, Linux 6.9).
pub fn pidfd_open_thread(tid: Tid) -> io::Result<OwnedFd> {
    const PIDFD_THREAD: libc::c_int = libc::O_EXCL;
    // SAFETY: integers only; the kernel gives a new descriptor that nobody else owns.
    unsafe {
        check(libc::syscall(libc::SYS_pidfd_open, tid.0, PIDFD_THREAD))
            .map(|fd| OwnedFd::from_raw_fd(fd as i32))
    }
}

/// A duplicate of a descriptor of another process (pidfd_getfd(2), Linux 5.6).
pub fn pidfd_getfd(pidfd: BorrowedFd<'_>, fd: i32) -> io::Result<OwnedFd> {
    // SAFETY: as above.
    unsafe {
        check(libc::syscall(libc::SYS_pidfd_getfd, pidfd.as_raw_fd(), fd, 0))
            .map(|fd| OwnedFd::from_raw_fd(fd as i32))
    }
}

/// Whether two descriptors of two processes are the same open file description (kcmp(2), KCMP_FILE).
pub fn same_description(a: (Pid, i32), b: (Pid, i32)) -> io::Result<bool> {
    const KCMP_FILE: libc::c_int = 0;
    // SAFETY: integers only.
    let order = unsafe { libc::syscall(libc::SYS_kcmp, a.0.0, b.0.0, KCMP_FILE, a.1 as u64, b.1 as u64) };
    check(order).map(|order| order == 0)
}

/// What threads can share with each other (kcmp(2)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resource {
    /// The address space (KCMP_VM).
    Memory = 1,
    /// The descriptor table (KCMP_FILES).
    Descriptors = 2,
    /// Current folder, root and umask (KCMP_FS).
    Folders = 3,
}

/// Orders two threads by what they have of a resource; they are equal when they share it.
pub fn compare_resource(a: Tid, b: Tid, resource: Resource) -> io::Result<Ordering> {
    // SAFETY: integers only.
    let order = unsafe { libc::syscall(libc::SYS_kcmp, a.0, b.0, resource as libc::c_int, 0, 0) };
    check(order).map(|order| match order {
        0 => Ordering::Equal,
        1 => Ordering::Less,
        _ => Ordering::Greater,
    })
}

/// Robust futex list of a thread: (head, length) (get_robust_list(2)).
pub fn robust_list(tid: Tid) -> io::Result<(u64, u64)> {
    let (mut head, mut len) = (0_u64, 0_u64);
    // SAFETY: both pointers are live u64, as large as the pointer and size_t that the kernel writes.
    check(unsafe { libc::syscall(libc::SYS_get_robust_list, tid.0, &raw mut head, &raw mut len) })?;
    Ok((head, len))
}

/// `struct sched_attr` (sched_setattr(2)), first version.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SchedulingAttributes {
    /// Size of this struct.
    pub size: u32,
    /// SCHED_OTHER …
    pub policy: u32,
    /// SCHED_FLAG_ bits.
    pub flags: u64,
    /// Nice value.
    pub nice: i32,
    /// Real-time priority.
    pub priority: u32,
    /// SCHED_DEADLINE, in nanoseconds.
    pub runtime: u64,
    /// SCHED_DEADLINE, in nanoseconds.
    pub deadline: u64,
    /// SCHED_DEADLINE, in nanoseconds.
    pub period: u64,
}

/// Scheduling policy, nice value and priority.
pub fn scheduling(tid: Tid) -> io::Result<SchedulingAttributes> {
    let mut attributes = SchedulingAttributes::default();
    let size = size_of::<SchedulingAttributes>();
    // SAFETY: `attributes` is live and `size` bytes long.
    check(unsafe { libc::syscall(libc::SYS_sched_getattr, tid.0, &raw mut attributes, size, 0) })?;
    Ok(attributes)
}

/// Sets policy, nice value and priority.
pub fn set_scheduling(tid: Tid, attributes: &SchedulingAttributes) -> io::Result<()> {
    let attributes = SchedulingAttributes {
        size: size_of::<SchedulingAttributes>() as u32,
        ..*attributes
    };
    // SAFETY: `attributes` is live and says its size.
    check(unsafe { libc::syscall(libc::SYS_sched_setattr, tid.0, &raw const attributes, 0) }).map(drop)
}

/// CPU affinity as a little-endian bit string.
pub fn affinity(tid: Tid) -> io::Result<Vec<u8>> {
    let mut mask = vec![0_u8; 8192 / 8];
    // SAFETY: the kernel writes at most `len` bytes and gives their number.
    let len =
        check(unsafe { libc::syscall(libc::SYS_sched_getaffinity, tid.0, mask.len(), mask.as_mut_ptr()) })?
            as usize;
    mask.truncate(len);
    Ok(mask)
}

/// Sets the CPU affinity. EINVAL when no CPU of the mask may be used.
pub fn set_affinity(tid: Tid, mask: &[u8]) -> io::Result<()> {
    // SAFETY: the kernel reads `mask.len()` bytes.
    check(unsafe { libc::syscall(libc::SYS_sched_setaffinity, tid.0, mask.len(), mask.as_ptr()) }).map(drop)
}

const IOPRIO_WHO_PROCESS: libc::c_int = 1;

/// I/O priority of a thread (ioprio_get(2)).
pub fn io_priority(tid: Tid) -> io::Result<u32> {
    // SAFETY: integers only.
    check(unsafe { libc::syscall(libc::SYS_ioprio_get, IOPRIO_WHO_PROCESS, tid.0) }).map(|v| v as u32)
}

/// Sets the I/O priority of a thread.
pub fn set_io_priority(tid: Tid, priority: u32) -> io::Result<()> {
    // SAFETY: integers only.
    check(unsafe { libc::syscall(libc::SYS_ioprio_set, IOPRIO_WHO_PROCESS, tid.0, priority) }).map(drop)
}

/// Sets a resource limit of another process (prlimit(2)).
pub fn set_limit(pid: Pid, resource: u32, soft: u64, hard: u64) -> io::Result<()> {
    let limit = libc::rlimit64 {
        rlim_cur: soft,
        rlim_max: hard,
    };
    // SAFETY: `limit` is live; NULL for the old value is allowed.
    check(unsafe {
        libc::syscall(
            libc::SYS_prlimit64,
            pid.0,
            resource,
            &raw const limit,
            std::ptr::null_mut::<libc::rlimit64>(),
        )
    })
    .map(drop)
}

/// Lets this process have as many open files as it may. As an attempt: where it fails, less can be opened.
pub fn raise_open_files() {
    if let Ok(limits) = crate::proc::Limits::read(Pid::own()) {
        let hard = limits.by_resource[libc::RLIMIT_NOFILE as usize].hard;
        let _ = set_limit(Pid::own(), libc::RLIMIT_NOFILE, hard, hard);
    }
}

/// Sends a signal to a process.
pub fn kill(pid: Pid, signal: i32) -> io::Result<()> {
    // SAFETY: integers only.
    check(unsafe { libc::kill(pid.0, signal) }.into()).map(drop)
}

/// How a process ended, told to whoever holds a pidfd (PIDFD_GET_INFO with PIDFD_INFO_EXIT, Linux 6.15): the
/// raw wait status. `None` while it runs or where the kernel does not tell.
pub fn exit_status(pidfd: BorrowedFd<'_>) -> Option<i32> {
    const PIDFD_INFO_EXIT: u64 = 1 << 3;
    #[repr(C)]
    #[derive(Default)]
    struct PidfdInfo {
        mask: u64,
        cgroup_id: u64,
        ids: [u32; 11],
        exit_code: i32,
    }
    const SIZE: libc::c_ulong = size_of::<PidfdInfo>() as libc::c_ulong;
    const PIDFD_GET_INFO: libc::c_ulong = 0xc000_ff0b | SIZE << 16; // _IOWR(0xff, 11, struct pidfd_info)
    let mut info = PidfdInfo {
        mask: PIDFD_INFO_EXIT,
        ..PidfdInfo::default()
    };
    // SAFETY: `info` is live and as large as the request says.
    let result = unsafe { libc::ioctl(pidfd.as_raw_fd(), PIDFD_GET_INFO, &raw mut info) };
    (result == 0 && info.mask & PIDFD_INFO_EXIT != 0).then_some(info.exit_code)
}

/// Collects an ended child without blocking: its raw wait status.
pub fn reap(pid: Pid) -> io::Result<Option<i32>> {
    let mut status = 0;
    // SAFETY: `status` is a live c_int.
    match unsafe { libc::waitpid(pid.0, &raw mut status, libc::WNOHANG | libc::__WALL) } {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(None),
        _ => Ok(Some(status)),
    }
}

/// Makes this process the one that inherits orphans among its descendants (PR_SET_CHILD_SUBREAPER).
pub fn become_subreaper() -> io::Result<()> {
    // SAFETY: integers only.
    check(unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) }.into()).map(drop)
}

/// Reads a clock in nanoseconds.
pub fn clock_ns(clock: libc::clockid_t) -> i64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `time` is live. An unknown clock leaves it zero.
    unsafe { libc::clock_gettime(clock, &raw mut time) };
    time.tv_sec * 1_000_000_000 + time.tv_nsec
}

/// Whether an epoll instance `epoll` (process, descriptor) watches under number `watched` the description that
/// `candidate` is a descriptor of (kcmp(2), KCMP_EPOLL_TFD, Linux 4.13).
pub fn epoll_watches(epoll: (Pid, i32), watched: i32, candidate: (Pid, i32)) -> io::Result<bool> {
    const KCMP_EPOLL_TFD: libc::c_int = 7;
    let slot = [epoll.1 as u32, watched as u32, 0];
    // SAFETY: `slot` is a live struct kcmp_epoll_slot (three u32).
    let order = unsafe {
        libc::syscall(
            libc::SYS_kcmp,
            candidate.0.0,
            epoll.0.0,
            KCMP_EPOLL_TFD,
            candidate.1 as u64,
            slot.as_ptr(),
        )
    };
    check(order).map(|order| order == 0)
}
