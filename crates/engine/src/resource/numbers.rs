//! Processes, threads, groups and sessions as the program sees them, by their numbers here.

use super::thread::ContextProc;
use crate::Result;
use crate::checkpoint::freeze::Frozen;
use rethaw_sys::proc::{self, Pid, Tid};
use std::collections::BTreeMap;

/// Of a frozen computation.
#[derive(Debug, Default)]
pub(crate) struct Numbers {
    /// Threads; the number of a process is that of its leader.
    threads: BTreeMap<i32, i32>,
    groups: BTreeMap<i32, i32>,
    sessions: BTreeMap<i32, i32>,
}

impl Numbers {
    pub fn of(frozen: &Frozen) -> Result<Numbers> {
        let mut numbers = Numbers::default();
        for process in &frozen.processes {
            let stat = proc::Stat::read(process.pid).context_proc()?;
            let status = proc::Status::read(process.pid).context_proc()?;
            let inside = |numbers: &[i32], outside| numbers.last().copied().unwrap_or(outside);
            numbers
                .groups
                .insert(stat.pgrp, inside(&status.ns_pgids, stat.pgrp));
            numbers
                .sessions
                .insert(stat.session, inside(&status.ns_sids, stat.session));
            for thread in &process.threads {
                let tid = thread.stopped.tid();
                numbers.threads.insert(tid.0, number_inside(process.pid, tid)?);
            }
        }
        Ok(numbers)
    }

    /// Of a process or thread of the computation.
    pub fn thread(&self, number: i32) -> Option<i32> {
        self.threads.get(&number).copied()
    }

    /// Of a process group with a member in the computation, and a number there.
    pub fn group(&self, number: i32) -> Option<i32> {
        self.groups.get(&number).copied().filter(|inside| *inside > 0)
    }

    /// Of a session with a member in the computation, and a number there.
    pub fn session(&self, number: i32) -> Option<i32> {
        self.sessions.get(&number).copied().filter(|inside| *inside > 0)
    }
}

fn number_inside(pid: Pid, tid: Tid) -> Result<i32> {
    let status = proc::Status::read((pid, tid)).context_proc()?;
    Ok(status.ns_pids.last().copied().unwrap_or(tid.0))
}
