//! Collect: the state of a frozen computation, as records and a list of pages.

use super::freeze::{Frozen, FrozenProcess};
use super::kinship;
use super::refusals::Refusals;
use super::snapshot::{self, Copy};
use super::{Options, changes};
use crate::error::{Context, Error};
use crate::others::Others;
use crate::resource::descriptor::{Descriptions, Surroundings};
use crate::resource::file::{Names, folder};
use crate::resource::memory::PageRange;
use crate::resource::namespaces::Usual;
use crate::resource::numbers::Numbers;
use crate::resource::object::{Object, Objects};
use crate::resource::socket::Farewell;
use crate::resource::sysv::SystemV;
use crate::resource::thread::{ContextProc, GoingOn};
use crate::resource::uring::Issuers;
use crate::resource::{file, memory, process, sharing, thread};
use crate::tree::{Ended, Tree};
use crate::{Result, foothold};
use rethaw_image::record::{
    ClocksV1, ComputationV1, DescriptionKind, DescriptionV1, PipeV1, ProcessV1, TakenV1, TerminalV1,
};
use rethaw_sys::namespace;
use rethaw_sys::proc::{self, Maps, Pid, Tid};
use rethaw_sys::remote::{Foothold, Remote};
use rethaw_sys::task;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::Path;

/// Everything of a frozen computation.
#[derive(Debug)]
pub(crate) struct Collected {
    pub computation: ComputationV1,
    pub processes: Vec<ProcessV1>,
    /// Processes that have ended and were not waited for.
    pub ended: Vec<ProcessV1>,
    pub descriptions: Vec<DescriptionV1>,
    pub pipes: Vec<PipeV1>,
    pub terminals: Vec<TerminalV1>,
    pub objects: Vec<Object>,
    pub sysv: SystemV,
    /// Pages by the process that has them.
    pub pages: Vec<(Pid, Vec<PageRange>)>,
    /// Copy-on-write children by the process that they are of; empty when none were made.
    pub copies: BTreeMap<Pid, Copy>,
    /// Files that the program writes: they are made durable together with the image.
    pub written_files: Vec<File>,
    /// TCP sockets; taken and said right after.
    pub farewell: Farewell,
    /// What will not come back quite as it is.
    pub changes: Vec<String>,
}

/// Collects all processes; makes a copy of each when `copy` is set. Where refusals are gathered, what is refused is
/// missing in what is collected.
pub(crate) fn collect(
    tree: &Tree,
    frozen: &mut Frozen,
    options: &Options,
    copy: bool,
    refusals: &Refusals,
    others: Option<&mut dyn Others>,
) -> Result<Collected> {
    let (mut processes, mut descriptions, mut objects) = look_at_all(tree, frozen, options, refusals)?;
    let mut ended = kinship::relate(tree, frozen, &mut processes)?;
    sharing::collect(&members(frozen), &mut processes, refusals)?;
    descriptions
        .iter()
        .for_each(|seen| objects.names.know(seen.path()));
    // What is most often refused comes before anything is done inside the processes.
    let numbers = Numbers::of(frozen)?;
    let around = Surroundings {
        known: &options.launcher,
        external: options.external,
        refusals,
    };
    let (mut records, pipes) = descriptions.collect(&mut objects, &numbers, &around, others)?;
    let terminals = descriptions.terminals(&numbers, &mut records, refusals)?;
    let mut sysv = SystemV::look(&frozen.processes, &processes, refusals)?;
    let mut issuers = Issuers::new(&speakers(frozen), &processes, &records);
    let shared = Shared {
        descriptions: &descriptions,
        objects: &mut objects,
        sysv: &mut sysv,
        ended: &mut ended,
        issuers: &mut issuers,
        refusals,
    };
    let Entered { pages, copies } = enter(frozen, &mut processes, shared, copy)?;
    // Who adopts orphans or uses a ring is known only of processes that were asked.
    let all_asked = processes.iter().all(|process| process.memory.is_some());
    if all_asked {
        refusals.pass(kinship::refuse_unbuildable(processes.iter().chain(&ended)))?;
    }
    if all_asked && !descriptions.lacks_ring(&records) {
        refusals.pass(issuers.finish(&processes, &mut records, descriptions.all()))?;
    }
    let neighbours = objects.names.neighbours();
    let objects = objects.into_vec();
    let changes = changes::of_descriptions(descriptions.iter(), &records)
        .chain(changes::of_processes(&frozen.processes, &processes))
        .chain(changes::of_objects(&objects))
        .collect();
    Ok(Collected {
        computation: ComputationV1 {
            terminal: descriptions.outside_terminal(frozen, &processes, &records)?,
            neighbours,
            ..computation(tree, options, &processes)?
        },
        processes,
        ended,
        written_files: descriptions.written_files(&records)?,
        farewell: Farewell::of(descriptions.iter(), &records),
        descriptions: records,
        pipes,
        terminals,
        objects,
        changes,
        sysv,
        pages,
        copies,
    })
}

