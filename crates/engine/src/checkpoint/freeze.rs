//! Freeze: every thread of every process of the computation stops, without a signal.

use super::sleep::Sleepers;
use crate::error::Context;
use crate::tree::{InterruptedBefore, Tree};
use crate::{Error, Result};
use rethaw_sys::arch::Interrupted;
use rethaw_sys::proc::{self, Pid, Tid};
use rethaw_sys::ptrace::{Running, Stop, Stopped, Trace, Wait};
use rethaw_sys::task;
use std::time::{Duration, Instant};

/// All processes of a computation, standing still. Dropping it lets every thread run again.
#[derive(Debug)]
pub struct Frozen {
    /// Parents before children, the main process first.
    pub processes: Vec<FrozenProcess>,
}

/// One process, standing still.
#[derive(Debug)]
pub struct FrozenProcess {
    /// Its pid, as seen from here.
    pub pid: Pid,
    /// Its threads, the leader first.
    pub threads: Vec<FrozenThread>,
    /// The stop signal whose group stop it was in, or 0.
    pub stopped_by: i32,
}

/// One thread, standing still.
#[derive(Debug)]
pub struct FrozenThread {
    /// The thread.
    pub stopped: Stopped,
    /// The call in which it was interrupted: (number, instruction pointer), remembered from the checkpoint at
    /// which it was first interrupted.
    pub interrupted: Option<InterruptedBefore>,
}

/// Freezes the computation. On error every thread that was stopped runs again.
pub fn freeze(tree: &mut Tree, timeout: Duration) -> Result<Frozen> {
    let mut sleepers = Sleepers::default();
    tree.members()?.into_iter().for_each(|pid| sleepers.look(pid));
    let deadline = Instant::now() + timeout;
    let mut frozen = Frozen {
        processes: Vec::new(),
    };
    // A process that was running while we looked may have made another one: look until nothing new is found.
    loop {
        let mut found_new = false;
        for pid in tree.members()? {
            found_new |= frozen.stop_process(tree, pid, deadline)?;
        }
        if !found_new {
            break;
        }
    }
    frozen.forget_ended(tree);
    if frozen.processes.is_empty() {
        return Err(Error::Ended);
    }
    frozen.note_interrupted(tree, &sleepers)?;
    Ok(frozen)
}

impl Frozen {
    /// Stops all threads of a process that are not stopped yet. Gives whether there were any.
    fn stop_process(&mut self, tree: &mut Tree, pid: Pid, deadline: Instant) -> Result<bool> {
        let mut found_new = false;
        loop {
            let mut new = self.seize_new_threads(pid)?;
            if new.is_empty() {
                return Ok(found_new);
            }
            found_new = true;
            for running in &new {
                // ESRCH: it has ended since; waiting tells.
                let _ = running.interrupt();
            }
            for running in std::mem::take(&mut new) {
                self.wait_stop(tree, pid, running, deadline)?;
            }
        }
    }

    fn seize_new_threads(&mut self, pid: Pid) -> Result<Vec<Running>> {
        let mut seized = Vec::new();
        for tid in proc::tasks(pid).unwrap_or_default() {
            if self.holds(pid, tid) {
                continue;
            }
            match Running::seize(tid, Trace::Plain) {
                Ok(running) => seized.push(running),
                Err(e) if e.raw_os_error() == Some(libc::ESRCH) => {}
                Err(_) if proc::Stat::read((pid, tid)).is_ok_and(|stat| stat.is_zombie()) => {}
                Err(source) => return Err(cannot_seize(pid, tid, source)),
            }
        }
        Ok(seized)
    }

    fn holds(&self, pid: Pid, tid: Tid) -> bool {
        self.processes
            .iter()
            .filter(|p| p.pid == pid)
            .any(|p| p.threads.iter().any(|t| t.stopped.tid() == tid))
    }

    fn wait_stop(
        &mut self,
        tree: &mut Tree,
        pid: Pid,
        mut running: Running,
        deadline: Instant,
    ) -> Result<()> {
        let tid = running.0;
        loop {
            match running
                .wait(deadline)
                .context(|| format!("cannot wait for thread {tid}"))?
            {
                Wait::Stopped(Stop::Interrupt) => return self.add(pid, running.into_stopped(), 0),
                Wait::Stopped(Stop::Group(signal)) => return self.add(pid, running.into_stopped(), signal),
                // It was about to receive a signal, made a child, or left a call: let it, it stops right after.
                Wait::Stopped(stop) => {
                    let signal = if let Stop::Signal(signal) = stop {
                        signal
                    } else {
                        0
                    };
                    match running.into_stopped().resume(signal) {
                        Ok(again) => running = again,
                        Err(_) => return Ok(()),
                    }
                }
                Wait::Gone(status) => {
                    if tid == pid.leader() {
                        tree.note_end(pid, status);
                    }
                    return Ok(());
                }
                Wait::TimedOut => return Err(does_not_stop(pid, tid)),
            }
        }
    }

