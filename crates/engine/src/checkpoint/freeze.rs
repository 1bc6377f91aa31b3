//! Freeze: every thread of every process of the computation stops, without a signal.

use super::collector::Collector;
use super::release::{collect_killed, has_died, is_ours, release_late, release_process, still_ours};
use super::sleep::Sleepers;
use super::vfork;
use crate::error::Context;
use crate::resource::process;
use crate::resource::thread::ContextProc;
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
    /// Seized and asked to stop, but not stopped yet.
    pending: Vec<(Pid, Tid)>,
    /// While it is being frozen.
    collector: Option<Collector>,
    /// How often a thread could not be seized.
    excused: u32,
}

const EXCUSES: u32 = 20;

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

impl FrozenProcess {
    /// Through which the process can be looked at: the leader, or, if that has ended before others, another thread. /proc
    /// and the calls that read memory take any thread's number for its process's (proc_pid_lookup in fs/proc/base.c),
    /// but show nothing of a leader that has ended.
    pub fn speaker(&self) -> Pid {
        self.threads
            .first()
            .map_or(self.pid, |thread| Pid(thread.stopped.tid().0))
    }
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
    let deadline = Instant::now() + timeout;
    loop {
        let mut sleepers = Sleepers::default();
        let members = tree.members()?;
        vfork::wait_for_children(&members)?;
        members.into_iter().for_each(|pid| sleepers.look(pid));
        let mut frozen = Frozen {
            processes: Vec::new(),
            pending: still_ours(std::mem::take(&mut tree.stragglers)),
            collector: Collector::start(),
            excused: 0,
        };
        let stands_still = frozen.stop_all(tree, &sleepers, deadline);
        frozen.collector = None;
        if let Ok(true) = stands_still {
            return Ok(frozen);
        }
        frozen.release(tree);
        if !stands_still? && Instant::now() > deadline {
            return Err(never_stands_still(tree.main()));
        }
    }
}

impl Frozen {
    /// A process that was running while we looked may have made another one: looks until nothing new is found.
    /// False when something has ended or executed a program meanwhile, so that it has to be done anew.
    fn stop_all(&mut self, tree: &mut Tree, sleepers: &Sleepers, deadline: Instant) -> Result<bool> {
        loop {
            let mut found_new = false;
            for pid in tree.members()? {
                found_new |= self.seize_new_threads(pid)?;
                self.wait_stops(tree, deadline)?;
            }
            // A process that two others made and left between two looks may be in neither list: nothing is new only
            // when a second look says so too.
            if !found_new && self.holds_all(&tree.members()?) {
                break;
            }
        }
        self.forget_ended(tree);
        if self.processes.is_empty() {
            return Err(Error::Ended);
        }
        self.note_interrupted(tree, sleepers)
    }

    /// Seizes the threads of a process that are not seized yet and asks them to stop. Gives whether there were
    /// any.
    fn seize_new_threads(&mut self, pid: Pid) -> Result<bool> {
        let mut found_new = false;
        for tid in tasks_of(pid)? {
            if self.holds(pid, tid) || is_worker(pid, tid) {
                continue;
            }
            match Running::seize(tid, Trace::Plain) {
                Ok(running) => {
                    self.collector
                        .iter()
                        .for_each(|collector| collector.note(pid, tid));
                    // ESRCH: it has ended since; waiting tells.
                    let _ = running.interrupt();
                    self.pending.push((pid, tid));
                    found_new = true;
                }
                Err(e) if e.raw_os_error() == Some(libc::ESRCH) => {}
                Err(_) if proc::Stat::read((pid, tid)).is_ok_and(|stat| stat.is_zombie()) => {}
                // It has executed a program after it was seized under another number.
                Err(_) if is_ours(pid, tid) => {
                    let _ = Running::born(tid).interrupt();
                    self.pending.push((pid, tid));
                    found_new = true;
                }
                // It cannot be seized while it takes that number.
                Err(_) if self.excused < EXCUSES => {
                    self.excused += 1;
                    std::thread::sleep(Duration::from_millis(1));
                    found_new = true;
                }
                Err(source) => return Err(cannot_seize(pid, tid, source)),
            }
        }
        Ok(found_new)
    }

