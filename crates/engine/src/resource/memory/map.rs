//! Mappings, one by one: made, and once their pages are written, finished.

use super::{Sources, has_flag};
use crate::Result;
use crate::error::{Context, Error};
use crate::restart::Stub;
use rethaw_image::record::{Backing, MappingV1};
use rethaw_sys::remote::Remote;
use rustix::fs::OFlags;
use std::io;
use std::ops::Range;

fn mapping_name(mapping: &MappingV1) -> String {
    format!(
        "cannot map {:#x}-{:#x} {}",
        mapping.start, mapping.end, mapping.label
    )
}

/// Protection while pages are written to it.
fn protection_to_fill(mapping: &MappingV1, filled: bool) -> u32 {
    let more = if filled && !mapping.shared {
        (libc::PROT_READ | libc::PROT_WRITE) as u32
    } else {
        0
    };
    mapping.protection | more
}

pub(super) fn map(stub: &mut Stub, mapping: &MappingV1, filled: bool, sources: &Sources<'_>) -> Result<()> {
    let anonymous = match mapping.backing() {
        Backing::Vdso | Backing::Vvar | Backing::Segment | Backing::AioRing | Backing::IoRing => {
            return Ok(());
        }
        Backing::Anonymous | Backing::SavedFile => true,
        Backing::File | Backing::Object => false,
        Backing::Unknown => return Err(crate::restart::damaged("a mapping of unknown kind")),
    };
    let name = || mapping_name(mapping);
    let fd = if anonymous {
        None
    } else {
        Some(open_backing(stub, mapping, sources)?)
    };
    let mut flags = libc::MAP_FIXED_NOREPLACE
        | if mapping.shared {
            libc::MAP_SHARED
        } else {
            libc::MAP_PRIVATE
        };
    if anonymous {
        flags |= libc::MAP_ANONYMOUS;
    }
    if has_flag(mapping, "nr") {
        flags |= libc::MAP_NORESERVE;
    }
    if has_flag(mapping, "gd") {
        flags |= libc::MAP_GROWSDOWN;
    }
    if mapping.huge_page != 0 && anonymous {
        flags |= libc::MAP_HUGETLB | (mapping.huge_page.trailing_zeros() as i32) << libc::MAP_HUGE_SHIFT;
    }
    let (len, protection) = (mapping.end - mapping.start, protection_to_fill(mapping, filled));
    let mut remote = stub.remote()?;
    let file = fd.map_or(u64::MAX, |fd| fd);
    let arguments = [
        mapping.start,
        len,
        protection.into(),
        flags as u64,
        file,
        mapping.offset,
    ];
    let droppable = has_flag(mapping, "dp") && map_droppable(&mut remote, arguments).context(name)?;
    if !droppable {
        remote.must(libc::SYS_mmap, arguments).context(name)?;
    }
    if let Some(fd) = fd {
        remote.must(libc::SYS_close, [fd, 0, 0, 0, 0, 0]).context(name)?;
    }
    // Before the pages are written, so that they become huge at once.
    for (flag, advice) in [("hg", libc::MADV_HUGEPAGE), ("nh", libc::MADV_NOHUGEPAGE)] {
        if has_flag(mapping, flag) {
            remote
                .must(libc::SYS_madvise, [mapping.start, len, advice as u64, 0, 0, 0])
                .context(name)?;
        }
    }
    Ok(())
}

/// Maps memory that the kernel may drop (MAP_DROPPABLE, Linux 6.11). Gives whether it could.
fn map_droppable(remote: &mut Remote<'_>, arguments: [u64; 6]) -> io::Result<bool> {
    const MAP_DROPPABLE: u64 = 0x08;
    let [start, len, protection, flags, file, offset] = arguments;
    let flags = flags & !(libc::MAP_PRIVATE as u64) | MAP_DROPPABLE;
    Ok(remote
        .call(libc::SYS_mmap, [start, len, protection, flags, file, offset])?
        .is_ok())
}

