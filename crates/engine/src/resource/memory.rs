//! Address spaces: mappings, their pages, and the boundaries that the kernel knows.

mod classify;
mod exe;
mod guard;
mod inherit;
mod key;
mod layout;
pub(crate) mod lock;
mod map;
mod pages;
mod policy;
pub(crate) mod seal;

pub(crate) use self::pages::PageRange;

use self::inherit::Part;
use super::object::{Objects, RebuiltObjects};
use super::{aio, numa, sysv, vdso};
use crate::Result;
use crate::checkpoint::Progress;
use crate::checkpoint::refusals::Refusals;
use crate::error::Context;
use crate::restart::{Plan, Stub};
use rethaw_image::ImageReader;
use rethaw_image::record::{Backing, MappingV1, MemoryV1, ProcessV1};
use rethaw_sys::proc::{Maps, Pid};
use rethaw_sys::remote::Remote;
use std::fs;

/// Collects the address space of a frozen process. Gives the record and the pages to be saved.
pub(crate) fn collect(
    pid: Pid,
    stream: u32,
    maps: &Maps,
    objects: &mut Objects,
    refusals: &Refusals,
) -> Result<(MemoryV1, Vec<PageRange>)> {
    let mut record = MemoryV1 {
        stream,
        ..MemoryV1::default()
    };
    let mut pages = Vec::new();
    exe::collect(pid, &mut record, objects)?;
    for vma in maps.vmas.iter().filter(|vma| vma.name != b"[vsyscall]") {
        let Some(mapping) = refusals.pass(classify::classify(pid, vma, objects))? else {
            continue;
        };
        pages.extend(pages::pages_to_save(pid, stream, vma, &mapping)?);
        record.mappings.push(mapping);
    }
    if let Some(vdso) = maps.named(b"[vdso]") {
        record.vdso = vec![0; vdso.bytes() as usize];
        rethaw_sys::memory::read(pid, vdso.start, &mut record.vdso)
            .context(|| format!("cannot read the vdso of process {pid}"))?;
    }
    record.auxv =
        fs::read(format!("/proc/{pid}/auxv")).context(|| format!("cannot read /proc/{pid}/auxv"))?;
    record.layout = Some(layout::collect(pid)?);
    record.guards = guard::collect(pid)?;
    Ok((record, pages))
}

/// What only the process itself is told of its memory.
pub(crate) fn collect_inside(pid: Pid, record: &mut MemoryV1, remote: &mut Remote<'_>) -> Result<()> {
    layout::ask_break(record, remote)?;
    lock::collect(pid, record, remote)?;
    key::collect(record, remote)?;
    policy::collect(pid, record, remote)
}

/// Where the contents of mappings come from.
pub(crate) struct Sources<'a> {
    pub plan: &'a Plan,
    pub process: &'a ProcessV1,
    pub objects: &'a RebuiltObjects,
    /// The process that the stub is a clone of, with its memory rebuilt.
    pub parent: Option<&'a MemoryV1>,
}

/// Rebuilds an address space in a stub that is still a clone of its parent.
pub(crate) fn rebuild(
    stub: &mut Stub,
    record: &MemoryV1,
    reader: &ImageReader,
    sources: &Sources<'_>,
    progress: Progress<'_>,
    warnings: &mut Vec<String>,
) -> Result<()> {
    let mut parts = inherit::split(sources.parent, record);
    // Mapped when there are threads, which it needs (`uring.rs`).
    parts.retain(|part| part.mapping.backing() != Backing::IoRing);
    let kept: Vec<_> = parts.iter().filter(|part| part.kept).map(Part::range).collect();
    stub.keep_only(&kept)?;
    // Before anything is mapped anew: the kernel changes the executable only while the one before it is not mapped.
    let same_program = sources
        .parent
        .is_some_and(|parent| parent.exe == record.exe && parent.exe_object == record.exe_object);
    layout::rebuild(stub, record, sources, same_program, warnings)?;
    vdso::rebuild(stub, sources.process, warnings)?;
    sysv::attach(stub, &record.mappings, sources.plan)?;
    key::begin(stub, record, sources.parent)?;
    let (pieces, stale) = pages::to_write(reader, record, sources.parent, &parts)?;
    for range in stale {
        map::forget_pages(stub, &range)?;
    }
    for Part { mapping, kept } in &parts {
        let filled = pages::has_pages(mapping, &pieces);
        match kept {
            true => map::allow_to_fill(stub, mapping, filled)?,
            false => {
                map::map(stub, mapping, filled, sources)?;
                numa::rebuild_mapping(&mut stub.remote()?, mapping, warnings)
                    .context(|| format!("cannot set the NUMA policy of {:#x}", mapping.start))?;
            }
        }
    }
    aio::rebuild(stub, &record.mappings, warnings)?;
    pages::fill(stub.pid, reader, &pieces, &record.mappings, progress)?;
    for Part { mapping, kept } in &parts {
        let filled = pages::has_pages(mapping, &pieces);
        match kept {
            true => map::protect(stub, mapping, filled)?,
            false => {
                map::finish(stub, mapping, filled, warnings)?;
                key::assign(stub, record, mapping)?;
            }
        }
    }
    key::end(stub, record, sources.parent)?;
    guard::rebuild(stub, &record.guards)
}

fn has_flag(mapping: &MappingV1, flag: &str) -> bool {
    mapping.flags.iter().any(|f| f == flag)
}
