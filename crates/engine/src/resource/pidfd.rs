//! Process descriptors (pidfd_open(2)).

use super::descriptor::Seen;
use crate::Result;
use crate::error::{Context, Error};
use crate::restart::{Plan, Stub};
use rethaw_image::record::{DescriptionKind, DescriptionV1, EndedProcessV1, ProcessV1};
use rethaw_sys::proc::{self, Pid};
use rethaw_sys::task;
use rustix::fs::fstat;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::{AsFd, OwnedFd};

/// A descriptor of one thread (PIDFD_THREAD, Linux 6.9): shown as this flag.
const THREAD: u32 = libc::O_EXCL as u32;

/// Of a process of the computation, or of one that has ended and was waited for. Descriptors of one ended process
/// have one inode (Linux 6.9).
pub(crate) fn collect(seen: &Seen, members: &BTreeSet<Pid>) -> Result<DescriptionKind> {
    let Some(found) = &seen.info.pidfd else {
        return Err(seen.refused("a pidfd that the kernel does not describe"));
    };
    if found.pid == -1 {
        let stat = fstat(&seen.duplicate).context(|| format!("cannot look at {}", seen.name()))?;
        return Ok(DescriptionKind::EndedProcess(EndedProcessV1 {
            number: stat.st_ino,
            status: task::exit_status(seen.duplicate.as_fd()),
        }));
    }
    let pid = Pid(found.pid);
    let waits = |stat: proc::Stat| stat.is_zombie() && members.contains(&stat.ppid);
    if members.contains(&pid) || proc::Stat::read(pid).is_ok_and(waits) {
        Ok(DescriptionKind::PidFd(
            found.ns_pids.last().copied().unwrap_or(pid.0),
        ))
    } else if seen.info.flags & THREAD != 0 {
        Err(seen.refused("a pidfd of a single thread"))
    } else {
        Err(seen.refused("a pidfd of a process outside of the computation"))
    }
}

/// What pidfds are made of.
#[derive(Debug)]
pub(crate) struct Rebuilt {
    /// Those of ended processes, by the numbers of their descriptions.
    pub ended: BTreeMap<u32, OwnedFd>,
    /// The rebuilt processes by the numbers that they see themselves: as they are seen from here.
    pub pids: BTreeMap<i32, Pid>,
}

impl Rebuilt {
    /// Makes what is of ended processes.
    pub fn build(plan: &Plan, stubs: &mut [Stub]) -> Result<Rebuilt> {
        Ok(Rebuilt {
            ended: rebuild_ended(plan, stubs)?,
            pids: numbers(&plan.processes, stubs),
        })
    }
}

/// The rebuilt processes by the numbers that they see themselves: as they are seen from here. With those that have
/// ended and that their parents have not waited for.
fn numbers(processes: &[ProcessV1], stubs: &[Stub]) -> BTreeMap<i32, Pid> {
    let pids = stubs.iter().map(|stub| stub.pid);
    let living = processes.iter().map(|record| record.pid).zip(pids.clone());
    let children = pids.flat_map(|pid| proc::children(pid).unwrap_or_default());
    let inside = |child: Pid| proc::Status::read(child).ok()?.ns_pids.last().copied();
    children
        .filter_map(|child| Some((inside(child)?, child)))
        .chain(living)
        .collect()
}

/// A descriptor of a process that was rebuilt, `pid` as seen from here.
pub(crate) fn rebuild(record: &DescriptionV1, pid: Pid) -> Result<OwnedFd> {
    open(record, pid).context(|| format!("cannot rebuild a pidfd of process {pid}"))
}

fn open(record: &DescriptionV1, pid: Pid) -> io::Result<OwnedFd> {
    match record.flags & THREAD {
        0 => task::pidfd_open(pid),
        _ => task::pidfd_open_thread(pid.leader()),
    }
}

/// All descriptors of ended processes, by the numbers of their descriptions. For each process, one is made in the
/// computation's namespace that ends in the same way.
fn rebuild_ended(plan: &Plan, stubs: &mut [Stub]) -> Result<BTreeMap<u32, OwnedFd>> {
    let mut by_process: BTreeMap<u64, (Option<i32>, Vec<&DescriptionV1>)> = BTreeMap::new();
    for record in plan.descriptions.values() {
        if let Some(DescriptionKind::EndedProcess(ended)) = &record.kind {
            let (status, of) = by_process.entry(ended.number).or_default();
            *status = ended.status;
            of.push(record);
        }
    }
    let mut made = BTreeMap::new();
    for (status, records) in by_process.into_values() {
        let maker = stubs.first_mut().ok_or(Error::Ended)?;
        made.extend(end_one(maker, plan, status.unwrap_or(0), &records)?);
    }
    Ok(made)
}

/// A child of `maker` that ends with this wait status, and pidfds of it from before it was waited for.
fn end_one(
    maker: &mut Stub,
    plan: &Plan,
    status: i32,
    records: &[&DescriptionV1],
) -> Result<Vec<(u32, OwnedFd)>> {
    let stand_in = ProcessV1 {
        pid: free_number(plan),
        zombie_status: Some(status),
        ..ProcessV1::default()
    };
    // Without an exit signal, it leaves its maker no sign of itself.
    let child = maker.clone_child(plan.foothold, stand_in.pid, Some(0), 0)?;
    let pidfds = records
        .iter()
        .map(|record| Ok((record.id, rebuild(record, child.pid)?)));
    let pidfds = pidfds.collect();
    child.end_as(&stand_in)?;
    maker.collect(stand_in.pid)?;
    pidfds
}

/// A number that no process, thread, group or session has.
fn free_number(plan: &Plan) -> i32 {
    /// The kernel, too, gives no smaller ones again (RESERVED_PIDS).
    const FIRST: i32 = 300;
    let used = plan.taken();
    (FIRST..).find(|number| !used.contains(number)).unwrap_or(FIRST)
}

/// The process of a pidfd that is not in the image.
pub(crate) fn missing(pid: i32) -> Error {
    crate::restart::damaged(&format!("a pidfd of process {pid}, which is missing"))
}
