//! Check: what would stop a checkpoint. The computation is frozen and looked at as for one, all refusals are gathered,
//! and it runs again; nothing is written.

use super::collect::{Collected, collect};
use super::freeze::{Frozen, cannot_seize, freeze};
use super::refusals::Refusals;
use super::{Options, Patience, or_ended};
use crate::resource::process;
use crate::tree::Tree;
use crate::{Error, Result};
use rethaw_sys::proc::{self, Pid};
use std::time::{Duration, Instant};

/// What a checkpoint would meet.
#[derive(Debug, Default)]
pub struct Findings {
    /// What would stop it.
    pub refusals: Vec<Error>,
    /// What would not come back quite as it is, in a sentence each.
    pub warnings: Vec<String>,
    /// Processes that run.
    pub processes: usize,
    /// Their threads.
    pub threads: usize,
    /// Their descriptors.
    pub descriptors: usize,
    /// Memory to be saved, in bytes.
    pub memory: u64,
    /// How long they stood still.
    pub pause: Duration,
}

/// Looks for everything that would stop a checkpoint with these options. What will be over in a moment is waited for, as a
/// checkpoint does.
///
/// # Errors
/// When the computation has ended.
pub fn check(tree: &mut Tree, options: &Options) -> Result<Findings> {
    let mut patience = Patience::new();
    let mut longest = Duration::ZERO;
    loop {
        let mut findings = look(tree, options)?;
        longest = longest.max(findings.pause);
        findings.pause = longest;
        let passing = |refusal: &Error| matches!(refusal, Error::Passing(_));
        if !(findings.refusals.iter().any(passing) && patience.waits()) {
            return Ok(findings);
        }
    }
}

/// Once.
fn look(tree: &mut Tree, options: &Options) -> Result<Findings> {
    let start = Instant::now();
    let refusals = Refusals::gather();
    let mut frozen = match freeze(tree, options.freeze_timeout) {
        Err(Error::Ended) => return Err(Error::Ended),
        Err(first) => return Ok(not_frozen(tree, first)),
        Ok(frozen) => frozen,
    };
    let collected = collect(tree, &mut frozen, options, false, &refusals);
    let mut findings = Findings {
        refusals: refusals.into_gathered(),
        processes: frozen.processes.len(),
        threads: threads(&frozen),
        ..Findings::default()
    };
    match collected {
        Ok(collected) => findings.fill(collected),
        Err(error) => match or_ended(tree, error) {
            Error::Ended => return Err(Error::Ended),
            error => findings.refusals.push(error),
        },
    }
    frozen.release(tree);
    findings.pause = start.elapsed();
    Ok(findings)
}

/// What could not even be stopped, and for what reason. Nothing else can be told then.
fn not_frozen(tree: &Tree, first: Error) -> Findings {
    let members = tree.members().unwrap_or_default();
    let mut refusals: Vec<Error> = members.iter().copied().filter_map(untouchable).collect();
    if refusals.is_empty() {
        refusals.push(first);
    }
    Findings {
        refusals,
        processes: members.len(),
        ..Findings::default()
    }
}

/// Why a process cannot be traced, if it shows.
fn untouchable(pid: Pid) -> Option<Error> {
    let tracer = proc::Status::read(pid).ok()?.tracer;
    if tracer != 0 || process::refuse_unreadable(pid).is_err() {
        return Some(cannot_seize(
            pid,
            pid.leader(),
            std::io::ErrorKind::PermissionDenied.into(),
        ));
    }
    None
}

fn threads(frozen: &Frozen) -> usize {
    frozen.processes.iter().map(|process| process.threads.len()).sum()
}

impl Findings {
    fn fill(&mut self, collected: Collected) {
        let ranges = collected.pages.iter().flat_map(|(_, ranges)| ranges);
        let private: u64 = ranges.map(|range| range.end - range.start).sum();
        let objects: u64 = collected.objects.iter().map(|object| object.record.size).sum();
        self.memory = private + objects;
        let tables = collected
            .processes
            .iter()
            .map(|process| process.descriptors.len());
        self.descriptors = tables.sum();
        self.warnings = collected.changes;
    }
}
