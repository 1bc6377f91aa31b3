//! Sealed memory (mseal(2), Linux 6.10): the last thing that is done with it.

use super::has_flag;
use crate::Result;
use crate::error::Context;
use rethaw_image::record::{Backing, MemoryV1};
use rethaw_sys::remote::Remote;

const SYS_MSEAL: libc::c_long = 462;

pub(crate) fn rebuild(record: &MemoryV1, remote: &mut Remote<'_>, warnings: &mut Vec<String>) -> Result<()> {
    let sealed = record.mappings.iter().filter(|mapping| has_flag(mapping, "sl"));
    // The kernel seals its own by itself.
    for mapping in sealed.filter(|m| !matches!(m.backing(), Backing::Vdso | Backing::Vvar)) {
        let arguments = [mapping.start, mapping.end - mapping.start, 0, 0, 0, 0];
        let name = || format!("cannot seal memory at {:#x}", mapping.start);
        if let Err(e) = remote.call(SYS_MSEAL, arguments).context(name)? {
            warnings.push(format!(
                "memory at {:#x} is not sealed any more ({e})",
                mapping.start
            ));
        }
    }
    Ok(())
}
