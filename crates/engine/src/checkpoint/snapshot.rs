//! Snapshot: a copy-on-write child of each process keeps its memory as it was while the process runs on.
//!
//! The child must not be seen by the program: no exit signal, no open descriptors (a pipe's writer that lived
//! on would hide the end of the pipe), and nothing left for wait(2). So the process first makes a helper that
//! shares its memory, the helper makes the copy, and the helper is ended and collected: the copy is now an
//! orphan, adopted by the agent or the init. It dies with the agent (PTRACE_O_EXITKILL).

use crate::Result;
use crate::error::Context;
use rethaw_sys::proc::Pid;
use rethaw_sys::ptrace::{Stopped, Trace, kill_and_reap};
use rethaw_sys::remote::{Foothold, Remote};
use std::io;

/// A copy-on-write child, stopped for ever. It ends when it is dropped.
#[derive(Debug)]
pub(crate) struct Copy {
    stopped: Stopped,
}

impl Copy {
    /// Its pid, as seen from here.
    pub fn pid(&self) -> Pid {
        Pid(self.stopped.tid().0)
    }

    /// For remote calls.
    pub fn stopped(&mut self) -> &mut Stopped {
        &mut self.stopped
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        kill_and_reap(self.stopped.tid());
    }
}

/// Makes a copy of the process in one of whose threads `remote` runs.
pub(crate) fn copy_process(pid: Pid, remote: &mut Remote<'_>, foothold: &Foothold) -> Result<Copy> {
    let copy =
        make(remote, foothold).context(|| format!("cannot make a copy-on-write child of process {pid}"))?;
    foothold
        .clean_copy(copy.pid())
        .context(|| format!("cannot clean the copy of process {pid}"))?;
    Ok(copy)
}

fn make(remote: &mut Remote<'_>, foothold: &Foothold) -> io::Result<Copy> {
    const HELPER: u64 = (libc::CLONE_VM | libc::CLONE_FILES | libc::CLONE_FS) as u64;
    remote.set_trace(Trace::Children)?;
    let (mut helper, helper_inside) = remote.spawn(libc::SYS_clone, [HELPER, 0, 0, 0, 0, 0])?;
    let copy = copy_by_helper(&mut helper, foothold);
    kill_and_reap(helper.tid());
    remote.must(
        libc::SYS_wait4,
        [helper_inside as u64, 0, libc::__WALL as u64, 0, 0, 0],
    )?;
    remote.set_trace(Trace::Plain)?;
    copy
}

fn copy_by_helper(helper: &mut Stopped, foothold: &Foothold) -> io::Result<Copy> {
    helper.set_trace(Trace::ChildrenKillOnExit)?;
    let mut remote = Remote::begin_disposable(helper, foothold)?;
    let (stopped, _) = remote.spawn(libc::SYS_clone, [libc::CLONE_FILES as u64, 0, 0, 0, 0, 0])?;
    let mut copy = Copy { stopped };
    close_all(&mut copy, foothold)?;
    Ok(copy)
}

fn close_all(copy: &mut Copy, foothold: &Foothold) -> io::Result<()> {
    let mut remote = Remote::begin_disposable(&mut copy.stopped, foothold)?;
    let unshare = u64::from(libc::CLOSE_RANGE_UNSHARE);
    remote
        .must(libc::SYS_close_range, [0, u64::from(u32::MAX), unshare, 0, 0, 0])
        .map(drop)
}
