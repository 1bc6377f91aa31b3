//! `/proc/PID/pagemap`: which pages of a process exist, and where they come from.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use super::{Error, Pid, Range, Result, Subject};

/// What the kernel knows of a page: the PAGE_IS_ bits of the ioctl PAGEMAP_SCAN (ioctl_pagemap_scan(2)).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Categories(pub u64);

impl Categories {
    /// Asynchronous write-protection by userfaultfd works here.
    pub const WP_ALLOWED: Categories = Categories(1 << 0);
    /// Written since it was write-protected that way; always set where it never was.
    pub const WRITTEN: Categories = Categories(1 << 1);
    /// Belongs to a file or to shared memory.
    pub const FILE: Categories = Categories(1 << 2);
    /// In memory.
    pub const PRESENT: Categories = Categories(1 << 3);
    /// In swap space, or a marker (guard, migration, write-protection of an absent page).
    pub const SWAPPED: Categories = Categories(1 << 4);
    /// The shared page of zeros.
    pub const ZERO: Categories = Categories(1 << 5);
    /// Part of a huge page.
    pub const HUGE: Categories = Categories(1 << 6);
    /// Written since soft-dirty bits were cleared (CONFIG_MEM_SOFT_DIRTY).
    pub const SOFT_DIRTY: Categories = Categories(1 << 7);
    /// madvise(2) MADV_GUARD_INSTALL: a touch is a SIGSEGV (the mark Linux 6.13, shown here since 6.15).
    pub const GUARD: Categories = Categories(1 << 8);

    /// Whether all of `other` are in it.
    pub fn has(self, other: Categories) -> bool {
        self.0 & other.0 == other.0
    }

    /// Those in either.
    pub const fn and(self, other: Categories) -> Categories {
        Categories(self.0 | other.0)
    }

    const fn without(self, other: Categories) -> Categories {
        Categories(self.0 & !other.0)
    }
}

/// Adjoining pages of the same categories.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Region {
    /// Their addresses.
    pub range: Range,
    /// The categories, of those that the query wanted told.
    pub categories: Categories,
}

/// Which pages [`Pagemap::scan`] returns: those that have all of `all`, none of `none`, and some of `any`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Query {
    /// Required.
    pub all: Categories,
    /// Excluded.
    pub none: Categories,
    /// At least one of these, unless empty.
    pub any: Categories,
    /// To be told in [`Region::categories`].
    pub told: Categories,
    /// Write-protect the returned pages in the same step (PM_SCAN_WP_MATCHING), so that [`Categories::WRITTEN`]
    /// tells the next scan what was written after this one. The range must be registered with a userfaultfd
    /// that has UFFD_FEATURE_WP_ASYNC.
    pub write_protect: bool,
}

/// The page map of one address space. It stays with that address space, whatever the process executes later.
#[derive(Debug)]
pub struct Pagemap {
    file: File,
    path: PathBuf,
}

/// struct pm_scan_arg of linux/fs.h (Linux 6.7).
#[repr(C)]
#[derive(Default)]
struct ScanArgument {
    size: u64,
    flags: u64,
    start: u64,
    end: u64,
    walk_end: u64,
    vec: u64,
    vec_len: u64,
    max_pages: u64,
    category_inverted: u64,
    category_mask: u64,
    category_anyof_mask: u64,
    return_mask: u64,
}

/// struct page_region of linux/fs.h.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct RawRegion {
    start: u64,
    end: u64,
    categories: u64,
}

/// `_IOWR('f', 16, struct pm_scan_arg)`.
const PAGEMAP_SCAN: libc::Ioctl = 0xc060_6610_u32 as libc::Ioctl;
const PM_SCAN_WP_MATCHING: u64 = 1 << 0;
const PM_SCAN_CHECK_WPASYNC: u64 = 1 << 1;
const REGIONS_PER_CALL: usize = 2048;
const ENTRIES_PER_READ: u64 = 8192;

impl Pagemap {
    /// Opens the page map of a process; needs permission to trace it.
    pub fn open(pid: Pid) -> Result<Pagemap> {
        let path = pid.folder().join("pagemap");
        let file = File::open(&path).map_err(|source| Error::read(&path, source))?;
        Ok(Pagemap { file, path })
    }

