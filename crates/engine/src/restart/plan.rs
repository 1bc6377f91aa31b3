//! The plan of a restart: data only, made from the image alone.

use super::{Notice, Options, Places, valid};
use crate::checkpoint::kin_of;
use crate::init::FOOTHOLD_SIZE;
use crate::lineage::{self, Kin, Step};
use crate::resource::object::Placement;
use crate::resource::{sysv, terminal, vdso};
use crate::{Error, Result};
use rethaw_image::record::{
    ComputationV1, DescriptionKind, DescriptionV1, EpollV1, PipeV1, ProcessV1, SharedObjectV1, TerminalV1,
};
use rethaw_image::{ImageReader, SectionKind};
use rethaw_sys::namespace::{self, ClockOffsets};
use rethaw_sys::proc::Pid;
use rethaw_sys::task;
use std::collections::{BTreeMap, BTreeSet};

/// What is to be rebuilt, in the order in which it is.
#[derive(Debug)]
pub(crate) struct Plan {
    pub computation: ComputationV1,
    /// Those that live, parents before children.
    pub processes: Vec<ProcessV1>,
    /// Those that have ended and wait to be collected.
    pub ended: Vec<ProcessV1>,
    /// How they all come into being.
    pub births: Vec<Step>,
    pub descriptions: BTreeMap<u32, DescriptionV1>,
    pub objects: BTreeMap<u32, SharedObjectV1>,
    pub pipes: BTreeMap<u32, PipeV1>,
    pub sysv: sysv::Records,
    /// By their numbers (/dev/pts).
    pub terminals: BTreeMap<u32, TerminalV1>,
    pub places: Places,
    /// Told what is waited for.
    pub notice: Option<Notice>,
    /// Where objects come from; decided by `check::objects`.
    pub placements: BTreeMap<u32, Placement>,
    /// An address range that no process uses.
    pub foothold: u64,
}

impl Plan {
    /// Reads the records of an image and brings them into order.
    pub fn read(reader: &ImageReader, options: &Options) -> Result<Plan> {
        let computation = reader.records::<ComputationV1>(SectionKind::Computation)?;
        let Some(computation) = computation.into_iter().next() else {
            return Err(damaged("no computation"));
        };
        let processes: Vec<ProcessV1> = reader.records(SectionKind::Process)?;
        let objects: Vec<SharedObjectV1> = reader.records(SectionKind::SharedObject)?;
        valid::check(&processes, &objects)?;
        let sysv = sysv::Records::read(reader, &processes)?;
        let processes = in_order(processes)?;
        let births = births(&processes, computation.parent_pid)?;
        let (ended, processes) = processes.into_iter().partition(has_ended);
        let processes: Vec<ProcessV1> = processes;
        let foothold = free_range(&processes).ok_or_else(|| damaged("no free address range"))?;
        let descriptions: Vec<DescriptionV1> = reader.records(SectionKind::Description)?;
        let pipes: Vec<PipeV1> = reader.records(SectionKind::Pipe)?;
        let descriptions = descriptions.into_iter().map(|d| (d.id, d)).collect();
        let terminals: Vec<TerminalV1> = reader.records(SectionKind::Terminal)?;
        let terminals = terminals.into_iter().map(|t| (t.number, t)).collect();
        terminal::check(&terminals, &descriptions, &processes)?;
        Ok(Plan {
            computation,
            processes,
            ended,
            births,
            descriptions,
            objects: objects.into_iter().map(|o| (o.object, o)).collect(),
            pipes: pipes.into_iter().map(|p| (p.pipe, p)).collect(),
            sysv,
            terminals,
            places: Places(options.map.clone()),
            notice: options.notice,
            placements: BTreeMap::new(),
            foothold,
        })
    }

    /// Epoll instances that are in flight and in no process, with the numbers of their descriptions.
    pub fn epolls_in_flight(&self) -> impl Iterator<Item = (u32, &EpollV1)> {
        let open = |id: u32| {
            let mut tables = self.processes.iter().flat_map(|process| &process.descriptors);
            tables.any(|descriptor| descriptor.description == id)
        };
        self.descriptions
            .values()
            .filter_map(move |record| match &record.kind {
                Some(DescriptionKind::Epoll(epoll)) if !open(record.id) => Some((record.id, epoll)),
                _ => None,
            })
    }

    /// Where an object comes from.
    pub fn placement(&self, object: u32) -> Placement {
        self.placements
            .get(&object)
            .copied()
            .unwrap_or(Placement::Nameless)
    }

