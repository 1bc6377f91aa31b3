//! Memory protection keys (pkeys(7)). The rights that a thread has by them are in its registers (PKRU); here is which
//! keys the program has allocated, and which the kernel has taken for memory that is only executable.

use crate::Result;
use crate::error::{Context, Error};
use crate::restart::Stub;
use rethaw_image::record::{MappingV1, MemoryV1};
use rethaw_sys::arch::TASK_SIZE;
use rethaw_sys::remote::Remote;
use std::io;

/// On x86, four bits of a page table entry; key 0 is everybody's.
const KEYS: std::ops::Range<u32> = 1..16;
const PAGE: u64 = rethaw_image::PAGE as u64;

/// Asks which keys are allocated. pkey_mprotect(2) of nothing changes nothing, and tells: EINVAL for a key that is not.
pub(super) fn collect(record: &mut MemoryV1, remote: &mut Remote<'_>) -> Result<()> {
    let mut allocated = |key: u32| -> io::Result<bool> {
        let arguments = [TASK_SIZE, PAGE, 0, key.into(), 0, 0];
        let outcome = remote.call(libc::SYS_pkey_mprotect, arguments)?;
        Ok(outcome.is_err_and(|e| e.raw_os_error() == Some(libc::ENOMEM)))
    };
    let name = || "cannot ask for protection keys".to_owned();
    // Without keys in the processor, not even key 0 is.
    if allocated(0).context(name)? {
        for key in KEYS {
            record.protection_keys |= u32::from(allocated(key).context(name)?) << key;
        }
    }
    Ok(())
}

fn used(record: &MemoryV1) -> bool {
    record.protection_keys != 0 || record.mappings.iter().any(|mapping| mapping.protection_key != 0)
}

/// The key that the kernel has taken for memory that is only executable: not the program's.
fn is_kernels(record: &MemoryV1, mapping: &MappingV1) -> bool {
    let only_executable = mapping.protection == libc::PROT_EXEC as u32;
    mapping.protection_key != 0
        && only_executable
        && record.protection_keys & 1 << mapping.protection_key == 0
}

/// Allocates all keys but the kernel's, which it then takes when it needs it. A clone has its parent's keys already.
pub(super) fn begin(stub: &mut Stub, record: &MemoryV1, parent: Option<&MemoryV1>) -> Result<()> {
    if !used(record) && !parent.is_some_and(used) {
        return Ok(());
    }
    let name = || "cannot allocate protection keys".to_owned();
    let mut remote = stub.remote()?;
    loop {
        match remote.call(libc::SYS_pkey_alloc, [0; 6]).context(name)? {
            Ok(_) => {}
            Err(e) if e.raw_os_error() == Some(libc::ENOSPC) => break,
            Err(_) => {
                return Err(Error::CannotRestart {
                    what: "this processor or kernel lacks the memory protection keys that the program uses"
                        .to_owned(),
                    remedy: "restart on a node of the same or a newer kind".to_owned(),
                });
            }
        }
    }
    if let Some(mapping) = record.mappings.iter().find(|mapping| is_kernels(record, mapping)) {
        free(&mut remote, mapping.protection_key).context(name)?;
    }
    Ok(())
}

/// Gives a mapping its key.
pub(super) fn assign(stub: &mut Stub, record: &MemoryV1, mapping: &MappingV1) -> Result<()> {
    if mapping.protection_key == 0 || is_kernels(record, mapping) {
        return Ok(());
    }
    let (len, protection) = (mapping.end - mapping.start, mapping.protection.into());
    let arguments = [
        mapping.start,
        len,
        protection,
        mapping.protection_key.into(),
        0,
        0,
    ];
    stub.remote()?
        .must(libc::SYS_pkey_mprotect, arguments)
        .context(|| format!("cannot give memory at {:#x} its protection key", mapping.start))
        .map(drop)
}

/// Frees the keys that the program has not allocated.
pub(super) fn end(stub: &mut Stub, record: &MemoryV1, parent: Option<&MemoryV1>) -> Result<()> {
    if !used(record) && !parent.is_some_and(used) {
        return Ok(());
    }
    let mut remote = stub.remote()?;
    for key in KEYS.filter(|key| record.protection_keys & 1 << key == 0) {
        free(&mut remote, key).context(|| "cannot free a protection key".to_owned())?;
    }
    Ok(())
}

/// EINVAL: the kernel's own.
fn free(remote: &mut Remote<'_>, key: u32) -> io::Result<()> {
    remote
        .call(libc::SYS_pkey_free, [key.into(), 0, 0, 0, 0, 0])
        .map(drop)
}
