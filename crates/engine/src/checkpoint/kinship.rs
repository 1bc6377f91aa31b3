//! How the processes of a frozen computation are related: parents, groups, sessions, children that have ended.

use super::freeze::Frozen;
use crate::lineage::{self, Kin};
use crate::resource::thread::ContextProc;
use crate::tree::Tree;
use crate::{Error, Result};
use rethaw_image::record::ProcessV1;
use rethaw_sys::proc::{self, Pid, Stat, Status};
use rethaw_sys::remote::Remote;
use std::collections::{BTreeMap, BTreeSet};
use std::io;

/// Fills in the relations of `records`, which are those of the frozen processes in the same order, and gives records of
/// children that have ended and were not waited for.
pub(crate) fn relate(tree: &Tree, frozen: &Frozen, records: &mut [ProcessV1]) -> Result<Vec<ProcessV1>> {
    let pids: Vec<Pid> = frozen.processes.iter().map(|process| process.pid).collect();
    let relations = Relations::new(tree, &pids, records)?;
    for (pid, record) in pids.iter().zip(records.iter_mut()) {
        relations.fill(*pid, record)?;
    }
    let mut ended = Vec::new();
    for pid in &pids {
        for child in proc::children(*pid).context_proc()? {
            ended.extend(relations.ended(child)?);
        }
    }
    Ok(ended)
}

/// Fills in how the ended children of a process have ended. Asked of the process itself, by a wait that leaves them:
/// /proc shows 0 for one that was not dumpable (measured on Linux 6.18).
pub(crate) fn ask_how_ended(remote: &mut Remote<'_>, parent: i32, ended: &mut [ProcessV1]) -> io::Result<()> {
    const CODE: usize = 8;
    const STATUS: usize = 24;
    let options = (libc::WEXITED | libc::WNOWAIT | libc::WNOHANG | libc::__WALL) as u64;
    for child in ended.iter_mut().filter(|child| child.ppid == parent) {
        let address = remote.put(0, &[0; 128])?;
        let arguments = [libc::P_PID as u64, child.pid as u64, address, options, 0, 0];
        remote.must(libc::SYS_waitid, arguments)?;
        let info: [u8; 128] = remote.get(0)?;
        let word = |at: usize| i32::from_ne_bytes(info[at..at + 4].try_into().unwrap_or_default());
        const CORE_DUMPED: i32 = 0x80;
        child.zombie_status = Some(match word(CODE) {
            libc::CLD_EXITED => (word(STATUS) & 0xff) << 8,
            libc::CLD_KILLED => word(STATUS),
            libc::CLD_DUMPED => word(STATUS) | CORE_DUMPED,
            code => {
                return Err(io::Error::other(format!(
                    "child {} has not ended ({code})",
                    child.pid
                )));
            }
        });
    }
    Ok(())
}

/// Refuses what no restart could make.
pub(crate) fn refuse_unbuildable<'a>(records: impl Iterator<Item = &'a ProcessV1>) -> Result<()> {
    let family: Vec<Kin> = records.map(kin_of).collect();
    lineage::plan(&family, &BTreeSet::new()).map_err(|why| Error::Refused {
        what: format!("a process in {}", why.what),
        pid: why.pid,
        place: "process tree".to_owned(),
        remedy: "the next checkpoint tries again; this version cannot rebuild such a family".to_owned(),
    })?;
    Ok(())
}

/// What the plan of a restart has to know of a process.
pub(crate) fn kin_of(record: &ProcessV1) -> Kin {
    Kin {
        pid: record.pid,
        ppid: record.ppid,
        pgid: record.pgid,
        sid: record.sid,
        subreaper: record.child_subreaper,
        ended: record.zombie_status.is_some(),
    }
}

struct Relations {
    /// The program's number by ours.
    inside: BTreeMap<Pid, i32>,
    /// Sessions and groups that are the launcher's: ours, and what the main process has but nobody leads. In a pid
    /// namespace of the program's own it is simpler: there they have no number.
    outside_sessions: BTreeSet<i32>,
    outside_groups: BTreeSet<i32>,
}

impl Relations {
    fn new(tree: &Tree, pids: &[Pid], records: &[ProcessV1]) -> Result<Relations> {
        let mut relations = Relations {
            inside: pids.iter().copied().zip(records.iter().map(|r| r.pid)).collect(),
            outside_sessions: BTreeSet::new(),
            outside_groups: BTreeSet::new(),
        };
        if !tree.isolated() {
            let main = tree.ended().is_none().then_some(Pid(tree.main()));
            for pid in std::iter::once(Pid::own()).chain(main) {
                let stat = Stat::read(pid).context_proc()?;
                relations.outside_sessions.insert(stat.session);
                relations.outside_groups.insert(stat.pgrp);
            }
            let led_outside = |number: &i32| !pids.contains(&Pid(*number));
            relations.outside_sessions.retain(led_outside);
            relations.outside_groups.retain(led_outside);
        }
        Ok(relations)
    }

    fn fill(&self, pid: Pid, record: &mut ProcessV1) -> Result<()> {
        let stat = Stat::read(pid).context_proc()?;
        let status = Status::read(pid).context_proc()?;
        let number = |outside: &BTreeSet<i32>, ours: i32, inside: &[i32]| match outside.contains(&ours) {
            true => 0,
            false => inside.last().copied().unwrap_or(ours),
        };
        record.ppid = self.inside.get(&stat.ppid).copied().unwrap_or(0);
        record.pgid = number(&self.outside_groups, stat.pgrp, &status.ns_pgids);
        record.sid = number(&self.outside_sessions, stat.session, &status.ns_sids);
        record.stop_was_waited_for = record.stopped_by != 0 && stat.exit_code == 0;
        Ok(())
    }

    /// The record of a child, if it has ended.
    fn ended(&self, child: Pid) -> Result<Option<ProcessV1>> {
        let stat = Stat::read(child).context_proc()?;
        if !stat.is_zombie() || self.inside.contains_key(&child) {
            return Ok(None);
        }
        let status = Status::read(child).context_proc()?;
        let mut record = ProcessV1 {
            pid: status.ns_pids.last().copied().unwrap_or(child.0),
            exit_signal: stat.exit_signal,
            // See `ask_how_ended`.
            zombie_status: Some(0),
            zombie_name: stat.comm,
            ..ProcessV1::default()
        };
        self.fill(child, &mut record)?;
        Ok(Some(record))
    }
}
