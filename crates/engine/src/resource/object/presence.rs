//! Which pages of shared anonymous memory exist. Without a descriptor only a process that has it mapped is told,
//! by mincore(2): its own page tables do not show what others have touched, and to read a page makes it.

use super::{Object, Objects, Part};
use crate::Result;
use crate::error::Context;
use crate::resource::memory::PageRange;
use crate::resource::thread::ContextProc;
use rethaw_sys::proc::{self, Maps, Pid};
use rethaw_sys::remote::Remote;
use std::io;

/// Smaller mappings are saved as a whole.
const SMALL: u64 = 1 << 20;
const PAGE: u64 = rethaw_image::PAGE as u64;
/// Pages that one call tells of: as many as bytes fit into a foothold's arguments.
const PAGES_PER_CALL: usize = 3072;

impl Objects {
    /// Looks for pages in use of the objects that `pid` is to be read through. It has to stand still, and everybody
    /// who shares them with it.
    pub fn find_present(&mut self, pid: Pid, remote: &mut Remote<'_>) -> Result<()> {
        let objects = self
            .by_inode
            .values_mut()
            .filter(|object| object.told_by_mincore());
        let mut sparse: Vec<&mut Part> = objects
            .flat_map(|object| &mut object.mapped)
            .filter(|part| part.pid == pid && part.range.end - part.range.start > SMALL)
            .collect();
        let name = || format!("cannot look for memory in use of process {pid}");
        for part in &mut sparse {
            part.present = Some(present(&part.range, remote).context(name)?);
        }
        // What went to swap space meanwhile was not told of.
        if !sparse.is_empty() && proc::has_swap().unwrap_or(true) {
            let maps = Maps::read(pid).context_proc()?;
            let swapped = |range: &PageRange| maps.at(range.start).is_none_or(|vma| vma.swap_bytes > 0);
            for part in sparse.into_iter().filter(|part| swapped(&part.range)) {
                part.present = None;
            }
        }
        Ok(())
    }
}

impl Object {
    /// For memory in files mincore(2) tells what is cached, which is something else.
    fn told_by_mincore(&self) -> bool {
        let memory = self.record.ghost.is_none() && self.record.huge_page == 0;
        memory && self.file.is_none() && !self.swapped
    }
}

/// The parts of a range that exist.
fn present(range: &PageRange, remote: &mut Remote<'_>) -> io::Result<Vec<PageRange>> {
    let mut parts: Vec<PageRange> = Vec::new();
    let mut start = range.start;
    while start < range.end {
        let pages = ((range.end - start) / PAGE).min(PAGES_PER_CALL as u64);
        let told = remote.put(0, &[0; PAGES_PER_CALL])?;
        remote.must(libc::SYS_mincore, [start, pages * PAGE, told, 0, 0, 0])?;
        let told: [u8; PAGES_PER_CALL] = remote.get(0)?;
        for (address, _) in (start..)
            .step_by(PAGE as usize)
            .zip(&told[..pages as usize])
            .filter(|(_, page)| **page & 1 != 0)
        {
            match parts.last_mut() {
                Some(last) if last.end == address => last.end += PAGE,
                _ => parts.push(PageRange {
                    start: address,
                    end: address + PAGE,
                    at: range.at + (address - range.start),
                    ..range.clone()
                }),
            }
        }
        start += pages * PAGE;
    }
    Ok(parts)
}
