//! Rebuild: the processes come into being again, under ptrace, and nothing of theirs runs yet.

use super::family::Family;
use super::plan::Plan;
use super::stub::{Stub, own_foothold};
use crate::Result;
use crate::checkpoint::Progress;
use crate::checkpoint::release::collect_end;
use crate::error::{Context, Error};
use crate::init::Init;
use crate::resource::file::{Held, folder};
use crate::resource::object::{Made, RebuiltObjects};
use crate::resource::pidfd;
use crate::resource::socket::Workshop;
use crate::resource::table::{Notifiers, Table};
use crate::resource::terminal::Terminals;
use crate::resource::terminal::outside::{self, Redraw};
use crate::resource::{credentials, inotify, limit, memory, process, signal, thread, timer, uring};
use crate::tree::{Ended, InterruptedBefore, Main};
use rethaw_image::ImageReader;
use rethaw_image::record::ProcessV1;
use rethaw_sys::proc::{Pid, Tid};
use rethaw_sys::ptrace::{Running, Stopped, Trace, Wait};
use rethaw_sys::remote::Remote;
use rethaw_sys::task;
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// The rebuilt processes, standing still. If it is dropped, the kernel kills them with us or we kill the init.
#[derive(Debug)]
pub(crate) struct Rebuilt {
    stubs: Vec<Stub>,
    /// Killed (and with it everything in its namespace) unless the computation was resumed.
    init: Pid,
    /// The init (and its keeper, if it has one), traced until everything else runs: while it is, it dies with us, and
    /// everything with it. Letting go of it is what commits the restart.
    parents: Vec<Stopped>,
    resumed: bool,
    notifiers: Notifiers,
    /// Files that the program has.
    held: Held,
    /// What was made on disk, which goes again unless the computation was resumed.
    made: Option<Made>,
    /// Threads that go on with a timed call.
    pub asleep: HashMap<Tid, InterruptedBefore>,
}

impl Rebuilt {
    /// Rebuilds every process of the plan.
    pub fn build(
        plan: &Plan,
        reader: &ImageReader,
        init: &Init,
        held: Held,
        progress: Progress<'_>,
        warnings: &mut Vec<String>,
    ) -> Result<Rebuilt> {
        let mut rebuilt = Rebuilt {
            stubs: Vec::new(),
            init: init.pid(),
            parents: Vec::new(),
            resumed: false,
            notifiers: Vec::new(),
            held: Held::default(),
            made: None,
            asleep: HashMap::new(),
        };
        let objects = RebuiltObjects::build(plan, reader, init, held, warnings)?;
        let mut parent = stop_init(init.parent())?;
        if init.keeper().is_some() {
            rebuilt.parents.push(stop_init(init.pid())?);
        }
        let mut terminals = build_terminals(plan, &mut parent)?;
        let mut segments = plan.sysv.segments();
        rebuilt.stubs = Family::new(plan, &mut parent)?.make(|stub, record, parent| {
            segments.make(stub, record, &plan.processes, reader, warnings)?;
            let sources = memory::Sources {
                plan,
                process: record,
                objects: &objects,
                parent: parent.and_then(|parent| parent.memory.as_ref()),
            };
            rebuild_memory(stub, record, reader, &sources, progress, warnings)
        })?;
        terminals.open_controlling(plan, &mut rebuilt.stubs)?;
        plan.sysv.rebuild(&mut rebuilt.stubs, &plan.processes, warnings)?;
        let pidfds = pidfd::Rebuilt::build(plan, &mut rebuilt.stubs)?;
        let workshop = Workshop::new(plan, init, &mut parent, &mut rebuilt.stubs)?;
        let mut table = Table::new(plan, init, terminals, pidfds, workshop, &objects, warnings)?;
        rebuilt.parents.push(parent);
        for (stub, record) in rebuilt.stubs.iter_mut().zip(&plan.processes) {
            folder::enter_nameless(stub, record, &objects)?;
            table.rebuild(stub, record, &objects, warnings)?;
        }
        objects.seal()?;
        let (made, held) = objects.into_made();
        (rebuilt.made, rebuilt.held) = (Some(made), held);
        for (stub, record) in rebuilt.stubs.iter_mut().zip(&plan.processes) {
            rebuild_process(stub, record, plan, warnings)?;
        }
        uring::rebuild(plan, &mut rebuilt.stubs)?;
        table.connect(&mut rebuilt.stubs, warnings)?;
        plan.sysv.finish(&mut rebuilt.stubs, &plan.processes)?;
        rebuilt.notifiers = table.watch(&rebuilt.stubs)?;
        // Children first: when one stops again, its parent is told, and must not be any more once it is finished.
        for (stub, record) in rebuilt.stubs.iter_mut().zip(&plan.processes).rev() {
            rebuilt
                .asleep
                .extend(finish_process(stub, record, plan, warnings)?);
            if record.stopped_by != 0 {
                stub.stop_by(record.stopped_by)?;
            }
        }
        Ok(rebuilt)
    }