    fn add(&mut self, pid: Pid, stopped: Stopped, stopped_by: i32) -> Result<()> {
        let thread = FrozenThread {
            stopped,
            interrupted: None,
        };
        match self.processes.iter_mut().find(|p| p.pid == pid) {
            Some(process) => {
                let is_leader = thread.stopped.tid() == pid.leader();
                process
                    .threads
                    .insert(if is_leader { 0 } else { process.threads.len() }, thread);
                process.stopped_by = process.stopped_by.max(stopped_by);
            }
            None => self.processes.push(FrozenProcess {
                pid,
                threads: vec![thread],
                stopped_by,
            }),
        }
        Ok(())
    }

    /// Ends all processes instead of letting them run. Every thread has to be collected by us, its tracer:
    /// until then neither its parent nor the init of its namespace learns of its end.
    pub fn kill(mut self, tree: &mut Tree) {
        let processes = std::mem::take(&mut self.processes);
        for process in &processes {
            let _ = task::kill(process.pid, libc::SIGKILL);
        }
        for process in processes {
            for thread in process.threads.into_iter().rev() {
                let tid = thread.stopped.tid();
                let status = collect_end(tid);
                if tid == process.pid.leader() {
                    tree.note_end(process.pid, status);
                }
            }
        }
    }

    /// Threads that ended between two sweeps are no longer there.
    fn forget_ended(&mut self, _tree: &Tree) {
        self.processes
            .retain(|p| proc::Stat::read(p.pid).is_ok_and(|stat| !stat.is_zombie()));
    }

    /// Remembers the numbers of interrupted timed calls, see [`InterruptedBefore`].
    fn note_interrupted(&mut self, tree: &mut Tree, sleepers: &Sleepers) -> Result<()> {
        let before = std::mem::take(&mut tree.interrupted);
        let threads = self
            .processes
            .iter_mut()
            .flat_map(|p| p.threads.iter_mut().map(|t| (p.pid, t)));
        for (pid, thread) in threads {
            let tid = thread.stopped.tid();
            let registers = thread
                .stopped
                .registers()
                .context(|| format!("cannot read registers of {tid}"))?;
            let Interrupted::RestartBlock(number) = registers.interrupted() else {
                continue;
            };
            let deadline = sleepers.deadline(pid, tid, number as i64, &registers);
            let now = InterruptedBefore {
                number,
                ip: registers.ip(),
                deadline,
            };
            let restarted = number == libc::SYS_restart_syscall as u64;
            thread.interrupted = match before.get(&tid) {
                Some(first) if restarted && first.ip == now.ip => Some(*first),
                _ if restarted => None,
                _ => Some(now),
            };
            if let Some(first) = thread.interrupted {
                tree.interrupted.insert(tid, first);
            }
        }
        Ok(())
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        for process in self.processes.drain(..) {
            for thread in process.threads {
                // ESRCH: it was killed meanwhile.
                let _ = thread.stopped.detach();
            }
        }
    }
}

/// Waits until a killed thread is gone. Gives its wait status.
fn collect_end(tid: Tid) -> Option<i32> {
    loop {
        match Running::born(tid).wait_blocking() {
            Ok(Wait::Stopped(_) | Wait::TimedOut) => {}
            Ok(Wait::Gone(status)) => return status,
            Err(_) => return None,
        }
    }
}

fn cannot_seize(pid: Pid, tid: Tid, source: std::io::Error) -> Error {
    let tracer = proc::Status::read((pid, tid)).map_or(0, |status| status.tracer);
    if tracer != 0 {
        return Error::Traced { pid: pid.0, tracer };
    }
    Error::Os {
        operation: format!("cannot stop thread {tid} of process {pid}"),
        source,
    }
}

fn does_not_stop(pid: Pid, tid: Tid) -> Error {
    let place = proc::wchan((pid, tid))
        .ok()
        .flatten()
        .unwrap_or_else(|| "the kernel".to_owned());
    Error::Refused {
        what: format!("thread {tid} does not stop: it sleeps uninterruptibly in {place}"),
        pid: pid.0,
        place: "no descriptor".to_owned(),
        remedy: "the next checkpoint tries again; look at the file system or device that it waits for"
            .to_owned(),
    }
}
