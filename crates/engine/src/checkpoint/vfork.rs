//! vfork(2), posix_spawn(3): a parent that cannot stop until its child has executed a program or ended.
//!
//! Such a parent is in uninterruptible sleep, so that the child has to run on while it is waited for. That is so
//! by itself, because parents are frozen before their children. It only takes long where the child does something
//! else first: then nobody else is to stand still meanwhile.

use crate::{Error, Result};
use rethaw_sys::proc::{self, Pid, Stat, Status, SyscallState, Tid};
use std::time::{Duration, Instant};

/// How long a child may take while nobody stands still.
const PATIENCE: Duration = Duration::from_secs(3);
/// How long it may take while others stand still already.
pub(crate) const PATIENCE_IN_PAUSE: Duration = Duration::from_secs(1);

/// Waits, before anything is frozen, until the threads that wait for such a child now have gone on.
pub(crate) fn wait_for_children(processes: &[Pid]) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    for pid in processes {
        for tid in proc::tasks(*pid).unwrap_or_default() {
            let Some(begun) = waits_since(*pid, tid) else {
                continue;
            };
            while waits_since(*pid, tid) == Some(begun) {
                if Instant::now() > deadline {
                    return Err(refused(*pid, tid));
                }
                std::thread::sleep(Duration::from_millis(2));
            }
        }
    }
    Ok(())
}

/// If the thread waits for such a child: how often it had gone to sleep, which tells one wait from another.
fn waits_since(pid: Pid, tid: Tid) -> Option<u64> {
    waits(pid, tid).then(|| Status::read((pid, tid)).ok()?.voluntary_switches)?
}

/// Whether the thread waits for such a child.
pub(crate) fn waits(pid: Pid, tid: Tid) -> bool {
    const CALLS: [i64; 3] = [libc::SYS_vfork, libc::SYS_clone, libc::SYS_clone3];
    Stat::read((pid, tid)).is_ok_and(|stat| stat.state == b'D')
        && matches!(proc::syscall((pid, tid)), Ok(SyscallState::InCall { number, .. }) if CALLS.contains(&number))
}

pub(crate) fn refused(pid: Pid, tid: Tid) -> Error {
    Error::Refused {
        what: "a child made by vfork that neither executes a program nor ends: until it does, its parent cannot be \
               stopped"
            .to_owned(),
        pid: pid.0,
        place: format!("thread {tid}"),
        remedy: "the next checkpoint tries again".to_owned(),
    }
}
