//! NUMA policies: of threads (set_mempolicy(2)) and of mappings (mbind(2)), which only the process itself is told.

use rethaw_image::record::{MappingV1, NumaPolicyV1};
use rethaw_sys::remote::Remote;
use std::io;

const MPOL_DEFAULT: u32 = 0;
const MPOL_F_ADDR: u64 = 2;
/// Nodes that a mask has room for, and one more, as the calls count them.
const MOST_NODES: u64 = 1025;
const MASK_BYTES: usize = 128;
const MASK_AT: u64 = 8;

/// The policy of the thread, or of the mapping at an address; `None` where it has none of its own.
pub(crate) fn ask(remote: &mut Remote<'_>, address: Option<u64>) -> io::Result<Option<NumaPolicyV1>> {
    let out = remote.put(0, &[0; MASK_AT as usize + MASK_BYTES])?;
    let flags = if address.is_some() { MPOL_F_ADDR } else { 0 };
    let arguments = [out, out + MASK_AT, MOST_NODES, address.unwrap_or(0), flags, 0];
    match remote.call(libc::SYS_get_mempolicy, arguments)? {
        // A kernel without NUMA.
        Err(e) if e.raw_os_error() == Some(libc::ENOSYS) => return Ok(None),
        outcome => outcome?,
    };
    let mode = u32::from_ne_bytes(remote.get(0)?);
    let nodes: [u8; MASK_BYTES] = remote.get(MASK_AT)?;
    Ok((mode != MPOL_DEFAULT).then(|| NumaPolicyV1 {
        mode,
        nodes: nodes.to_vec(),
    }))
}

/// Sets the policy of the thread: the restarting program may have another one than the default.
pub(crate) fn rebuild_thread(
    remote: &mut Remote<'_>,
    policy: Option<&NumaPolicyV1>,
    warnings: &mut Vec<String>,
) -> io::Result<()> {
    let Some(policy) = policy else {
        // A kernel without NUMA has no other.
        let _ = remote.call(libc::SYS_set_mempolicy, [0; 6])?;
        return Ok(());
    };
    let mask = put_mask(remote, policy)?;
    let arguments = [policy.mode.into(), mask, MOST_NODES, 0, 0, 0];
    if let Err(e) = remote.call(libc::SYS_set_mempolicy, arguments)? {
        warnings.push(format!(
            "a thread has the default NUMA policy instead of its own ({e})"
        ));
    }
    Ok(())
}

/// Sets the policy of a mapping, before it has pages.
pub(crate) fn rebuild_mapping(
    remote: &mut Remote<'_>,
    mapping: &MappingV1,
    warnings: &mut Vec<String>,
) -> io::Result<()> {
    let Some(policy) = &mapping.policy else {
        return Ok(());
    };
    let mask = put_mask(remote, policy)?;
    let len = mapping.end - mapping.start;
    let arguments = [mapping.start, len, policy.mode.into(), mask, MOST_NODES, 0];
    if let Err(e) = remote.call(libc::SYS_mbind, arguments)? {
        warnings.push(format!(
            "memory at {:#x} has the default NUMA policy instead of its own ({e})",
            mapping.start
        ));
    }
    Ok(())
}

fn put_mask(remote: &mut Remote<'_>, policy: &NumaPolicyV1) -> io::Result<u64> {
    let mut mask = policy.nodes.clone();
    mask.resize(MASK_BYTES, 0);
    remote.put(0, &mask)
}
