//! NUMA policies of mappings.

use crate::Result;
use crate::error::Context;
use crate::resource::numa;
use crate::resource::thread::ContextProc;
use rethaw_image::record::MemoryV1;
use rethaw_sys::proc::{self, Pid};
use rethaw_sys::remote::Remote;

/// To look at a large process takes time (10 ms per GiB, measured on Linux 6.18). Where all memory is in one node, where a
/// policy means nothing, this is the most that is looked at.
const CHEAP: u64 = 256 << 20;

/// Asks for the policies that /proc/PID/numa_maps shows. There a mapping without one of its own has the thread's.
pub(super) fn collect(pid: Pid, record: &mut MemoryV1, remote: &mut Remote<'_>) -> Result<()> {
    let cheap = proc::resident_bytes(pid).is_ok_and(|bytes| bytes <= CHEAP);
    if !cheap && proc::memory_nodes().is_ok_and(|nodes| nodes <= 1) {
        return Ok(());
    }
    let shown = match proc::numa_policies(pid) {
        // A kernel without NUMA has no such file.
        Err(e) if e.is_gone() => return Ok(()),
        shown => shown.context_proc()?,
    };
    for start in shown {
        let Ok(index) = record
            .mappings
            .binary_search_by_key(&start, |mapping| mapping.start)
        else {
            continue;
        };
        record.mappings[index].policy = numa::ask(remote, Some(start))
            .context(|| format!("cannot ask for the NUMA policy of {start:#x} in process {pid}"))?;
    }
    Ok(())
}