    /// Numbers of processes, threads, groups, sessions and the keeper: what is made on the way must have others.
    pub fn taken(&self) -> BTreeSet<i32> {
        let processes = self.processes.iter().chain(&self.ended);
        let numbers = processes.flat_map(|process| {
            let threads = process.threads.iter().map(|thread| thread.tid);
            threads.chain([process.pid, process.pgid, process.sid])
        });
        numbers.chain([self.computation.parent_pid]).collect()
    }

    /// Offsets with which the clocks go on from what the program saw last, relative to the initial time
    /// namespace.
    pub fn clocks(&self) -> ClockOffsets {
        let saved = self.computation.clocks.unwrap_or_default();
        let ours = namespace::clock_offsets(Pid::own()).unwrap_or_default();
        ClockOffsets {
            monotonic_ns: saved
                .monotonic_ns
                .saturating_sub(task::clock_ns(libc::CLOCK_MONOTONIC) - ours.monotonic_ns),
            boottime_ns: saved
                .boottime_ns
                .saturating_sub(task::clock_ns(libc::CLOCK_BOOTTIME) - ours.boottime_ns),
        }
    }
}

fn has_ended(record: &ProcessV1) -> bool {
    record.zombie_status.is_some()
}

/// How all come into being.
fn births(processes: &[ProcessV1], keeper: i32) -> Result<Vec<Step>> {
    let family: Vec<Kin> = processes.iter().map(kin_of).collect();
    let threads = processes.iter().flat_map(|p| &p.threads).map(|t| t.tid);
    lineage::plan(&family, &threads.chain([keeper]).collect())
        .map_err(|why| damaged(&format!("process {} in {}", why.pid, why.what)))
}

/// Parents before children; refuses what is no tree.
pub(super) fn in_order(mut rest: Vec<ProcessV1>) -> Result<Vec<ProcessV1>> {
    let mut ordered: Vec<ProcessV1> = Vec::new();
    while !rest.is_empty() {
        let known = |pid: i32| pid == 0 || ordered.iter().any(|p| p.pid == pid);
        let (ready, later): (Vec<_>, Vec<_>) = rest.into_iter().partition(|p| known(p.ppid));
        if ready.is_empty() {
            return Err(damaged("a process without a parent"));
        }
        ordered.extend(ready);
        rest = later;
    }
    let mut living = ordered.iter().filter(|p| !has_ended(p));
    if living.any(|p| p.threads.is_empty() || p.memory.is_none()) {
        return Err(damaged("a process without threads or memory"));
    }
    Ok(ordered)
}

/// A range for the foothold that is free in every process. Low in the address space, where neither the kernel
/// nor a linker puts anything of a 64-bit program.
pub(super) fn free_range(processes: &[ProcessV1]) -> Option<u64> {
    const FIRST: u64 = 0x10_0000_0000;
    const STEP: u64 = 0x1_0000_0000;
    const TRIES: u64 = 4096;
    let used = |address: u64| {
        let mappings = processes
            .iter()
            .filter_map(|p| p.memory.as_ref())
            .flat_map(|m| &m.mappings);
        mappings
            .into_iter()
            .any(|m| m.start < address + FOOTHOLD_SIZE + vdso::RESERVE && address < m.end)
    };
    (0..TRIES)
        .map(|n| FIRST + n * STEP)
        .find(|address| !used(*address))
}

pub(crate) fn damaged(what: &str) -> Error {
    Error::CannotRestart {
        what: format!("the image describes {what}"),
        remedy: "take an older checkpoint, and report this".to_owned(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use rethaw_image::record::{MappingV1, MemoryV1, ThreadV1};

    fn process(pid: i32, ppid: i32) -> ProcessV1 {
        ProcessV1 {
            pid,
            ppid,
            threads: vec![ThreadV1::default()],
            memory: Some(MemoryV1::default()),
            ..ProcessV1::default()
        }
    }

    #[test]
    fn parents_come_before_children() {
        let ordered = in_order(vec![process(3, 2), process(2, 1), process(1, 0)]).unwrap();
        assert_eq!(ordered.iter().map(|p| p.pid).collect::<Vec<_>>(), [1, 2, 3]);
    }

    #[test]
    fn a_circle_of_parents_is_refused() {
        assert!(in_order(vec![process(1, 2), process(2, 1)]).is_err());
    }

    #[test]
    fn the_foothold_avoids_every_mapping() {
        let mut busy = process(1, 0);
        let mapping = MappingV1 {
            start: 0x10_0000_0000,
            end: 0x12_0000_1000,
            ..MappingV1::default()
        };
        busy.memory.as_mut().unwrap().mappings.push(mapping);
        assert_eq!(free_range(&[busy]), Some(0x13_0000_0000));
    }
}
