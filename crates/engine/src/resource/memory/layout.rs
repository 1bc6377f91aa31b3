//! The boundaries that the kernel keeps of an address space, its auxiliary vector and its executable.

use crate::Result;
use crate::error::Context;
use crate::resource::thread::ContextProc;
use crate::restart::{Plan, Stub};
use rethaw_image::record::{LayoutV1, MemoryV1};
use rethaw_sys::proc::{self, Pid};
use rethaw_sys::remote::Remote;

/// All but the program break, which only the process itself is told.
pub(super) fn collect(pid: Pid) -> Result<LayoutV1> {
    let stat = proc::Stat::read(pid).context_proc()?;
    Ok(LayoutV1 {
        start_code: stat.start_code,
        end_code: stat.end_code,
        start_data: stat.start_data,
        end_data: stat.end_data,
        start_brk: stat.start_brk,
        brk: 0,
        start_stack: stat.start_stack,
        arg_start: stat.arg_start,
        arg_end: stat.arg_end,
        env_start: stat.env_start,
        env_end: stat.env_end,
    })
}

/// The program break.
pub(super) fn ask_break(record: &mut MemoryV1, remote: &mut Remote<'_>) -> Result<()> {
    let now = remote
        .must(libc::SYS_brk, [0; 6])
        .context(|| "cannot ask for the program break".to_owned())?;
    if let Some(layout) = &mut record.layout {
        layout.brk = now;
    }
    Ok(())
}

/// Boundaries, auxiliary vector and executable (PR_SET_MM_MAP, Linux 3.18; the executable needs
/// CAP_CHECKPOINT_RESTORE in the process's user namespace). With `same_program` the process has the executable from
/// its parent, and cannot change it while it is mapped (EBUSY).
pub(super) fn rebuild(
    stub: &mut Stub,
    record: &MemoryV1,
    plan: &Plan,
    same_program: bool,
    warnings: &mut Vec<String>,
) -> Result<()> {
    const PR_SET_MM: u64 = 35;
    const PR_SET_MM_MAP: u64 = 14;
    let name = || "cannot set the boundaries of an address space".to_owned();
    let Some(layout) = &record.layout else {
        return Ok(());
    };
    let exe_fd = match same_program {
        true => u32::MAX,
        false => open_executable(stub, record, plan, warnings),
    };
    let mut remote = stub.remote()?;
    let auxv = remote.put(1024, &record.auxv).context(name)?;
    let mut map = Vec::new();
    for word in [
        layout.start_code,
        layout.end_code,
        layout.start_data,
        layout.end_data,
        layout.start_brk,
        layout.brk,
        layout.start_stack,
        layout.arg_start,
        layout.arg_end,
        layout.env_start,
        layout.env_end,
        auxv,
    ] {
        map.extend_from_slice(&word.to_ne_bytes());
    }
    for word in [record.auxv.len() as u32, exe_fd] {
        map.extend_from_slice(&word.to_ne_bytes());
    }
    let address = remote.put(0, &map).context(name)?;
    remote
        .must(
            libc::SYS_prctl,
            [PR_SET_MM, PR_SET_MM_MAP, address, map.len() as u64, 0, 0],
        )
        .context(name)?;
    if exe_fd != u32::MAX {
        remote
            .must(libc::SYS_close, [exe_fd.into(), 0, 0, 0, 0, 0])
            .context(name)?;
    }
    Ok(())
}

/// Opens the executable inside. Gives the descriptor there, or -1 (none) where it cannot be opened.
fn open_executable(stub: &mut Stub, record: &MemoryV1, plan: &Plan, warnings: &mut Vec<String>) -> u32 {
    let path = record.exe.as_ref().map(|exe| exe.path.clone());
    let exe = plan.places.path(&path.unwrap_or_default());
    match stub.open(&exe, libc::O_RDONLY) {
        Ok(fd) => fd as u32,
        Err(e) => {
            warnings.push(format!(
                "/proc/self/exe shows rethaw instead of {} ({e})",
                exe.display()
            ));
            u32::MAX
        }
    }
}
