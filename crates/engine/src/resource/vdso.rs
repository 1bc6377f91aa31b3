//! The vdso: the kernel's code that programs call, which has to be where the program knows it.

use crate::Result;
use crate::error::{Context, Error};
use crate::restart::Stub;
use rethaw_image::record::{Backing, MappingV1, MemoryV1};
use rethaw_sys::proc::{Maps, Vma};

/// Maps the vdso of this kernel where the program had its own. If it is another one, the old one stays, as
/// ordinary memory, and its entry points jump to the new one.
pub(crate) fn rebuild(stub: &mut Stub, record: &MemoryV1) -> Result<()> {
    let special = |m: &&MappingV1| matches!(m.backing(), Backing::Vdso | Backing::Vvar);
    let Some(first) = record.mappings.iter().find(special) else {
        return Ok(());
    };
    let Some(old) = record.mappings.iter().find(|m| m.backing() == Backing::Vdso) else {
        return Ok(());
    };
    let new = map_at(stub, first.start)?;
    let mut code = vec![0; (new.end - new.start) as usize];
    rethaw_sys::memory::read(stub.pid, new.start, &mut code).context(|| "cannot read the vdso".to_owned())?;
    if new.start == old.start && code == record.vdso {
        return Ok(());
    }
    bridge(stub, record, old)
}

/// Maps the vdso with its data pages from `address` on (ARCH_MAP_VDSO_64, Linux 4.9, needs
/// CONFIG_CHECKPOINT_RESTORE). Gives where its code is.
fn map_at(stub: &mut Stub, address: u64) -> Result<Vma> {
    const ARCH_MAP_VDSO_64: u64 = 0x2003;
    let name = || "cannot map the vdso".to_owned();
    stub.remote()?
        .must(libc::SYS_arch_prctl, [ARCH_MAP_VDSO_64, address, 0, 0, 0, 0])
        .context(name)?;
    let maps = Maps::read_brief(stub.pid)
        .map_err(std::io::Error::other)
        .context(name)?;
    maps.named(b"[vdso]")
        .cloned()
        .ok_or_else(|| Error::CannotRestart {
            what: "this kernel has no vdso".to_owned(),
            remedy: "start it without the option vdso=0".to_owned(),
        })
}

/// The program's old vdso as ordinary memory with jumps to this kernel's.
fn bridge(_stub: &mut Stub, _record: &MemoryV1, _old: &MappingV1) -> Result<()> {
    Err(Error::CannotRestart {
        what: "the vdso of this kernel differs from the one at the checkpoint".to_owned(),
        remedy: "restart on a node with the same kernel".to_owned(),
    })
}
