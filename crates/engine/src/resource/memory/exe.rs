//! The program file (/proc/PID/exe). One that is deleted or replaced can still be read through that link.

use super::Sources;
use crate::error::Context;
use crate::resource::file::Standing;
use crate::resource::object::Objects;
use crate::resource::thread::ContextProc;
use crate::restart::Stub;
use crate::{Result, file_identity};
use rethaw_image::record::MemoryV1;
use rethaw_sys::proc::{self, Pid};
use rustix::fs::{OFlags, fstat};
use std::fs::File;

/// Before mappings are looked at, since what they cannot tell of a deleted program file, this descriptor does.
pub(super) fn collect(pid: Pid, record: &mut MemoryV1, objects: &mut Objects) -> Result<()> {
    let shown = proc::exe(pid).context_proc()?;
    let name = || format!("cannot look at the program file of process {pid}");
    record.exe = Some(file_identity(&shown));
    let Ok(file) = File::open(format!("/proc/{pid}/exe")) else {
        // It may be executed, but not read.
        return Ok(());
    };
    let flags = OFlags::RDONLY.bits();
    match objects.names.find(&shown, &fstat(&file).context(name)?) {
        Standing::Named(path) => {
            record.exe = Some(file_identity(&path));
            if objects.names.travels(&path, true) {
                record.exe_object = objects.named(&path, file, flags, false).context(name)?;
            }
        }
        // Under another root or mount; the restart looks for it at this name.
        Standing::Elsewhere => {}
        Standing::Gone => record.exe_object = objects.opened(&shown, file, flags).context(name)?,
    }
    Ok(())
}

/// Opens it inside the stub. Gives the descriptor there.
pub(super) fn open(stub: &mut Stub, record: &MemoryV1, sources: &Sources<'_>) -> Result<u64> {
    if sources.objects.has(record.exe_object) {
        return sources.objects.open_in(stub, record.exe_object, OFlags::RDONLY);
    }
    let path = record
        .exe
        .as_ref()
        .map(|exe| sources.plan.places.path(&exe.path))
        .unwrap_or_default();
    sources.objects.open_named_in(stub, &path, OFlags::RDONLY)
}