    fn holds_all(&self, members: &[Pid]) -> bool {
        members
            .iter()
            .all(|pid| self.processes.iter().any(|process| process.pid == *pid))
    }

    fn wait_stops(&mut self, tree: &mut Tree, deadline: Instant) -> Result<()> {
        while let Some((pid, tid)) = self.pending.last().copied() {
            self.wait_stop(tree, pid, Running::born(tid), deadline)?;
            self.pending.retain(|(_, other)| *other != tid);
        }
        Ok(())
    }

    fn holds(&self, pid: Pid, tid: Tid) -> bool {
        let mut of_process = self.processes.iter().filter(|p| p.pid == pid);
        self.pending.contains(&(pid, tid))
            || of_process.any(|p| p.threads.iter().any(|t| t.stopped.tid() == tid))
    }

    fn wait_stop(
        &mut self,
        tree: &mut Tree,
        pid: Pid,
        mut running: Running,
        deadline: Instant,
    ) -> Result<()> {
        /// How long to wait for one thread before looking after the others.
        const MOMENT: Duration = Duration::from_millis(5);
        let tid = running.0;
        let soon = Instant::now() + vfork::PATIENCE_IN_PAUSE;
        loop {
            match running
                .wait(deadline.min(Instant::now() + MOMENT))
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
                Wait::Gone(None) if tid != pid.leader() && !self.has_collected(tid) => {
                    self.follow_execution(pid);
                    return Ok(());
                }
                Wait::Gone(status) => {
                    if tid == pid.leader() {
                        tree.note_end(pid, status);
                    }
                    return Ok(());
                }
                // A thread that was not seized yet has executed a program and has this number now.
                Wait::TimedOut if !is_ours(pid, tid) => return Ok(()),
                Wait::TimedOut if Instant::now() >= deadline => return Err(does_not_stop(pid, tid)),
                Wait::TimedOut if Instant::now() >= soon && vfork::waits(pid, tid) => {
                    return Err(vfork::refused(pid, tid));
                }
                Wait::TimedOut => self.collect_dead(),
            }
        }
    }

    /// Collects threads that were killed since they were seized. A thread that executes a program has killed them and
    /// waits in execve(2) until they are collected, deaf to our request to stop.
    fn collect_dead(&mut self) {
        self.pending
            .retain(|(pid, tid)| *tid == pid.leader() || !has_died(*pid, *tid));
        for process in &mut self.processes {
            let leader = process.pid.leader();
            process.threads.retain(|thread| {
                let tid = thread.stopped.tid();
                tid == leader || !matches!(Running::born(tid).wait(Instant::now()), Ok(Wait::Gone(_)))
            });
        }
        self.processes.retain(|process| !process.threads.is_empty());
    }

    /// A thread that vanishes without a status has executed a program: it is the main thread by now, in the place
    /// of the one that had stopped, and has stopped or will stop as it was asked to.
    fn follow_execution(&mut self, pid: Pid) {
        self.collect_dead();
        let leader = (pid, pid.leader());
        let has_stopped =
            |thread: &FrozenThread| thread.stopped.tid() == leader.1 && thread.stopped.registers().is_ok();
        let mut threads = self.processes.iter().filter(|process| process.pid == pid);
        let stands_still = threads.any(|process| process.threads.iter().any(has_stopped));
        if stands_still || !is_ours(pid, leader.1) {
            return;
        }
        for process in self.processes.iter_mut().filter(|process| process.pid == pid) {
            process.threads.retain(|thread| thread.stopped.tid() != leader.1);
        }
        self.processes.retain(|process| !process.threads.is_empty());
        if !self.pending.contains(&leader) {
            let _ = Running::born(leader.1).interrupt();
            self.pending.push(leader);
        }
    }

    fn has_collected(&self, tid: Tid) -> bool {
        self.collector
            .as_ref()
            .is_some_and(|collector| collector.has_collected(tid))
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
                let status = collect_killed(tid);
                if tid == process.pid.leader() {
                    tree.note_end(process.pid, status);
                }
            }
        }
    }

    /// Lets go of processes that ended between two sweeps.
    fn forget_ended(&mut self, tree: &mut Tree) {
        for process in std::mem::take(&mut self.processes) {
            match proc::Stat::read(process.pid) {
                Ok(stat) if !stat.is_zombie() || stat.num_threads > 1 => self.processes.push(process),
                _ => release_process(process, &mut |pid, status| tree.note_end(pid, status)),
            }
        }
    }

    /// Lets every thread run again.
    pub fn release(mut self, tree: &mut Tree) {
        let stragglers = self.let_go(&mut |pid, status| tree.note_end(pid, status));
        tree.stragglers.extend(stragglers);
    }

    /// Gives the threads that have not stopped yet and so cannot be detached.
    fn let_go(&mut self, note_end: &mut dyn FnMut(Pid, Option<i32>)) -> Vec<(Pid, Tid)> {
        let pending = std::mem::take(&mut self.pending);
        let stragglers = pending
            .into_iter()
            .filter_map(|straggler| release_late(straggler, note_end))
            .collect();
        // Children first: until we let go of it, one that ends cannot be waited for by its parent.
        for process in std::mem::take(&mut self.processes).into_iter().rev() {
            release_process(process, note_end);
        }
        stragglers
    }

    /// Remembers the numbers of interrupted timed calls, see [`InterruptedBefore`]. False when a thread does not
    /// stand still after all.
    fn note_interrupted(&mut self, tree: &mut Tree, sleepers: &Sleepers) -> Result<bool> {
        let before = std::mem::take(&mut tree.interrupted);
        let threads = self
            .processes
            .iter_mut()
            .flat_map(|p| p.threads.iter_mut().map(|t| (p.pid, t)));
        for (pid, thread) in threads {
            let tid = thread.stopped.tid();
            let registers = match thread.stopped.registers() {
                Err(e) if e.raw_os_error() == Some(libc::ESRCH) => {
                    tree.interrupted.extend(before);
                    return Ok(false);
                }
                other => other.context(|| format!("cannot read registers of {tid}"))?,
            };
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
        Ok(true)
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        self.let_go(&mut |_, _| {});
    }
}

