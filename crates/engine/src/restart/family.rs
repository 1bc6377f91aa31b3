//! Makes all processes again, step by step as planned: stubs with their old numbers, parents, sessions and groups.

use super::plan::{Plan, damaged};
use super::stub::{Stub, own_foothold};
use crate::Result;
use crate::error::{Context, Error};
use crate::lineage::Step;
use crate::resource::sharing;
use crate::resource::terminal::Terminals;
use rethaw_image::record::ProcessV1;
use rethaw_sys::proc::{Pid, Stat};
use rethaw_sys::ptrace::Stopped;
use rethaw_sys::remote::Foothold;
use std::collections::BTreeMap;

/// The processes that have been made.
pub(crate) struct Family<'a> {
    plan: &'a Plan,
    init: &'a mut Stopped,
    init_foothold: Foothold,
    /// By the numbers that they see themselves.
    stubs: BTreeMap<i32, Stub>,
}

impl<'a> Family<'a> {
    /// `init` is pid 1 of the computation's namespaces.
    pub fn new(plan: &'a Plan, init: &'a mut Stopped) -> Result<Family<'a>> {
        let init_foothold =
            own_foothold(Pid(init.tid().0), plan.foothold).context(|| "cannot use the init".to_owned())?;
        Ok(Family {
            plan,
            init,
            init_foothold,
            stubs: BTreeMap::new(),
        })
    }

    /// Takes all steps. `fill` gives a living process its memory as soon as it is made: its children begin as
    /// copies of it. It is told which living process it is a copy of. Gives the stubs of the living, in the order of the
    /// plan.
    pub fn make(
        mut self,
        mut fill: impl FnMut(&mut Stub, &ProcessV1, Option<&ProcessV1>) -> Result<()>,
    ) -> Result<Vec<Stub>> {
        for step in &self.plan.births {
            match *step {
                Step::Make { pid, by, sibling } => {
                    self.clone_process(pid, by, sibling)?;
                    if let Some(record) = self.living(pid) {
                        let parent = self.living(by);
                        fill(self.stub(pid)?, record, parent)?;
                    }
                }
                Step::LeadSession { pid } => {
                    let plan = self.plan;
                    let leader = self.stub(pid)?;
                    leader.call(libc::SYS_setsid, [0; 6])?;
                    // Before it gets children, which inherit it.
                    Terminals::acquire(plan, leader, pid)?;
                }
                Step::EnterGroup { pid, group } => self
                    .stub(pid)?
                    .call(libc::SYS_setpgid, [0, group as u64, 0, 0, 0, 0])?,
                Step::Adopt { pid, adopts } => self.stub(pid)?.adopt_orphans(adopts)?,
                Step::End { pid, collector } => self.end(pid, collector)?,
            }
        }
        self.check_parents()?;
        let plan = self.plan;
        let stubs = plan.processes.iter().map(|record| self.stubs.remove(&record.pid));
        stubs.map(|stub| stub.ok_or(Error::Ended)).collect()
    }

    fn living(&self, pid: i32) -> Option<&'a ProcessV1> {
        self.plan.processes.iter().find(|record| record.pid == pid)
    }

    fn ended(&self, pid: i32) -> Option<&'a ProcessV1> {
        self.plan.ended.iter().find(|record| record.pid == pid)
    }

    fn stub(&mut self, pid: i32) -> Result<&mut Stub> {
        self.stubs
            .get_mut(&pid)
            .ok_or_else(|| damaged("a process that is needed and missing"))
    }

    fn clone_process(&mut self, pid: i32, by: i32, sibling: bool) -> Result<()> {
        let record = self.living(pid).or_else(|| self.ended(pid));
        let exit_signal = record.map_or(libc::SIGCHLD, |record| record.exit_signal);
        let shared = match self.living(pid) {
            Some(record) => sharing::clone_flags(record, self.living(by))?,
            None => 0,
        };
        let at = self.plan.foothold;
        let stub = match by {
            0 => Stub::clone_process(self.init, &self.init_foothold, at, pid, Some(exit_signal), shared)?,
            _ => self
                .stub(by)?
                .clone_child(at, pid, (!sibling).then_some(exit_signal), shared)?,
        };
        self.stubs.insert(pid, stub);
        Ok(())
    }

    fn end(&mut self, pid: i32, collector: Option<i32>) -> Result<()> {
        let stub = self
            .stubs
            .remove(&pid)
            .ok_or_else(|| damaged("a process that ends twice"))?;
        match self.ended(pid) {
            Some(record) => stub.end_as(record)?,
            None => stub.end()?,
        }
        // What is left for the init, it collects itself once it runs.
        match collector {
            Some(parent) if parent != 0 => self.stub(parent)?.collect(pid),
            _ => Ok(()),
        }
    }

    /// The kernel has the last word on who adopts whom.
    fn check_parents(&self) -> Result<()> {
        let init = Pid(self.init.tid().0);
        for record in &self.plan.processes {
            let parent = match record.ppid {
                0 => Some(init),
                ppid => self.stubs.get(&ppid).map(|stub| stub.pid),
            };
            let now = self.stubs.get(&record.pid).map(|stub| Stat::read(stub.pid));
            let as_it_was =
                |stat: &Stat, parent| stat.ppid == parent && stat.exit_signal == record.exit_signal;
            if !matches!((now, parent), (Some(Ok(stat)), Some(parent)) if as_it_was(&stat, parent)) {
                return Err(damaged(&format!(
                    "process {} under a parent ({}) that it does not get here",
                    record.pid, record.ppid
                )));
            }
        }
        Ok(())
    }
}
