//! Namespaces in which an ordinary user may choose pids and clock offsets.

use std::fs;
use std::io;
use std::ptr;

/// Offsets of a time namespace in nanoseconds (time_namespaces(7), Linux 5.6).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ClockOffsets {
    /// Added to CLOCK_MONOTONIC.
    pub monotonic_ns: i64,
    /// Added to CLOCK_BOOTTIME.
    pub boottime_ns: i64,
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result == -1 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

fn unshare(flags: libc::c_int) -> io::Result<()> {
    // SAFETY: no memory arguments; the caller is single-threaded (EINVAL otherwise for user namespaces).
    check(unsafe { libc::unshare(flags) })
}

/// Whether this process may make namespaces without a user namespace (CAP_SYS_ADMIN).
pub fn privileged() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status.lines().find_map(|l| l.strip_prefix("CapEff:"));
    let set = effective
        .and_then(|v| u64::from_str_radix(v.trim(), 16).ok())
        .unwrap_or(0);
    const CAP_SYS_ADMIN: u64 = 1 << 21;
    const CAP_CHECKPOINT_RESTORE: u64 = 1 << 40;
    set & CAP_SYS_ADMIN != 0 && set & CAP_CHECKPOINT_RESTORE != 0
}

/// Enters a new user namespace in which the caller keeps its uid and gid (user_namespaces(7)): munge, PMIx
/// and file ownership break when the number changes.
pub fn enter_user() -> io::Result<()> {
    let (uid, gid) = (
        rustix::process::geteuid().as_raw(),
        rustix::process::getegid().as_raw(),
    );
    unshare(libc::CLONE_NEWUSER)?;
    fs::write("/proc/self/setgroups", "deny")?;
    fs::write("/proc/self/uid_map", format!("{uid} {uid} 1"))?;
    fs::write("/proc/self/gid_map", format!("{gid} {gid} 1"))
}

/// Makes pid, mount and IPC namespaces for the children of the caller.
pub fn enter_pid_mount_ipc() -> io::Result<()> {
    unshare(libc::CLONE_NEWPID | libc::CLONE_NEWNS | libc::CLONE_NEWIPC)
}

/// Makes a time namespace for the children of the caller. The offsets can only be set before the first child
/// enters it.
pub fn enter_time(offsets: ClockOffsets) -> io::Result<()> {
    const CLONE_NEWTIME: libc::c_int = 0x80;
    unshare(CLONE_NEWTIME)?;
    let line = |clock: &str, ns: i64| {
        format!(
            "{clock} {} {}\n",
            ns.div_euclid(1_000_000_000),
            ns.rem_euclid(1_000_000_000)
        )
    };
    let text = line("monotonic", offsets.monotonic_ns) + &line("boottime", offsets.boottime_ns);
    fs::write("/proc/self/timens_offsets", text)
}

/// Offsets of the clocks that a process's children (and, after its start, it itself) see, relative to the
/// initial time namespace.
pub fn clock_offsets(pid: crate::proc::Pid) -> io::Result<ClockOffsets> {
    let text = fs::read_to_string(format!("/proc/{pid}/timens_offsets"))?;
    let mut offsets = ClockOffsets::default();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let (Some(clock), Some(seconds), Some(ns)) = (words.next(), words.next(), words.next()) else {
            continue;
        };
        let (Ok(seconds), Ok(ns)) = (seconds.parse::<i64>(), ns.parse::<i64>()) else {
            continue;
        };
        let total = seconds.saturating_mul(1_000_000_000).saturating_add(ns);
        match clock {
            "monotonic" => offsets.monotonic_ns = total,
            "boottime" => offsets.boottime_ns = total,
            _ => {}
        }
    }
    Ok(offsets)
}

/// Mounts a /proc of this pid namespace. Mounts that the site makes later still come through (MS_SLAVE);
/// ours stay here.
pub fn mount_proc() -> io::Result<()> {
    // SAFETY: all strings are NUL-terminated literals; NULL is allowed for the others (mount(2)).
    check(unsafe {
        libc::mount(
            ptr::null(),
            c"/".as_ptr(),
            ptr::null(),
            libc::MS_REC | libc::MS_SLAVE,
            ptr::null(),
        )
    })?;
    let flags = libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC;
    // SAFETY: as above.
    check(unsafe {
        libc::mount(
            c"proc".as_ptr(),
            c"/proc".as_ptr(),
            c"proc".as_ptr(),
            flags,
            ptr::null(),
        )
    })
}

/// fork(2) of a single-threaded process: `child` runs in the child and never returns. Gives the child's pid.
pub fn fork(child: impl FnOnce() -> std::convert::Infallible) -> io::Result<i32> {
    // SAFETY: the caller is single-threaded (the init was just exec'ed), so no lock can be held by a thread
    // that does not exist in the child.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        #[allow(unreachable_code)]
        0 => match child() {},
        pid => Ok(pid),
    }
}

/// As [`fork`]; the child gets the process number `number` (clone3(2) with `set_tid`, Linux 5.5).
pub fn fork_with_number(number: i32, child: impl FnOnce() -> std::convert::Infallible) -> io::Result<()> {
    // struct clone_args: flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls, set_tid,
    // set_tid_size, cgroup.
    let mut arguments = [0_u64; 11];
    arguments[4] = libc::SIGCHLD as u64;
    arguments[8] = &raw const number as u64;
    arguments[9] = 1;
    // SAFETY: as in `fork`; without a stack and without CLONE_VM the child goes on here on a copy of all memory.
    // `arguments` and `number` are live and of the sizes that are told.
    match unsafe { libc::syscall(libc::SYS_clone3, arguments.as_ptr(), size_of_val(&arguments)) } {
        -1 => Err(io::Error::last_os_error()),
        #[allow(unreachable_code)]
        0 => match child() {},
        _ => Ok(()),
    }
}

/// Maps `len` bytes at `address` for a foothold: one executable page for the gadget, then writable memory.
/// Fails with EEXIST when something is there.
pub fn map_foothold(address: u64, len: usize) -> io::Result<()> {
    const PAGE: usize = 4096;
    let map = |address: u64, len: usize, protection| {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED_NOREPLACE;
        // SAFETY: MAP_FIXED_NOREPLACE replaces nothing, so no memory of this program is touched.
        let got = unsafe { libc::mmap(address as *mut libc::c_void, len, protection, flags, -1, 0) };
        if got == libc::MAP_FAILED {
            Err(io::Error::last_os_error())
        } else {
            Ok(())
        }
    };
    map(address, PAGE, libc::PROT_READ | libc::PROT_EXEC)?;
    map(
        address + PAGE as u64,
        len - PAGE,
        libc::PROT_READ | libc::PROT_WRITE,
    )
}

/// Waits for any child; gives its pid and raw status, or `None` when there is none left.
pub fn wait_any() -> io::Result<Option<(i32, i32)>> {
    let mut status = 0;
    loop {
        // SAFETY: `status` is a live c_int.
        match unsafe { libc::waitpid(-1, &raw mut status, libc::__WALL) } {
            -1 => match io::Error::last_os_error() {
                e if e.raw_os_error() == Some(libc::EINTR) => {}
                e if e.raw_os_error() == Some(libc::ECHILD) => return Ok(None),
                e => return Err(e),
            },
            pid => return Ok(Some((pid, status))),
        }
    }
}
