//! Letting threads go, whatever became of them while they were seized.

use super::freeze::FrozenProcess;
use rethaw_sys::proc::{self, Pid, Tid};
use rethaw_sys::ptrace::{Running, Stop, Wait};
use rethaw_sys::task;
use std::time::{Duration, Instant};

/// Lets the threads of a process run, the leader last: if the process was killed meanwhile, its leader cannot be
/// collected before the others, and nobody but us, their tracer, can collect those.
pub(super) fn release_process(process: FrozenProcess, note_end: &mut dyn FnMut(Pid, Option<i32>)) {
    for thread in process.threads.into_iter().rev() {
        let tid = thread.stopped.tid();
        if thread.stopped.owed() != 0 {
            let _ = task::kill(process.pid, thread.stopped.owed());
        }
        if thread.stopped.detach().is_err() {
            let status = collect_end(process.pid, tid);
            if tid == process.pid.leader() {
                note_end(process.pid, status);
            }
        }
    }
}

/// Detaches a thread that was asked to stop, if it has by now; else gives it back, under the number that it has.
pub(crate) fn release_late(
    (pid, tid): (Pid, Tid),
    note_end: &mut dyn FnMut(Pid, Option<i32>),
) -> Option<(Pid, Tid)> {
    let running = Running::born(tid);
    match running.wait(Instant::now()) {
        Ok(Wait::Stopped(stop)) => {
            let signal = if let Stop::Signal(signal) = stop {
                signal
            } else {
                0
            };
            let _ = running.into_stopped().detach_with(signal);
            None
        }
        // It has executed a program and is the main thread now.
        Ok(Wait::Gone(None)) if tid != pid.leader() && is_ours(pid, pid.leader()) => {
            Some((pid, pid.leader()))
        }
        Ok(Wait::Gone(status)) => {
            if tid == pid.leader() {
                note_end(pid, status);
            }
            None
        }
        Ok(Wait::TimedOut) => is_ours(pid, tid).then_some((pid, tid)),
        Err(_) => None,
    }
}

/// Threads that are still traced, of those that had not stopped when a freeze was given up.
pub(super) fn still_ours(mut stragglers: Vec<(Pid, Tid)>) -> Vec<(Pid, Tid)> {
    stragglers.retain(|(pid, tid)| is_ours(*pid, *tid));
    stragglers
}

/// Whether a thread is traced: nobody but us can be its tracer.
fn is_ours(pid: Pid, tid: Tid) -> bool {
    proc::Status::read((pid, tid)).is_ok_and(|status| status.tracer != 0)
}

/// Whether a seized thread has ended; it is collected then.
pub(super) fn has_died(pid: Pid, tid: Tid) -> bool {
    let is_dead = proc::Stat::read((pid, tid)).is_ok_and(|stat| stat.is_zombie());
    is_dead && matches!(Running::born(tid).wait(Instant::now()), Ok(Wait::Gone(_)))
}

/// Collects a thread that we have killed.
pub(super) fn collect_killed(tid: Tid) -> Option<i32> {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        match Running::born(tid).wait(deadline) {
            Ok(Wait::Stopped(_)) => {}
            Ok(Wait::Gone(status)) => return status,
            _ => return None,
        }
    }
}

/// Collects a thread that could not be detached because it is dying, and gives its wait status. After an execve(2) in
/// a thread that was let go before, the main thread is another one by now, and none of ours.
pub(crate) fn collect_end(pid: Pid, tid: Tid) -> Option<i32> {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        match Running::born(tid).wait(Instant::now() + Duration::from_millis(1)) {
            Ok(Wait::Gone(status)) => return status,
            Ok(Wait::TimedOut) if is_ours(pid, tid) && Instant::now() < deadline => {}
            Ok(Wait::Stopped(_)) => {
                let _ = Running::born(tid).into_stopped().detach();
                return None;
            }
            _ => return None,
        }
    }
}