fn speakers(frozen: &Frozen) -> Vec<Pid> {
    frozen.processes.iter().map(FrozenProcess::speaker).collect()
}

/// The processes, each with all its threads.
fn members(frozen: &Frozen) -> Vec<(Pid, Vec<Tid>)> {
    let threads = |process: &FrozenProcess| process.threads.iter().map(|t| t.stopped.tid()).collect();
    let each = frozen.processes.iter();
    each.map(|process| (process.speaker(), threads(process)))
        .collect()
}

/// What came of what was done inside of the processes.
struct Entered {
    pages: Vec<(Pid, Vec<PageRange>)>,
    copies: BTreeMap<Pid, Copy>,
}

/// Collects of each process what only itself is told.
fn enter(
    frozen: &mut Frozen,
    processes: &mut [ProcessV1],
    mut shared: Shared<'_>,
    copy: bool,
) -> Result<Entered> {
    let mut entered = Entered {
        pages: Vec::new(),
        copies: BTreeMap::new(),
    };
    // A copy would become the child of a process that adopts orphans itself, and be seen by it: no more then, and in the
    // end none. Parents come before children.
    let mut adopts = false;
    for (stream, (frozen, record)) in (0..).zip(frozen.processes.iter_mut().zip(processes)) {
        let (ranges, made) = collect_process(frozen, stream, record, &mut shared, copy && !adopts)?;
        entered.copies.extend(made.map(|made| (frozen.speaker(), made)));
        entered.pages.push((frozen.speaker(), ranges));
        adopts |= record.child_subreaper;
    }
    if adopts {
        entered.copies.clear();
    }
    Ok(entered)
}

/// What can be seen of all processes from outside.
fn look_at_all(
    tree: &Tree,
    frozen: &Frozen,
    options: &Options,
    refusals: &Refusals,
) -> Result<(Vec<ProcessV1>, Descriptions, Objects)> {
    let pids: BTreeSet<Pid> = frozen.processes.iter().map(|process| process.pid).collect();
    let mut objects = Objects::new(Names::new(pids.iter().copied(), options.save_open_files));
    let mut descriptions = Descriptions::default();
    let usual = Usual::of(tree);
    let each = frozen.processes.iter();
    let processes = each
        .map(|process| {
            look_at(
                process,
                (&usual, &pids),
                &mut descriptions,
                &mut objects,
                refusals,
            )
        })
        .collect::<Result<Vec<_>>>()?;
    Ok((processes, descriptions, objects))
}

/// What can be seen of a process from outside.
fn look_at(
    process: &FrozenProcess,
    (usual, members): (&Usual, &BTreeSet<Pid>),
    descriptions: &mut Descriptions,
    objects: &mut Objects,
    refusals: &Refusals,
) -> Result<ProcessV1> {
    let speaker = process.speaker();
    process::refuse_unreadable(speaker)?;
    refusals.pass(usual.refuse_others(speaker))?;
    let mut record = process::collect_outside(process.pid, speaker)?;
    record.descriptors = descriptions.add_process(speaker)?;
    record.stopped_by = process.stopped_by;
    refusals.pass(folder::collect_current(speaker, &mut record, objects, members))?;
    Ok(record)
}

/// What belongs to several processes.
struct Shared<'a> {
    descriptions: &'a Descriptions,
    objects: &'a mut Objects,
    sysv: &'a mut SystemV,
    ended: &'a mut [ProcessV1],
    issuers: &'a mut Issuers,
    refusals: &'a Refusals,
}

