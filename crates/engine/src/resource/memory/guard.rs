//! Guard regions (MADV_GUARD_INSTALL, Linux 6.13), which only the page map shows.

use crate::Result;
use crate::error::Context;
use crate::resource::thread::ContextProc;
use crate::restart::Stub;
use rethaw_image::record::GuardV1;
use rethaw_sys::proc::{self, Pid};

pub(super) fn collect(pid: Pid) -> Result<Vec<GuardV1>> {
    let all = proc::Range {
        start: 0,
        end: rethaw_sys::arch::TASK_SIZE,
    };
    let guards = proc::Pagemap::open(pid)
        .and_then(|pagemap| pagemap.guards(all))
        .context_proc()?;
    Ok(guards
        .into_iter()
        .map(|guard| GuardV1 {
            start: guard.start,
            end: guard.end,
        })
        .collect())
}

pub(super) fn rebuild(stub: &mut Stub, guards: &[GuardV1]) -> Result<()> {
    const MADV_GUARD_INSTALL: u64 = 102;
    for guard in guards {
        let arguments = [guard.start, guard.end - guard.start, MADV_GUARD_INSTALL, 0, 0, 0];
        let name = || format!("cannot install a guard at {:#x}", guard.start);
        stub.remote()?.must(libc::SYS_madvise, arguments).context(name)?;
    }
    Ok(())
}
