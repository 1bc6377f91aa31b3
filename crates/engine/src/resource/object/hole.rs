//! Holes of shared memory that no descriptor leads to. To read them would make pages of them: a segment of an MPI
//! library has gigabytes, most of which were never used.

use super::{Object, Objects};
use crate::Result;
use crate::error::Context;
use crate::resource::memory::PageRange;
use rethaw_sys::proc::Pid;
use rethaw_sys::ptrace::Stopped;
use rethaw_sys::remote::{Foothold, Remote};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

const PAGE: u64 = rethaw_image::PAGE as u64;

impl Objects {
    /// Leaves out the pages of mappings of `pid` that the memory's file does not have, as mincore(2) tells.
    pub fn leave_out_holes(&mut self, pid: Pid, leader: &mut Stopped, foothold: &Foothold) -> Result<()> {
        let mut objects: Vec<&mut Object> = self
            .by_inode
            .iter_mut()
            .filter(|((dev, _), object)| object.is_in_memory(*dev) && object.has_large_part(pid))
            .map(|(_, object)| object)
            .collect();
        if objects.is_empty() || swap_in_use() {
            return Ok(());
        }
        let name = || format!("cannot ask for the memory in use of process {pid}");
        let mut remote = Remote::begin(leader, foothold).context(name)?;
        for object in &mut objects {
            object.keep_used(pid, &mut remote).context(name)?;
        }
        remote.end().context(name)
    }
}

impl Object {
    /// What is not in memory is a hole, and not on a disk: shared anonymous memory, a memfd, a file of a tmpfs.
    fn is_in_memory(&self, dev: u64) -> bool {
        let folder = self.record.ghost.as_ref().and_then(|ghost| {
            let path = crate::resource::file::path_of(&ghost.path);
            path.parent().map(Path::to_path_buf)
        });
        let on_tmpfs = |folder: &Path| {
            const TMPFS: i64 = 0x0102_1994;
            fs::metadata(folder).is_ok_and(|m| m.dev() == dev)
                && rustix::fs::statfs(folder).is_ok_and(|fs| fs.f_type == TMPFS)
        };
        self.file.is_none() && self.record.huge_page == 0 && folder.is_none_or(|folder| on_tmpfs(&folder))
    }

    fn has_large_part(&self, pid: Pid) -> bool {
        const LARGE: u64 = 1 << 20;
        let mut parts = self.mapped.iter();
        parts.any(|(of, range)| *of == pid && range.end - range.start > LARGE)
    }

    fn keep_used(&mut self, pid: Pid, remote: &mut Remote<'_>) -> io::Result<()> {
        let parts = std::mem::take(&mut self.mapped);
        for (of, range) in parts {
            if of == pid {
                let used = used_parts(&range, remote)?;
                self.mapped.extend(used.into_iter().map(|part| (pid, part)));
            } else {
                self.mapped.push((of, range));
            }
        }
        Ok(())
    }
}

fn used_parts(range: &PageRange, remote: &mut Remote<'_>) -> io::Result<Vec<PageRange>> {
    const PAGES: usize = 2048;
    let mut used: Vec<PageRange> = Vec::new();
    for start in (range.start..range.end).step_by(PAGES * PAGE as usize) {
        let len = (range.end - start).min(PAGES as u64 * PAGE);
        let out = remote.put(0, &[0; PAGES])?;
        remote.must(libc::SYS_mincore, [start, len, out, 0, 0, 0])?;
        let told: [u8; PAGES] = remote.get(0)?;
        let pages = (start..start + len).step_by(PAGE as usize).zip(told);
        for (page, _) in pages.filter(|(_, told)| told & 1 == 1) {
            match used.last_mut() {
                Some(last) if last.end == page => last.end += PAGE,
                _ => used.push(PageRange {
                    start: page,
                    end: page + PAGE,
                    at: range.at + (page - range.start),
                    ..range.clone()
                }),
            }
        }
    }
    Ok(used)
}

/// mincore(2) does not tell a page in swap from one that was never there.
fn swap_in_use() -> bool {
    let Ok(text) = fs::read_to_string("/proc/meminfo") else {
        return true;
    };
    let field = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim().split(' ').next()?.parse::<u64>().ok()
    };
    match (field("SwapTotal:"), field("SwapFree:")) {
        (Some(total), Some(free)) => total != free,
        _ => true,
    }
}
