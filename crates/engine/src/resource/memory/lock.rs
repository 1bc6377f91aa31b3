//! mlockall(2) of memory that is yet to be mapped.

use super::has_flag;
use crate::Result;
use crate::error::Context;
use crate::resource::thread::ContextProc;
use rethaw_image::record::MemoryV1;
use rethaw_sys::proc::{Maps, Pid};
use rethaw_sys::remote::Remote;

const PAGE: u64 = rethaw_image::PAGE as u64;

/// mlockall(2) of future mappings cannot be asked for: a page is mapped to see whether it gets locked.
pub(super) fn collect(pid: Pid, record: &mut MemoryV1, remote: &mut Remote<'_>) -> Result<()> {
    if !record.mappings.iter().any(|mapping| has_flag(mapping, "lo")) {
        return Ok(());
    }
    let name = || format!("cannot map a page in process {pid}");
    let flags = (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS) as u64;
    let page = remote
        .must(libc::SYS_mmap, [0, PAGE, 0, flags, u64::MAX, 0])
        .context(name)?;
    let maps = Maps::read(pid).context_proc();
    remote
        .must(libc::SYS_munmap, [page, PAGE, 0, 0, 0, 0])
        .context(name)?;
    if let Some(vma) = maps?.at(page).filter(|vma| vma.has(b"lo")) {
        record.lock_future = libc::MCL_FUTURE as u32;
        if vma.has(b"lf") {
            record.lock_future |= libc::MCL_ONFAULT as u32;
        }
    }
    Ok(())
}

/// The other direction, once everything is mapped.
pub(crate) fn rebuild(record: &MemoryV1, remote: &mut Remote<'_>, warnings: &mut Vec<String>) -> Result<()> {
    if record.lock_future != 0 {
        let arguments = [record.lock_future.into(), 0, 0, 0, 0, 0];
        if let Err(e) = remote
            .call(libc::SYS_mlockall, arguments)
            .context(|| "cannot lock memory".to_owned())?
        {
            warnings.push(format!(
                "future memory cannot be locked here ({e}); raise the limit (ulimit -l)"
            ));
        }
    }
    Ok(())
}