/// Whether the thread is the kernel's own (io_uring). It could be stopped, and would run none of our calls; what it does
/// is waited for (`resource/uring.rs`).
fn is_worker(pid: Pid, tid: Tid) -> bool {
    tid != pid.leader() && proc::Stat::read((pid, tid)).is_ok_and(|stat| stat.is_worker())
}

/// Threads of a process; none when it is gone.
fn tasks_of(pid: Pid) -> Result<Vec<Tid>> {
    match proc::tasks(pid) {
        Err(e) if e.is_gone() => Ok(Vec::new()),
        other => other.context_proc(),
    }
}

pub(super) fn cannot_seize(pid: Pid, tid: Tid, source: std::io::Error) -> Error {
    let tracer = proc::Status::read((pid, tid)).map_or(0, |status| status.tracer);
    if tracer != 0 {
        return Error::Traced { pid: pid.0, tracer };
    }
    if let Err(refused) = process::refuse_unreadable(Pid(tid.0)) {
        return refused;
    }
    Error::Os {
        operation: format!("cannot stop thread {tid} of process {pid}"),
        source,
    }
}

fn never_stands_still(main: i32) -> Error {
    Error::Refused {
        what: "its processes start programs faster than they can be stopped".to_owned(),
        pid: main,
        place: "no descriptor".to_owned(),
        remedy: "the next checkpoint tries again".to_owned(),
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