/// Memory, threads, and what only the process itself is told.
fn collect_process(
    frozen: &mut FrozenProcess,
    stream: u32,
    record: &mut ProcessV1,
    shared: &mut Shared<'_>,
    copy: bool,
) -> Result<(Vec<PageRange>, Option<Copy>)> {
    let pid = frozen.speaker();
    let refusals = shared.refusals;
    let refused_before = refusals.count();
    refusals.pass(refuse_what_cannot_be_asked(pid))?;
    let maps = Maps::read(pid).context_proc()?;
    let mut going_on = Vec::new();
    for thread in &mut frozen.threads {
        going_on.extend(refusals.pass(thread::settle(pid, thread))?);
    }
    let (mut address_space, ranges) = memory::collect(pid, stream, &maps, shared.objects, refusals)?;
    if refusals.count() > refused_before {
        // It is not entered: it may stand its ground (seccomp), or wait for itself (userfaultfd).
        return Ok((ranges, None));
    }
    let stack_pointers: Vec<u64> = going_on.iter().map(|thread| thread.registers.sp()).collect();
    let Some(foothold) = refusals.pass(foothold::borrow(pid, &maps, &stack_pointers))? else {
        return Ok((ranges, None));
    };
    if let Some(leader) = frozen.threads.first() {
        record.pending = leader
            .stopped
            .pending(true)
            .context(|| format!("cannot read signals of process {pid}"))?;
    }
    let issuers = &mut *shared.issuers;
    let ask = |record: &mut ProcessV1, remote: &mut Remote<'_>| {
        process::collect_inside(pid, record, remote)?;
        shared
            .descriptions
            .collect_inside(pid, &mut record.descriptors, remote)?;
        kinship::ask_how_ended(remote, record.pid, shared.ended)
            .context(|| format!("cannot ask for the ended children of process {pid}"))?;
        memory::collect_inside(pid, &mut address_space, remote)?;
        shared.objects.find_present(pid, remote)?;
        let mappings = &address_space.mappings;
        shared
            .sysv
            .collect(pid, record, mappings, remote, &foothold, refusals)?;
        let wanted = copy && !record.child_subreaper;
        wanted
            .then(|| snapshot::copy_process(pid, remote, &foothold))
            .transpose()
    };
    let issue = |tid, remote: &mut Remote<'_>| refusals.pass(issuers.ask(pid, tid, remote)).map(drop);
    let collected = collect_threads(frozen, &going_on, &foothold, record, issue, ask);
    // Whatever came of it: the program gets back what was borrowed.
    let back = foothold
        .give_back()
        .context(|| format!("cannot put back what was borrowed from process {pid}"));
    let made = collected?;
    back?;
    if pid != frozen.pid {
        match thread::ended_leader(record, &address_space) {
            Some(leader) => record.threads.insert(0, leader),
            None => refusals.note(main_thread_ended(frozen.pid))?,
        }
    }
    record.memory = Some(address_space);
    Ok((ranges, made))
}

