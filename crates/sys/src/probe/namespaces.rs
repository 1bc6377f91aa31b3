//! May an ordinary user make the namespaces that a restart needs, and do in them what a restart does?

use std::ffi::{CStr, CString};
use std::io;

use super::Outcome;
use super::trial::{Board, fork, fork_as, wait};

/// What came of a restart's steps, in their order. A step is [`Outcome::Untried`] if one that it needs was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Namespaces {
    /// A user namespace, see user_namespaces(7).
    pub user: Outcome,
    /// The user's own id mapped to itself in it.
    pub ids: Outcome,
    /// A pid namespace.
    pub pid: Outcome,
    /// A process with a chosen number in it: clone3(2) with `set_tid` (Linux 5.5).
    pub chosen_pid: Outcome,
    /// A mount namespace.
    pub mount: Outcome,
    /// A /proc of its own in it. Container runtimes that mask parts of /proc make the kernel refuse this.
    pub proc: Outcome,
    /// A namespace for System V IPC and POSIX message queues.
    pub ipc: Outcome,
    /// A namespace for clocks (Linux 5.6, CONFIG_TIME_NS).
    pub time: Outcome,
    /// Setting CLOCK_MONOTONIC in it: `/proc/self/timens_offsets`.
    pub clock_offset: Outcome,
    /// A process with a chosen number outside of any new namespace: needs CAP_CHECKPOINT_RESTORE or CAP_SYS_ADMIN.
    pub chosen_pid_outside: Outcome,
}

impl Namespaces {
    /// Everything without which a restart in namespaces is impossible. (Without a /proc of its own, a restarted
    /// program sees wrong numbers there.)
    pub fn suffice(&self) -> bool {
        [
            self.user,
            self.ids,
            self.pid,
            self.chosen_pid,
            self.mount,
            self.ipc,
        ]
        .iter()
        .all(Outcome::works)
    }
}

const USER: usize = 0;
const IDS: usize = 1;
const PID: usize = 2;
const CHOSEN_PID: usize = 3;
const MOUNT: usize = 4;
const PROC: usize = 5;
const IPC: usize = 6;
const TIME: usize = 7;
const CLOCK_OFFSET: usize = 8;
const CHOSEN_PID_OUTSIDE: usize = 9;

/// The number that the trial asks for.
const WANTED_PID: libc::pid_t = 4321;

/// The lines that map the user's ids to themselves, made before the fork because the child may not allocate.
struct IdMaps {
    users: CString,
    groups: CString,
}

/// Tries all of it in a child that then ends, and its namespaces with it.
pub(super) fn try_all() -> io::Result<Namespaces> {
    let board = Board::new()?;
    let line = |id: u32| CString::new(format!("{id} {id} 1\n")).map_err(io::Error::other);
    let maps = IdMaps {
        users: line(rustix::process::geteuid().as_raw())?,
        groups: line(rustix::process::getegid().as_raw())?,
    };
    // SAFETY: `enter` and what it calls make system calls only.
    let child = unsafe { fork(|| enter(&board, &maps)) };
    if child < 0 {
        return Err(io::Error::last_os_error());
    }
    wait(child);
    // The child's number is free now, and not soon given out again by itself.
    let again = fork_as(child);
    if board.note(CHOSEN_PID_OUTSIDE, again) {
        wait(again as libc::pid_t);
    }
    Ok(Namespaces {
        user: board.outcome(USER),
        ids: board.outcome(IDS),
        pid: board.outcome(PID),
        chosen_pid: board.outcome(CHOSEN_PID),
        mount: board.outcome(MOUNT),
        proc: board.outcome(PROC),
        ipc: board.outcome(IPC),
        time: board.outcome(TIME),
        clock_offset: board.outcome(CLOCK_OFFSET),
        chosen_pid_outside: board.outcome(CHOSEN_PID_OUTSIDE),
    })
}

/// In the child: system calls only.
fn enter(board: &Board, maps: &IdMaps) {
    if !unshare(board, USER, libc::CLONE_NEWUSER) {
        return;
    }
    write(c"/proc/self/setgroups", c"deny");
    let users = write(c"/proc/self/uid_map", &maps.users);
    if !board.note(IDS, users) || !board.note(IDS, write(c"/proc/self/gid_map", &maps.groups)) {
        return;
    }
    let has_pid = unshare(board, PID, libc::CLONE_NEWPID);
    let has_mount = unshare(board, MOUNT, libc::CLONE_NEWNS);
    unshare(board, IPC, libc::CLONE_NEWIPC);
    if unshare(board, TIME, libc::CLONE_NEWTIME) {
        board.note(
            CLOCK_OFFSET,
            write(c"/proc/self/timens_offsets", c"monotonic 1000 0\n"),
        );
    }
    if has_pid {
        // SAFETY: `be_init` makes system calls only.
        let init = unsafe { fork(|| be_init(board, has_mount)) };
        if board.note(PID, init.into()) {
            wait(init);
        }
    }
}

/// In pid 1 of the new namespace: system calls only.
fn be_init(board: &Board, has_mount: bool) {
    if has_mount {
        board.note(PROC, mount_proc());
    }
    let child = fork_as(WANTED_PID);
    if board.note(CHOSEN_PID, child) {
        wait(child as libc::pid_t);
    }
}

fn mount_proc() -> libc::c_long {
    let (none, flags) = (std::ptr::null(), libc::MS_REC | libc::MS_PRIVATE);
    // SAFETY: all strings are static and ended by zero; only this child's own mount namespace changes.
    unsafe {
        if libc::mount(none, c"/".as_ptr(), none, flags, none.cast()) < 0 {
            return -1;
        }
        let proc = c"proc".as_ptr();
        libc::mount(proc, c"/proc".as_ptr(), proc, 0, none.cast()).into()
    }
}

fn unshare(board: &Board, place: usize, flag: libc::c_int) -> bool {
    // SAFETY: no memory is involved; the calling process is a child made for this.
    board.note(place, unsafe { libc::unshare(flag) }.into())
}

/// Writes to a /proc file in one call; -1 with errno on failure.
fn write(path: &CStr, text: &CStr) -> libc::c_long {
    let bytes = text.to_bytes();
    // SAFETY: the path is ended by zero and the buffer is `bytes.len()` long; the descriptor is this function's own.
    // close(2) of a /proc file changes errno only for a bad descriptor.
    unsafe {
        let file = libc::open(path.as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC);
        if file < 0 {
            return -1;
        }
        let written = libc::write(file, bytes.as_ptr().cast(), bytes.len());
        libc::close(file);
        written as libc::c_long
    }
}
