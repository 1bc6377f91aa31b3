//! Maps the areas of io_uring instances at their addresses. The kernel refuses an address for such a mapping, also with
//! MAP_FIXED and mremap(2) (io_uring_get_unmapped_area; tried on Linux 6.18). So all other room is taken while they are
//! mapped, and the kernel finds the one hole that is left.

use super::PAGE;
use super::rebuild::fetch;
use crate::Result;
use crate::error::{Context, Error};
use crate::resource::thread::ContextProc;
use crate::restart::{Plan, Stub, damaged};
use rethaw_image::record::{Backing, DescriptionKind, MappingV1, ProcessV1};
use rethaw_sys::arch::TASK_SIZE;
use rethaw_sys::proc::Maps;
use rethaw_sys::remote::Remote;
use std::io;
use std::ops::Range;

/// Nothing is mapped below (vm.mmap_min_addr).
const LOWEST: u64 = 16 * PAGE;

/// Maps the areas that a process has.
pub(super) fn map_areas(plan: &Plan, process: &ProcessV1, stubs: &mut [Stub], index: usize) -> Result<()> {
    let mappings = process.memory.iter().flat_map(|memory| &memory.mappings);
    let areas: Vec<&MappingV1> = mappings
        .filter(|mapping| mapping.backing() == Backing::IoRing)
        .collect();
    let Some(stub) = stubs.get_mut(index).filter(|_| !areas.is_empty()) else {
        return Ok(());
    };
    let name = || format!("cannot map an io_uring instance in process {}", process.pid);
    let maps = Maps::read_brief(stub.pid).context_proc()?;
    let room = gaps(maps.vmas.iter().map(|vma| vma.start..vma.end));
    let mut remote = stub.remote()?;
    for range in &room {
        take(&mut remote, range).context(name)?;
    }
    for area in &areas {
        map(&mut remote, plan, process, area)?;
    }
    for range in without(&room, &areas) {
        give_back(&mut remote, &range).context(name)?;
    }
    Ok(())
}

fn take(remote: &mut Remote<'_>, range: &Range<u64>) -> io::Result<()> {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE | libc::MAP_FIXED_NOREPLACE;
    let len = range.end - range.start;
    let arguments = [
        range.start,
        len,
        libc::PROT_NONE as u64,
        flags as u64,
        u64::MAX,
        0,
    ];
    remote.must(libc::SYS_mmap, arguments).map(drop)
}

fn give_back(remote: &mut Remote<'_>, range: &Range<u64>) -> io::Result<()> {
    let arguments = [range.start, range.end - range.start, 0, 0, 0, 0];
    remote.must(libc::SYS_munmap, arguments).map(drop)
}

fn map(remote: &mut Remote<'_>, plan: &Plan, process: &ProcessV1, area: &MappingV1) -> Result<()> {
    let name = || format!("cannot map an io_uring instance at {:#x}", area.start);
    let (fd, fetched) = descriptor(remote, plan, process, area)?;
    let (range, len) = (area.start..area.end, area.end - area.start);
    give_back(remote, &range).context(name)?;
    let shared = libc::MAP_SHARED as u64;
    let arguments = [0, len, area.protection.into(), shared, fd, area.offset];
    let mapped = remote.must(libc::SYS_mmap, arguments).context(name)?;
    if fetched {
        remote.must(libc::SYS_close, [fd, 0, 0, 0, 0, 0]).context(name)?;
    }
    if mapped != area.start {
        return Err(Error::CannotRestart {
            what: format!(
                "the kernel maps io_uring instances elsewhere than at {:#x}",
                area.start
            ),
            remedy: "tell the makers of rethaw about it".to_owned(),
        });
    }
    for (flag, advice) in [("dc", libc::MADV_DONTFORK), ("dd", libc::MADV_DONTDUMP)] {
        if area.flags.iter().any(|has| has == flag) {
            remote
                .must(libc::SYS_madvise, [area.start, len, advice as u64, 0, 0, 0])
                .context(name)?;
        }
    }
    Ok(())
}

/// The number of an instance's descriptor in this process, and whether it is only there for now.
fn descriptor(
    remote: &mut Remote<'_>,
    plan: &Plan,
    process: &ProcessV1,
    area: &MappingV1,
) -> Result<(u64, bool)> {
    let missing = || damaged("a mapping of an io_uring instance that is missing");
    let mut records = plan.descriptions.values();
    let found = records.find(
        |record| matches!(&record.kind, Some(DescriptionKind::Ring(ring)) if ring.inode == area.io_ring),
    );
    let id = found.ok_or_else(missing)?.id;
    let number = |process: &ProcessV1| {
        let mut table = process.descriptors.iter();
        table.find(|d| d.description == id).map(|d| d.fd as u64)
    };
    if let Some(fd) = number(process) {
        return Ok((fd, false));
    }
    let mut others = plan.processes.iter();
    let (pid, fd) = others
        .find_map(|other| Some((other.pid, number(other)?)))
        .ok_or_else(missing)?;
    let fetched = fetch(remote, pid, fd).context(|| "cannot duplicate a descriptor".to_owned())?;
    Ok((fetched, true))
}

/// What lies between ascending ranges.
fn gaps(taken: impl Iterator<Item = Range<u64>>) -> Vec<Range<u64>> {
    let mut gaps = Vec::new();
    let mut at = LOWEST;
    for range in taken.filter(|range| range.start < TASK_SIZE) {
        if at < range.start {
            gaps.push(at..range.start);
        }
        at = at.max(range.end);
    }
    if at < TASK_SIZE {
        gaps.push(at..TASK_SIZE);
    }
    gaps
}

/// Ranges without the areas, which ascend, too.
fn without(ranges: &[Range<u64>], areas: &[&MappingV1]) -> Vec<Range<u64>> {
    let mut left = Vec::new();
    for range in ranges {
        let mut at = range.start;
        for area in areas.iter().filter(|area| range.contains(&area.start)) {
            if at < area.start {
                left.push(at..area.start);
            }
            at = area.end;
        }
        if at < range.end {
            left.push(at..range.end);
        }
    }
    left
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_what_is_left() {
        let taken = [0x20_000..0x30_000, 0x30_000..0x40_000, 0x50_000..0x60_000];
        let room = gaps(taken.into_iter());
        assert_eq!(room, [LOWEST..0x20_000, 0x40_000..0x50_000, 0x60_000..TASK_SIZE]);
        let area = |start, end| MappingV1 {
            start,
            end,
            ..MappingV1::default()
        };
        let areas = [area(0x40_000, 0x41_000), area(0x43_000, 0x44_000)];
        let left = without(&room, &areas.iter().collect::<Vec<_>>());
        let expected = [
            LOWEST..0x20_000,
            0x41_000..0x43_000,
            0x44_000..0x50_000,
            0x60_000..TASK_SIZE,
        ];
        assert_eq!(left, expected);
    }
}