    /// The pages between two page-aligned user addresses that answer the query, ascending. Holes between mappings
    /// answer none.
    ///
    /// # Errors
    /// The kernel's: ENOTTY before Linux 6.7, EINVAL for categories that it does not know, EPERM for
    /// `write_protect` outside of a registered range.
    pub fn scan(&self, range: Range, query: Query) -> Result<Vec<Region>> {
        self.try_scan(range, query).map_err(|source| self.error(source))
    }

    /// The pages that must be saved for the contents of a mapping to come back: those in memory or in swap, but
    /// not guards, and not the page of zeros or (with `private_file`) pages that still are the file's.
    ///
    /// Meant for private mappings. Pages of shared memory that are in swap look absent: save those through their
    /// file. Write-protection markers on absent pages count as pages (they read as zeros, or as the file).
    /// Before Linux 6.7 the page of zeros cannot be told and is returned, too.
    pub fn pages_to_save(&self, range: Range, private_file: bool) -> Result<Vec<Range>> {
        // A swapped page that is the file's is one on its way to another memory node, see SWAPPED. The page of zeros
        // hides the file's contents if a userfaultfd put it there (UFFDIO_ZEROPAGE on a private memfd mapping).
        let clean = if private_file {
            Categories::FILE
        } else {
            Categories::ZERO
        };
        let none = clean.and(Categories::GUARD);
        let any = Categories::PRESENT.and(Categories::SWAPPED);
        let regions = self.scan_on_any_kernel(
            range,
            Query {
                none,
                any,
                ..Query::default()
            },
        )?;
        Ok(joined(regions.into_iter().map(|region| region.range)))
    }

    /// The guards that madvise(2) MADV_GUARD_INSTALL made. None are found on Linux 6.13 and 6.14.
    pub fn guards(&self, range: Range) -> Result<Vec<Range>> {
        let query = Query {
            all: Categories::GUARD,
            ..Query::default()
        };
        let regions = match self.try_scan(range, query) {
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => Vec::new(),
            _ => self.scan_on_any_kernel(range, query)?,
        };
        Ok(joined(regions.into_iter().map(|region| region.range)))
    }