/// Opens what backs a mapping, inside the stub. Gives the descriptor there.
fn open_backing(stub: &mut Stub, mapping: &MappingV1, sources: &Sources<'_>) -> Result<u64> {
    let writable = mapping.shared && mapping.protection & libc::PROT_WRITE as u32 != 0;
    if mapping.backing() == Backing::Object || sources.objects.has(mapping.object) {
        // A mapping that can become writable would forbid F_SEAL_WRITE.
        let flags = match mapping.shared && !mapping.read_only {
            true => OFlags::RDWR,
            false => OFlags::RDONLY,
        };
        return sources.objects.open_in(stub, mapping.object, flags);
    }
    let path = sources
        .plan
        .places
        .path(&mapping.file.as_ref().map(|f| f.path.clone()).unwrap_or_default());
    // A shared mapping that is not writable now may have been made so that it can become it (mprotect).
    let modes = match mapping.shared && !mapping.read_only {
        true => vec![OFlags::RDWR, OFlags::RDONLY],
        false => vec![OFlags::RDONLY],
    };
    let fitting = modes
        .into_iter()
        .filter(|mode| !writable || *mode == OFlags::RDWR);
    let mut outcome = Err(Error::Ended);
    for mode in fitting {
        outcome = sources.objects.open_named_in(stub, &path, mode);
        if outcome.is_ok() {
            break;
        }
    }
    outcome
}

/// Lets pages be written to a mapping that is there already.
pub(super) fn allow_to_fill(stub: &mut Stub, mapping: &MappingV1, filled: bool) -> Result<()> {
    change_protection(stub, mapping, filled, protection_to_fill(mapping, filled))
}

/// The final protection.
pub(super) fn protect(stub: &mut Stub, mapping: &MappingV1, filled: bool) -> Result<()> {
    change_protection(stub, mapping, filled, mapping.protection)
}

fn change_protection(stub: &mut Stub, mapping: &MappingV1, filled: bool, to: u32) -> Result<()> {
    if protection_to_fill(mapping, filled) == mapping.protection {
        return Ok(());
    }
    let arguments = [mapping.start, mapping.end - mapping.start, to.into(), 0, 0, 0];
    stub.remote()?
        .must(libc::SYS_mprotect, arguments)
        .context(|| mapping_name(mapping))
        .map(drop)
}

/// Drops pages: the file's contents or zeros are in their place.
pub(super) fn forget_pages(stub: &mut Stub, range: &Range<u64>) -> Result<()> {
    let advice = libc::MADV_DONTNEED as u64;
    let arguments = [range.start, range.end - range.start, advice, 0, 0, 0];
    stub.remote()?
        .must(libc::SYS_madvise, arguments)
        .context(|| format!("cannot empty memory at {:#x}", range.start))
        .map(drop)
}

/// Final protection, name, advice, locks.
pub(super) fn finish(
    stub: &mut Stub,
    mapping: &MappingV1,
    filled: bool,
    warnings: &mut Vec<String>,
) -> Result<()> {
    if matches!(mapping.backing(), Backing::Vdso | Backing::Vvar) {
        return Ok(());
    }
    let name = || mapping_name(mapping);
    let (start, len) = (mapping.start, mapping.end - mapping.start);
    protect(stub, mapping, filled)?;
    let mut remote = stub.remote()?;
    if let Some(label) = mapping
        .label
        .strip_prefix("[anon:")
        .and_then(|l| l.strip_suffix(']'))
    {
        const PR_SET_VMA: u64 = 0x5356_4d41;
        let text = remote.put(0, format!("{label}\0").as_bytes()).context(name)?;
        // Not every kernel has names (CONFIG_ANON_VMA_NAME); nothing depends on them.
        let _ = remote
            .call(libc::SYS_prctl, [PR_SET_VMA, 0, start, len, text, 0])
            .context(name)?;
    }
    for (flag, advice) in ADVICE {
        if has_flag(mapping, flag)
            && let Err(e) = remote
                .call(libc::SYS_madvise, [start, len, advice as u64, 0, 0, 0])
                .context(name)?
        {
            warnings.push(format!("madvise {flag} cannot be set again on {start:#x} ({e})"));
        }
    }
    if has_flag(mapping, "lo") {
        const MLOCK_ONFAULT: u64 = 1;
        let flags = if has_flag(mapping, "lf") { MLOCK_ONFAULT } else { 0 };
        if let Err(e) = remote
            .call(libc::SYS_mlock2, [start, len, flags, 0, 0, 0])
            .context(name)?
        {
            warnings.push(format!(
                "locked memory cannot be locked here ({e}); raise the limit (ulimit -l)"
            ));
        }
    }
    Ok(())
}

/// Advice that is visible in VmFlags.
const ADVICE: [(&str, i32); 6] = [
    ("dc", libc::MADV_DONTFORK),
    ("wf", libc::MADV_WIPEONFORK),
    ("dd", libc::MADV_DONTDUMP),
    ("mg", libc::MADV_MERGEABLE),
    ("sr", libc::MADV_SEQUENTIAL),
    ("rr", libc::MADV_RANDOM),
];