/// All threads, each of which `issue` asks; in the leader, `ask` asks for what only the process itself is told, and makes the copy.
fn collect_threads(
    frozen: &mut FrozenProcess,
    going_on: &[GoingOn],
    foothold: &Foothold,
    record: &mut ProcessV1,
    mut issue: impl FnMut(Tid, &mut Remote<'_>) -> Result<()>,
    ask: impl FnOnce(&mut ProcessV1, &mut Remote<'_>) -> Result<Option<Copy>>,
) -> Result<Option<Copy>> {
    let pid = frozen.speaker();
    let mut ask = Some(ask);
    let mut made = None;
    for (thread, going_on) in frozen.threads.iter_mut().zip(going_on) {
        let tid = thread.stopped.tid();
        let collected = thread::collect(pid, thread, going_on, foothold, |remote| {
            issue(tid, remote)?;
            if let Some(ask) = ask.take() {
                made = ask(record, remote)?;
            }
            Ok(())
        })?;
        record.threads.push(collected);
    }
    Ok(made)
}

fn main_thread_ended(pid: Pid) -> Error {
    Error::Refused {
        what: "a process whose main thread has ended while others run, and that has unmapped its vdso"
            .to_owned(),
        pid: pid.0,
        place: "main thread".to_owned(),
        remedy: "let the main thread wait for the others instead".to_owned(),
    }
}

fn refuse_what_cannot_be_asked(pid: Pid) -> Result<()> {
    const STRICT_OR_FILTER: u32 = 1;
    let refused = |what: &str, place: &str, remedy: &str| {
        Err(Error::Refused {
            what: what.to_owned(),
            pid: pid.0,
            place: place.to_owned(),
            remedy: remedy.to_owned(),
        })
    };
    if proc::Status::read(pid).context_proc()?.seccomp >= STRICT_OR_FILTER {
        let what = "the process has seccomp in force, whose filters an ordinary user cannot read back";
        return refused(what, "seccomp", "run the program without its sandbox");
    }
    if proc::root(pid).context_proc()? != Path::new("/") {
        return refused(
            "the process has a root folder of its own (chroot)",
            "root folder",
            "run it without chroot",
        );
    }
    Ok(())
}

fn computation(tree: &Tree, options: &Options, processes: &[ProcessV1]) -> Result<ComputationV1> {
    let any = Pid(tree.main());
    let status = proc::Status::read(any).context_proc()?;
    let cpu = proc::cpuinfo().context_proc()?;
    let first = processes.first().and_then(|p| p.threads.first());
    let state = rethaw_sys::arch::ExtendedState(first.map(|t| t.xstate.clone()).unwrap_or_default());
    let mut cpu_flags = cpu.flags;
    cpu_flags.sort();
    Ok(ComputationV1 {
        id: options.identity.computation.clone(),
        command: options.command.clone(),
        start_folder: options.start_folder.clone(),
        main_pid: tree.main_inside(),
        parent_pid: tree.parent_number(),
        main_status: tree.ended().map(Ended::status),
        terminal: None,
        neighbours: Vec::new(),
        taken: Some(TakenV1 {
            host: proc::hostname().context_proc()?,
            boot_id: proc::boot_id().context_proc()?,
            kernel: rustix::system::uname().release().to_string_lossy().into_owned(),
            unix_seconds: task::clock_ns(libc::CLOCK_REALTIME) / 1_000_000_000,
            rethaw: env!("CARGO_PKG_VERSION").to_owned(),
            cpu_model: cpu.model,
            slurm_job: std::env::var("SLURM_JOB_ID").unwrap_or_default(),
            addresses: options.addresses.clone(),
        }),
        clocks: Some(clocks(any)),
        uid: status.uid.effective,
        gid: status.gid.effective,
        xfeatures: state.enabled_features(),
        cpu_flags,
        xstate_size: state.0.len() as u32,
        isolated: tree.isolated(),
        pause_ns: 0,
    })
}

/// The clocks as the program sees them: ours, less our own time namespace's offset, plus its.
fn clocks(main: Pid) -> ClocksV1 {
    let ours = namespace::clock_offsets(Pid::own()).unwrap_or_default();
    let theirs = namespace::clock_offsets(main).unwrap_or_default();
    ClocksV1 {
        realtime_ns: task::clock_ns(libc::CLOCK_REALTIME),
        monotonic_ns: task::clock_ns(libc::CLOCK_MONOTONIC) - ours.monotonic_ns + theirs.monotonic_ns,
        boottime_ns: task::clock_ns(libc::CLOCK_BOOTTIME) - ours.boottime_ns + theirs.boottime_ns,
    }
}

impl Descriptions {
    /// Regular files that the program can write to, to be made durable with the image.
    fn written_files(&self, records: &[DescriptionV1]) -> Result<Vec<File>> {
        let mut files = Vec::new();
        for (seen, record) in self.iter().zip(records) {
            let regular = matches!(record.kind, Some(DescriptionKind::Regular(_)));
            if !regular || record.flags & libc::O_ACCMODE as u32 == libc::O_RDONLY as u32 {
                continue;
            }
            match file::opened_for_sync(seen, record) {
                Some(file) => files.push(file),
                None => file::sync(&seen.duplicate)?,
            }
        }
        Ok(files)
    }
}