    /// Scans without the categories that the kernel does not know, or by reading the entries.
    fn scan_on_any_kernel(&self, range: Range, query: Query) -> Result<Vec<Region>> {
        let scanned = match self.try_scan(range, query) {
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
                let none = query.none.without(Categories::GUARD);
                self.try_scan(range, Query { none, ..query })
            }
            Err(error) if error.raw_os_error() == Some(libc::ENOTTY) => self.read_entries(range, query),
            scanned => scanned,
        };
        scanned.map_err(|source| self.error(source))
    }

    /// Calls until all is scanned. A call that returns less than fits has come to the end; its `walk_end` then may
    /// be too low (a stale value of the kernel's inner loop over 512 regions, `do_pagemap_scan`, measured on
    /// Linux 6.18), and following it would find pages twice.
    fn try_scan(&self, range: Range, query: Query) -> io::Result<Vec<Region>> {
        let mut found = Vec::new();
        let mut buffer = vec![RawRegion::default(); REGIONS_PER_CALL];
        let mut start = range.start;
        while start < range.end {
            let (filled, walk_end) = self.scan_once(
                Range {
                    start,
                    end: range.end,
                },
                query,
                &mut buffer,
            )?;
            found.extend(buffer.iter().take(filled).map(|raw| Region {
                range: Range {
                    start: raw.start,
                    end: raw.end,
                },
                categories: Categories(raw.categories),
            }));
            start = match buffer.get(filled.wrapping_sub(1)) {
                Some(last) if filled == buffer.len() => walk_end.max(last.end),
                _ => range.end,
            };
        }
        Ok(found)
    }

    /// One call: how many regions it filled, and how far it came.
    fn scan_once(&self, range: Range, query: Query, buffer: &mut [RawRegion]) -> io::Result<(usize, u64)> {
        let write_protect = PM_SCAN_WP_MATCHING | PM_SCAN_CHECK_WPASYNC;
        let mut argument = ScanArgument {
            size: size_of::<ScanArgument>() as u64,
            flags: if query.write_protect { write_protect } else { 0 },
            start: range.start,
            end: range.end,
            vec: buffer.as_mut_ptr() as u64,
            vec_len: buffer.len() as u64,
            category_inverted: query.none.0,
            category_mask: query.all.and(query.none).0,
            category_anyof_mask: query.any.0,
            return_mask: query.told.0,
            ..ScanArgument::default()
        };
        // SAFETY: `argument` and `buffer` have the kernel's layouts (repr(C), checked by a test) and outlive the
        // call; the kernel writes at most `vec_len` regions to `vec` and `walk_end` to the argument.
        let filled = unsafe { libc::ioctl(self.file.as_raw_fd(), PAGEMAP_SCAN, &raw mut argument) };
        let filled = usize::try_from(filled).map_err(|_| io::Error::last_os_error())?;
        Ok((filled, argument.walk_end))
    }

    /// The slow way of kernels before 6.7: eight bytes for every page, present or not.
    fn read_entries(&self, range: Range, query: Query) -> io::Result<Vec<Region>> {
        let page = rustix::param::page_size() as u64;
        let mut found: Vec<Region> = Vec::new();
        let mut buffer = vec![0; ENTRIES_PER_READ as usize * 8];
        let mut at = range.start / page;
        let last = range.end / page;
        while at < last {
            let wanted = (last - at).min(ENTRIES_PER_READ) as usize * 8;
            let read = self.file.read_at(&mut buffer[..wanted], at * 8)? / 8;
            if read == 0 {
                break;
            }
            for (index, bytes) in buffer.as_chunks::<8>().0.iter().take(read).enumerate() {
                let categories = entry_categories(u64::from_ne_bytes(*bytes));
                if matches(categories, query) {
                    let start = (at + index as u64) * page;
                    let told = Categories(categories.0 & query.told.0);
                    push(
                        &mut found,
                        Region {
                            range: Range {
                                start,
                                end: start + page,
                            },
                            categories: told,
                        },
                    );
                }
            }
            at += read as u64;
        }
        Ok(found)
    }

    fn error(&self, source: io::Error) -> Error {
        Error::read(&self.path, source)
    }
}

/// [`Pagemap::pages_to_save`] of the addresses from `start` to `end` of a process.
pub fn pages_to_save(pid: Pid, start: u64, end: u64, private_file: bool) -> Result<Vec<Range>> {
    Pagemap::open(pid)?.pages_to_save(Range { start, end }, private_file)
}

/// The bits of an entry (proc_pid_pagemap(5), Documentation/admin-guide/mm/pagemap.rst), as far as they are
/// categories. Frame numbers are hidden from ordinary users, so the page of zeros cannot be told.
fn entry_categories(entry: u64) -> Categories {
    const BITS: [(u32, Categories); 5] = [
        (63, Categories::PRESENT),
        (62, Categories::SWAPPED),
        (61, Categories::FILE),
        (58, Categories::GUARD),
        (55, Categories::SOFT_DIRTY),
    ];
    let set = BITS.iter().filter(|(bit, _)| entry >> bit & 1 == 1);
    set.fold(Categories::default(), |all, (_, category)| all.and(*category))
}

fn matches(categories: Categories, query: Query) -> bool {
    let any = query.any.0 == 0 || categories.0 & query.any.0 != 0;
    categories.has(query.all) && categories.0 & query.none.0 == 0 && any
}

fn push(regions: &mut Vec<Region>, next: Region) {
    match regions.last_mut() {
        Some(last) if last.range.end == next.range.start && last.categories == next.categories => {
            last.range.end = next.range.end;
        }
        _ => regions.push(next),
    }
}

/// Ascending ranges with those that touch made one.
fn joined(ranges: impl Iterator<Item = Range>) -> Vec<Range> {
    let mut all: Vec<Range> = Vec::new();
    for range in ranges {
        match all.last_mut() {
            Some(last) if last.end == range.start => last.end = range.end,
            _ => all.push(range),
        }
    }
    all
}

#[cfg(test)]
#[path = "pagemap_tests.rs"]
mod tests;