    /// The main process.
    pub fn main(&self, plan: &Plan) -> Result<Main> {
        let inside = plan.computation.main_pid;
        if let Some(status) = plan.computation.main_status {
            let ended = Ended::from_status(status);
            return Ok(Main::Ended { inside, ended });
        }
        let main = self
            .stubs
            .iter()
            .zip(&plan.processes)
            .find(|(_, r)| r.pid == inside);
        main.map(|(stub, _)| Main::Lives(stub.pid))
            .ok_or_else(|| super::plan::damaged("no main process"))
    }

    /// Files that the program has.
    pub fn held(&self) -> &Held {
        &self.held
    }

    /// Gives the launcher's terminal to the program.
    pub fn hand_over_terminal(&self, plan: &Plan) -> Option<Redraw> {
        outside::hand_over(plan, &self.stubs)
    }

    /// Lets everything run, the init last: if we are killed before, everything dies with it.
    pub fn resume(mut self) -> Result<()> {
        for (fd, instance) in &self.notifiers {
            inotify::settle(fd, instance)?;
        }
        // Children first: until we let go of it, one that ends cannot be waited for by its parent.
        for stub in self.stubs.drain(..).rev() {
            // The leader last, see `release_process`. One that runs already may have killed another.
            for thread in stub.threads.into_iter().rev() {
                let tid = thread.tid();
                if thread.detach().is_err() {
                    collect_end(stub.pid, tid);
                }
            }
        }
        for parent in self.parents.drain(..).rev() {
            parent.detach().context(|| "the init has ended".to_owned())?;
        }
        self.resumed = true;
        self.made.take().into_iter().for_each(Made::keep);
        Ok(())
    }
}

impl Drop for Rebuilt {
    fn drop(&mut self) {
        if !self.resumed {
            let _ = task::kill(self.init, libc::SIGKILL);
        }
    }
}

/// Stops the init, which waits for a message. It dies with us, and everything in its namespaces with it, until
/// the computation is rebuilt.
fn stop_init(pid: Pid) -> Result<Stopped> {
    let name = || "cannot stop the init".to_owned();
    let running = Running::seize(pid.leader(), Trace::ChildrenKillOnExit).context(name)?;
    running.interrupt().context(name)?;
    match running
        .wait(Instant::now() + Duration::from_secs(10))
        .context(name)?
    {
        Wait::Stopped(_) => Ok(running.into_stopped()),
        _ => Err(Error::Ended),
    }
}

/// Before the processes: whoever leads a session gets its controlling terminal before it has children.
fn build_terminals(plan: &Plan, init: &mut Stopped) -> Result<Terminals> {
    let pid = Pid(init.tid().0);
    let name = || "cannot use the init".to_owned();
    let foothold = own_foothold(pid, plan.foothold).context(name)?;
    let mut remote = Remote::begin_disposable(init, &foothold).context(name)?;
    let terminals = Terminals::build(plan, pid, &mut remote)?;
    remote.end().context(name)?;
    Ok(terminals)
}

