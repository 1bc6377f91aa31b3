//! What threads share with each other: a restart gives the threads of a process one of each, and every process its
//! own. Anything else, which only clone(2) and unshare(2) make, is refused.

use crate::Result;
use crate::error::{Context, Error};
use rethaw_sys::proc::{Pid, Tid};
use rethaw_sys::task::{self, Resource};

/// Refuses threads of one process that do not share memory, descriptors and folders, and processes that share
/// memory or descriptors. `processes` are frozen, each with all its threads.
#[allow(
    dead_code,
    reason = "the call in checkpoint/collect.rs comes with another change"
)]
pub(crate) fn refuse_unusual(processes: &[(Pid, Vec<Tid>)]) -> Result<()> {
    for (pid, threads) in processes {
        for tid in threads {
            shares_all(*pid, *tid)?;
        }
    }
    for (index, (pid, _)) in processes.iter().enumerate() {
        for (other, _) in &processes[..index] {
            shares_nothing(*pid, *other)?;
        }
    }
    Ok(())
}

fn shares_all(pid: Pid, tid: Tid) -> Result<()> {
    if tid.0 == pid.0 {
        return Ok(());
    }
    for (resource, what) in [
        (Resource::Memory, "memory"),
        (Resource::Descriptors, "descriptors"),
        (Resource::Folders, "a current folder"),
    ] {
        if !same(pid.leader(), tid, resource)? {
            return Err(Error::Refused {
                what: format!("a thread with {what} of its own (unshare)"),
                pid: pid.0,
                place: format!("thread {tid}"),
                remedy: "run the program without it".to_owned(),
            });
        }
    }
    Ok(())
}

fn shares_nothing(pid: Pid, other: Pid) -> Result<()> {
    for (resource, what) in [
        (Resource::Memory, "its memory"),
        (Resource::Descriptors, "its descriptors"),
    ] {
        if same(pid.leader(), other.leader(), resource)? {
            return Err(Error::Refused {
                what: format!("a process that shares {what} with another process (vfork or clone)"),
                pid: pid.0,
                place: format!("shared with process {other}"),
                remedy: "try again, when the one has executed its program, or run the program without it"
                    .to_owned(),
            });
        }
    }
    Ok(())
}

fn same(a: Tid, b: Tid, resource: Resource) -> Result<bool> {
    task::same_resource(a, b, resource).context(|| format!("cannot compare process {a} with {b} (kcmp)"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};
    use std::sync::mpsc::channel;

    #[test]
    fn ordinary_threads_and_processes_are_taken() {
        let (say, hear) = channel();
        let (end, wait) = channel::<()>();
        let thread = std::thread::spawn(move || {
            say.send(Tid(rustix::thread::gettid().as_raw_nonzero().get()))
                .unwrap();
            let _ = wait.recv();
        });
        let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        let other = Pid(child.id().cast_signed());
        let own = Pid::own();
        let outcome = refuse_unusual(&[
            (own, vec![own.leader(), hear.recv().unwrap()]),
            (other, vec![other.leader()]),
        ]);
        drop((end, child.stdin.take()));
        child.wait().unwrap();
        thread.join().unwrap();
        outcome.unwrap();
    }

    #[test]
    fn what_is_shared_or_not_where_it_should_is_refused() {
        let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        let (own, other) = (Pid::own(), Pid(child.id().cast_signed()));
        // A child as a thread, and this process as two.
        let apart = refuse_unusual(&[(own, vec![own.leader(), other.leader()])]);
        let together = refuse_unusual(&[(own, vec![own.leader()]), (own, vec![own.leader()])]);
        drop(child.stdin.take());
        child.wait().unwrap();
        assert!(matches!(apart, Err(Error::Refused { .. })));
        assert!(matches!(together, Err(Error::Refused { .. })));
    }
}
