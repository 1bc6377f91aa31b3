//! Collect: the state of a frozen computation, as records and a list of pages.

use super::Options;
use super::freeze::{Frozen, FrozenProcess};
use super::kinship;
use super::snapshot::{self, Copy};
use crate::error::{Context, Error};
use crate::resource::descriptor::Descriptions;
use crate::resource::file::{Names, folder};
use crate::resource::memory::PageRange;
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
use rethaw_sys::proc::{self, Maps, Pid};
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
    /// TCP sockets of a computation that is to end with this checkpoint.
    pub farewell: Farewell,
}

/// Collects all processes; makes a copy of each when `copy` is set.
pub(crate) fn collect(tree: &Tree, frozen: &mut Frozen, options: &Options, copy: bool) -> Result<Collected> {
    let pids: BTreeSet<Pid> = frozen.processes.iter().map(|process| process.pid).collect();
    let names = Names::new(pids.iter().copied(), options.save_open_files);
    let mut objects = Objects::new(names);
    let mut descriptions = Descriptions::default();
    let mut pages = Vec::new();
    let mut copies = BTreeMap::new();
    let each = frozen.processes.iter();
    let mut processes = each
        .map(|process| look_at(process, &pids, &mut descriptions, &mut objects))
        .collect::<Result<Vec<_>>>()?;
    let mut ended = kinship::relate(tree, frozen, &mut processes)?;
    let threads = |process: &FrozenProcess| process.threads.iter().map(|t| t.stopped.tid()).collect();
    let members: Vec<_> = frozen
        .processes
        .iter()
        .map(|process| (process.speaker(), threads(process)))
        .collect();
    sharing::collect(&members, &mut processes)?;
    descriptions
        .iter()
        .for_each(|seen| objects.names.know(seen.path()));
    // What is most often refused comes before anything is done inside the processes.
    let numbers = Numbers::of(frozen)?;
    let (mut records, pipes) =
        descriptions.collect(&mut objects, &numbers, &options.launcher, options.external)?;
    let terminals = descriptions.terminals(&numbers, &mut records)?;
    let mut sysv = SystemV::look(&frozen.processes, &processes)?;
    let speakers: Vec<Pid> = frozen.processes.iter().map(FrozenProcess::speaker).collect();
    let mut issuers = Issuers::new(&speakers, &processes, &records);
    // A copy would become the child of a process that adopts orphans itself, and be seen by it: no more then, and in the
    // end none. Parents come before children.
    let mut adopts = false;
    for (stream, (frozen, record)) in (0..).zip(frozen.processes.iter_mut().zip(&mut processes)) {
        let shared = Shared {
            descriptions: &descriptions,
            objects: &mut objects,
            sysv: &mut sysv,
            ended: &mut ended,
            issuers: &mut issuers,
        };
        let (ranges, made) = collect_process(frozen, stream, record, shared, copy && !adopts)?;
        copies.extend(made.map(|made| (frozen.speaker(), made)));
        pages.push((frozen.speaker(), ranges));
        adopts |= record.child_subreaper;
    }
    issuers.finish(&processes, &mut records, descriptions.all())?;
    kinship::refuse_unbuildable(processes.iter().chain(&ended))?;
    if adopts {
        copies.clear();
    }
    Ok(Collected {
        computation: ComputationV1 {
            terminal: descriptions.outside_terminal(frozen, &processes, &records)?,
            neighbours: objects.names.neighbours(),
            ..computation(tree, options, &processes)?
        },
        processes,
        ended,
        written_files: descriptions.written_files(&records)?,
        farewell: if options.stop {
            Farewell::of(descriptions.iter(), &records)
        } else {
            Farewell::default()
        },
        descriptions: records,
        pipes,
        terminals,
        objects: objects.into_vec(),
        sysv,
        pages,
        copies,
    })
}

/// What can be seen of a process from outside.
fn look_at(
    process: &FrozenProcess,
    members: &BTreeSet<Pid>,
    descriptions: &mut Descriptions,
    objects: &mut Objects,
) -> Result<ProcessV1> {
    let speaker = process.speaker();
    process::refuse_unreadable(speaker)?;
    let mut record = process::collect_outside(process.pid, speaker)?;
    record.descriptors = descriptions.add_process(speaker)?;
    record.stopped_by = process.stopped_by;
    folder::collect_current(speaker, &mut record, objects, members)?;
    Ok(record)
}

/// What belongs to several processes.
struct Shared<'a> {
    descriptions: &'a Descriptions,
    objects: &'a mut Objects,
    sysv: &'a mut SystemV,
    ended: &'a mut [ProcessV1],
    issuers: &'a mut Issuers,
}

/// Memory, threads, and what only the process itself is told.
fn collect_process(
    frozen: &mut FrozenProcess,
    stream: u32,
    record: &mut ProcessV1,
    shared: Shared<'_>,
    copy: bool,
) -> Result<(Vec<PageRange>, Option<Copy>)> {
    let pid = frozen.speaker();
    refuse_what_cannot_be_asked(pid)?;
    let maps = Maps::read(pid).context_proc()?;
    let going_on = frozen
        .threads
        .iter_mut()
        .map(|thread| thread::settle(pid, thread))
        .collect::<Result<Vec<_>>>()?;
    let (mut address_space, ranges) = memory::collect(pid, stream, &maps, shared.objects)?;
    let stack_pointers: Vec<u64> = going_on.iter().map(|thread| thread.registers.sp()).collect();
    let foothold = foothold::borrow(pid, &maps, &stack_pointers)?;
    if let Some(leader) = frozen.threads.first() {
        record.pending = leader
            .stopped
            .pending(true)
            .context(|| format!("cannot read signals of process {pid}"))?;
    }
    let issuers = shared.issuers;
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
        shared.sysv.collect(pid, record, mappings, remote, &foothold)?;
        let wanted = copy && !record.child_subreaper;
        wanted
            .then(|| snapshot::copy_process(pid, remote, &foothold))
            .transpose()
    };
    let collected = collect_threads(frozen, &going_on, &foothold, record, issuers, ask);
    // Whatever came of it: the program gets back what was borrowed.
    let back = foothold
        .give_back()
        .context(|| format!("cannot put back what was borrowed from process {pid}"));
    let made = collected?;
    back?;
    if pid != frozen.pid {
        let leader =
            thread::ended_leader(record, &address_space).ok_or_else(|| main_thread_ended(frozen.pid))?;
        record.threads.insert(0, leader);
    }
    record.memory = Some(address_space);
    Ok((ranges, made))
}

/// All threads; in the leader, `ask` asks for what only the process itself is told, and makes the copy.
fn collect_threads(
    frozen: &mut FrozenProcess,
    going_on: &[GoingOn],
    foothold: &Foothold,
    record: &mut ProcessV1,
    issuers: &mut Issuers,
    ask: impl FnOnce(&mut ProcessV1, &mut Remote<'_>) -> Result<Option<Copy>>,
) -> Result<Option<Copy>> {
    let pid = frozen.speaker();
    let mut ask = Some(ask);
    let mut made = None;
    for (thread, going_on) in frozen.threads.iter_mut().zip(going_on) {
        let tid = thread.stopped.tid();
        let collected = thread::collect(pid, thread, going_on, foothold, |remote| {
            issuers.ask(pid, tid, remote)?;
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