fn rebuild_memory(
    stub: &mut Stub,
    record: &ProcessV1,
    reader: &ImageReader,
    sources: &memory::Sources<'_>,
    progress: Progress<'_>,
    warnings: &mut Vec<String>,
) -> Result<()> {
    let Some(address_space) = &record.memory else {
        return Err(Error::Ended);
    };
    signal::reset(&mut stub.remote()?)?;
    memory::rebuild(stub, address_space, reader, sources, progress, warnings)
}

/// Threads and everything that needs no other process.
fn rebuild_process(
    stub: &mut Stub,
    record: &ProcessV1,
    plan: &Plan,
    warnings: &mut Vec<String>,
) -> Result<()> {
    if let Some(saved) = record
        .threads
        .first()
        .and_then(|leader| leader.credentials.as_ref())
    {
        credentials::drop_bounding(&mut stub.remote()?, saved)
            .context(|| format!("cannot limit the capabilities of process {}", record.pid))?;
    }
    for thread in record.threads.iter().skip(1) {
        stub.clone_thread(thread)?;
    }
    let pid = stub.pid;
    process::rebuild(pid, record, &plan.places, &mut stub.remote()?, warnings)?;
    for (index, thread) in record.threads.iter().enumerate() {
        let tid = stub.threads[index].tid();
        let mut remote = stub.remote_in(index)?;
        process::enter_folders(thread.folders.as_ref(), thread.umask, &plan.places, &mut remote)?;
        thread::rebuild(&mut remote, tid, thread, warnings)?;
    }
    signal::rebuild(&mut stub.remote()?, record)?;
    timer::rebuild_posix(&mut stub.remote()?, &record.posix_timers)
}

/// What the kernel has told a parent of children that ended or stopped only because they were made again.
fn forget_children(stub: &mut Stub, record: &ProcessV1, plan: &Plan) -> std::io::Result<()> {
    let mut remote = stub.remote().map_err(std::io::Error::other)?;
    signal::drop_child_signals(&mut remote)?;
    let children = plan.processes.iter().filter(|child| child.ppid == record.pid);
    for child in children.filter(|child| child.stop_was_waited_for) {
        process::hear_of_stop(&mut remote, child.pid)?;
    }
    Ok(())
}

/// The last steps: limits, credentials, timers; then the registers.
fn finish_process(
    stub: &mut Stub,
    record: &ProcessV1,
    plan: &Plan,
    warnings: &mut Vec<String>,
) -> Result<HashMap<Tid, InterruptedBefore>> {
    let name = || format!("cannot finish process {}", record.pid);
    limit::rebuild(stub.pid, &record.limits, warnings);
    for (index, thread) in record.threads.iter().enumerate() {
        if let Some(saved) = &thread.credentials {
            credentials::rebuild(&mut stub.remote_in(index)?, saved, thread.no_new_privs).context(name)?;
        }
    }
    if let Some(address_space) = &record.memory {
        memory::lock::rebuild(address_space, &mut stub.remote()?, warnings)?;
        memory::seal::rebuild(address_space, &mut stub.remote()?, warnings)?;
    }
    process::rebuild_last(record, &mut stub.remote()?)?;
    forget_children(stub, record, plan).context(name)?;
    for (index, thread) in record.threads.iter().enumerate() {
        signal::queue_thread_signals(&mut stub.remote_in(index)?, record, thread).context(name)?;
    }
    signal::queue_process_signals(&mut stub.remote()?, record).context(name)?;
    timer::arm(&mut stub.remote()?, record).context(name)?;
    let mut asleep = Vec::new();
    for (index, thread) in record.threads.iter().enumerate() {
        thread::load_extended_state(&mut stub.remote_in(index)?, thread)?;
        asleep.push(thread::sleep_again(&mut stub.remote_in(index)?, thread)?);
    }
    stub.leave()?;
    let mut interrupted = HashMap::new();
    for ((stopped, thread), registers) in stub.threads.iter_mut().zip(&record.threads).zip(asleep) {
        interrupted
            .extend(registers.and_then(|r| Some((stopped.tid(), thread::interrupted_before(&r, thread)?))));
        thread::hand_over(stopped, thread, registers)?;
    }
    Ok(interrupted)
}
