//! File locks and leases. flock(2) and F_OFD_SETLK belong to the open file description, F_SETLK to a process, which
//! loses it at any close of that file; a lease to the description, and it tells the process that took it.

use super::descriptor::Seen;
use super::numbers::Numbers;
use crate::Result;
use crate::restart::{Plan, Stub};
use rethaw_image::record::{DescriptionV1, LockV1};
use rethaw_sys::descriptor;
use rethaw_sys::proc::{Lock, LockKind, LockMode};
use rethaw_sys::remote::Remote;
use rustix::fs::{Mode, OFlags};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

const FLOCK: i32 = 0;
const POSIX: i32 = 1;
const OPEN_FILE: i32 = 2;
/// [`LockV1::kind`] of a lease.
pub(crate) const LEASE: i32 = 3;

/// A lease is being broken: it is to become a read lease, or to be given up.
const TO_READ: u32 = 1;
const TO_NOTHING: u32 = 2;

/// Locks of a description, and of processes through it. Of those that belong to processes the kernel shows all of
/// the file, through each of its descriptions.
pub(crate) fn collect(seen: &Seen, numbers: &Numbers) -> Vec<LockV1> {
    let record = |lock: &Lock| {
        Some(LockV1 {
            kind: match lock.kind {
                LockKind::Flock => FLOCK,
                LockKind::Posix => POSIX,
                LockKind::OpenFile => OPEN_FILE,
                LockKind::Lease => LEASE,
                LockKind::Other => return None,
            },
            exclusive: lock.mode == LockMode::Write,
            start: lock.start,
            len: lock.last.map_or(0, |last| last - lock.start + 1),
            pid: numbers.thread(lock.pid).unwrap_or(0),
            breaking: match (lock.breaking, lock.mode) {
                (false, _) => 0,
                (true, LockMode::Read) => TO_READ,
                (true, _) => TO_NOTHING,
            },
        })
    };
    seen.info.locks.iter().filter_map(record).collect()
}

/// Takes the locks of one description; all descriptors are in place. `holders` are the processes that have it, by
/// their order in the plan, and its number there.
pub(crate) fn rebuild(
    record: &DescriptionV1,
    fd: &OwnedFd,
    plan: &Plan,
    stubs: &mut [Stub],
    holders: &[(usize, i32)],
    warnings: &mut Vec<String>,
) -> Result<()> {
    for lock in &record.locks {
        let is_takers =
            |(process, _): &&(usize, i32)| plan.processes.get(*process).is_some_and(|p| p.pid == lock.pid);
        let taker = holders.iter().find(is_takers);
        // Who took it may have ended, or closed it; not so with a lock that would be lost by that.
        let holder = match lock.kind {
            POSIX => taker,
            _ => taker.or(holders.first()),
        };
        let Some((process, number)) = holder.copied() else {
            continue;
        };
        let Some(stub) = stubs.get_mut(process) else {
            continue;
        };
        let outcome = match lock.kind {
            OPEN_FILE => descriptor::lock_description(fd.as_fd(), lock.exclusive, lock.start, lock.len),
            _ => take(lock, record, number as u64, &mut stub.remote()?),
        };
        let outcome = outcome.and_then(|()| break_lease(lock, fd));
        match outcome {
            // Taken through another description of the same file, which is not only for reading, or only for writing.
            Err(e) if lock.kind == POSIX && e.raw_os_error() == Some(libc::EBADF) => {}
            Err(e) => warnings.push(format!(
                "a file lock that the program held cannot be taken again ({e})"
            )),
            Ok(()) => {}
        }
    }
    Ok(())
}

/// In the process that has it as descriptor `fd`: the kernel tells others who took it.
fn take(lock: &LockV1, record: &DescriptionV1, fd: u64, remote: &mut Remote<'_>) -> io::Result<()> {
    let kind = if lock.exclusive {
        libc::F_WRLCK
    } else {
        libc::F_RDLCK
    };
    match lock.kind {
        FLOCK => {
            let operation = if lock.exclusive {
                libc::LOCK_EX
            } else {
                libc::LOCK_SH
            };
            let arguments = [fd, (operation | libc::LOCK_NB) as u64, 0, 0, 0, 0];
            remote.must(libc::SYS_flock, arguments).map(drop)
        }
        POSIX => {
            // struct flock: type, whence (i16 each), start, len (i64 each), pid.
            let mut flock = vec![0; 32];
            flock[..2].copy_from_slice(&(kind as i16).to_ne_bytes());
            flock[8..16].copy_from_slice(&lock.start.to_ne_bytes());
            flock[16..24].copy_from_slice(&lock.len.to_ne_bytes());
            let address = remote.put(0, &flock)?;
            let arguments = [fd, libc::F_SETLK as u64, address, 0, 0, 0];
            remote.must(libc::SYS_fcntl, arguments).map(drop)
        }
        _ => {
            let kind = whole_lease(lock, record).unwrap_or(kind);
            let arguments = [fd, libc::F_SETLEASE as u64, kind as u64, 0, 0, 0];
            remote.must(libc::SYS_fcntl, arguments).map(drop)
        }
    }
}

/// What a lease was before it was being broken. A read lease can only be given up.
fn whole_lease(lock: &LockV1, record: &DescriptionV1) -> Option<i32> {
    let reads_only = record.flags & libc::O_ACCMODE as u32 == libc::O_RDONLY as u32;
    match lock.breaking {
        TO_READ => Some(libc::F_WRLCK),
        TO_NOTHING if reads_only => Some(libc::F_RDLCK),
        TO_NOTHING => Some(libc::F_WRLCK),
        _ => None,
    }
}

/// Breaks a lease again, as somebody did by opening the file. The program knows already, so nobody is told.
fn break_lease(lock: &LockV1, fd: &OwnedFd) -> io::Result<()> {
    let access = match lock.breaking {
        TO_READ => OFlags::RDONLY,
        TO_NOTHING => OFlags::WRONLY,
        _ => return Ok(()),
    };
    descriptor::set_owner(fd.as_fd(), PROCESS_OWNER, 0)?;
    let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
    match rustix::fs::open(path, access | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty()) {
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(()),
        Err(e) => Err(e.into()),
        Ok(_) => Err(io::Error::other("a lease that was being broken is whole")),
    }
}

const PROCESS_OWNER: i32 = 1;
