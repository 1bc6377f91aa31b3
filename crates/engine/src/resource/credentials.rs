//! Credentials: an ordinary user's program has its user's ids and no capabilities, before and after.

use rethaw_image::record::CredentialsV1;
use rethaw_sys::proc::{Ids, Status};
use rethaw_sys::remote::Remote;
use std::io;

/// _LINUX_CAPABILITY_VERSION_3.
const VERSION_3: u32 = 0x2008_0522;
const PR_GET_SECUREBITS: u64 = 27;
const PR_SET_NO_NEW_PRIVS: u64 = 38;
const PR_SET_SECUREBITS: u64 = 28;

/// From /proc and, for the secure bits, from inside.
pub(crate) fn collect(status: &Status, remote: &mut Remote<'_>) -> io::Result<CredentialsV1> {
    let ids = |ids: &Ids| vec![ids.real, ids.effective, ids.saved, ids.filesystem];
    let sets = &status.capabilities;
    Ok(CredentialsV1 {
        uids: ids(&status.uid),
        gids: ids(&status.gid),
        groups: status.groups.clone(),
        capabilities: vec![
            sets.inheritable,
            sets.permitted,
            sets.effective,
            sets.bounding,
            sets.ambient,
        ],
        secure_bits: remote.must(libc::SYS_prctl, [PR_GET_SECUREBITS, 0, 0, 0, 0, 0])? as u32,
    })
}

/// Drops what the rebuilt thread needed until now. The last thing that is done in a thread.
pub(crate) fn rebuild(remote: &mut Remote<'_>, record: &CredentialsV1, no_new_privs: bool) -> io::Result<()> {
    if record.secure_bits != 0 {
        remote.must(
            libc::SYS_prctl,
            [PR_SET_SECUREBITS, record.secure_bits.into(), 0, 0, 0, 0],
        )?;
    }
    set_capabilities(remote, &record.capabilities)?;
    if no_new_privs {
        remote.must(libc::SYS_prctl, [PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0, 0])?;
    }
    Ok(())
}

/// Takes away what the program's children could not get any more by execve(2): a new user namespace gives it back. Those
/// that are cloned later have it so from the beginning.
pub(crate) fn drop_bounding(remote: &mut Remote<'_>, record: &CredentialsV1) -> io::Result<()> {
    const PR_CAPBSET_READ: u64 = 23;
    const PR_CAPBSET_DROP: u64 = 24;
    let Some(bounding) = record.capabilities.get(3) else {
        return Ok(());
    };
    for capability in (0..64).filter(|capability| bounding & 1 << capability == 0) {
        // EINVAL: the kernel has no more of them.
        match remote.call(libc::SYS_prctl, [PR_CAPBSET_READ, capability, 0, 0, 0, 0])? {
            Ok(0) => {}
            Ok(_) => drop(remote.must(libc::SYS_prctl, [PR_CAPBSET_DROP, capability, 0, 0, 0, 0])?),
            Err(_) => break,
        }
    }
    Ok(())
}

/// Does something without capabilities, as the program would, where the kernel remembers who did it.
pub(crate) fn without_capabilities<T>(
    remote: &mut Remote<'_>,
    action: impl FnOnce(&mut Remote<'_>) -> io::Result<T>,
) -> io::Result<T> {
    let header = [VERSION_3.to_ne_bytes(), [0; 4]].concat();
    let at = remote.put(0, &header)?;
    remote.must(libc::SYS_capget, [at, at + 8, 0, 0, 0, 0])?;
    let all: [u8; 32] = remote.get(0)?;
    let mut none = all;
    // Twice effective, permitted, inheritable.
    for effective in [8, 20] {
        none[effective..effective + 4].fill(0);
    }
    let at = remote.put(0, &none)?;
    remote.must(libc::SYS_capset, [at, at + 8, 0, 0, 0, 0])?;
    let done = action(remote);
    let at = remote.put(0, &all)?;
    remote.must(libc::SYS_capset, [at, at + 8, 0, 0, 0, 0])?;
    done
}

/// capset(2): inheritable, permitted and effective set. What the program had, as far as we have it.
fn set_capabilities(remote: &mut Remote<'_>, sets: &[u64]) -> io::Result<()> {
    let set = |index: usize| sets.get(index).copied().unwrap_or(0);
    let (inheritable, permitted, effective) = (set(0), set(1), set(2));
    let mut bytes = Vec::new();
    for word in [VERSION_3, 0] {
        bytes.extend_from_slice(&word.to_ne_bytes());
    }
    for shift in [0, 32] {
        for set in [effective, permitted, inheritable] {
            bytes.extend_from_slice(&((set >> shift) as u32).to_ne_bytes());
        }
    }
    let header = remote.put(0, &bytes)?;
    remote
        .must(libc::SYS_capset, [header, header + 8, 0, 0, 0, 0])
        .map(drop)
}
