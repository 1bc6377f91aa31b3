//! Tests of the page map against the mappings of the test process itself.

#![allow(clippy::unwrap_used)]

use super::*;
use proptest::prelude::*;
use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap, mmap_anonymous, munmap};
use std::ptr::null_mut;

const PAGE: usize = 4096;

/// Pages mapped for one test.
struct Mapped {
    start: *mut u8,
    pages: usize,
}

impl Mapped {
    fn anonymous(pages: usize) -> Mapped {
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new mapping at a place of the kernel's choice touches no existing memory.
        let start =
            unsafe { mmap_anonymous(null_mut(), pages * PAGE, protection, MapFlags::PRIVATE) }.unwrap();
        // SAFETY: the advice is for the pages mapped above and only changes their size.
        unsafe { madvise(start, pages * PAGE, Advice::LinuxNoHugepage) }.unwrap();
        Mapped {
            start: start.cast(),
            pages,
        }
    }

    fn file(file: &File, pages: usize) -> Mapped {
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: as in `anonymous`; nobody truncates the test's own file.
        let start =
            unsafe { mmap(null_mut(), pages * PAGE, protection, MapFlags::PRIVATE, file, 0) }.unwrap();
        Mapped {
            start: start.cast(),
            pages,
        }
    }

    fn write(&self, page: usize) {
        assert!(page < self.pages);
        // SAFETY: the byte lies in the mapping, which is writable and lives as long as `self`.
        unsafe { self.start.add(page * PAGE).write_volatile(1) }
    }

    fn read(&self, page: usize) {
        assert!(page < self.pages);
        // SAFETY: the byte lies in the mapping, which is readable and lives as long as `self`.
        unsafe { self.start.add(page * PAGE).read_volatile() };
    }

    fn range(&self) -> Range {
        let start = self.start as u64;
        Range {
            start,
            end: start + (self.pages * PAGE) as u64,
        }
    }

    /// The numbers of the pages in these ranges.
    fn numbers(&self, ranges: &[Range]) -> Vec<usize> {
        let number = |address| (address - self.start as u64) as usize / PAGE;
        ranges
            .iter()
            .flat_map(|range| number(range.start)..number(range.end))
            .collect()
    }

    fn pages_to_save(&self, private_file: bool) -> Vec<usize> {
        let Range { start, end } = self.range();
        self.numbers(&super::pages_to_save(Pid::own(), start, end, private_file).unwrap())
    }

    fn entries(&self, query: Query) -> Vec<usize> {
        let regions = Pagemap::open(Pid::own())
            .unwrap()
            .read_entries(self.range(), query)
            .unwrap();
        self.numbers(&regions.iter().map(|region| region.range).collect::<Vec<_>>())
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        // SAFETY: `self` owns exactly these pages, and nothing refers to them any more.
        unsafe { munmap(self.start.cast(), self.pages * PAGE) }.unwrap();
    }
}

#[test]
fn structures_have_the_kernels_size() {
    assert_eq!((size_of::<ScanArgument>(), size_of::<RawRegion>()), (96, 24));
}

#[test]
fn touched_anonymous_pages_are_saved() {
    let mapped = Mapped::anonymous(64);
    for page in [0, 3, 4, 5, 63] {
        mapped.write(page);
    }
    mapped.read(10);
    mapped.read(20);
    mapped.write(20);
    assert_eq!(mapped.pages_to_save(false), [0, 3, 4, 5, 20, 63]);
}

#[test]
fn changed_pages_of_a_private_file_are_saved() {
    let file = tempfile::tempfile().unwrap();
    file.set_len(32 * PAGE as u64).unwrap();
    let mapped = Mapped::file(&file, 32);
    for page in 0..16 {
        mapped.read(page);
    }
    for page in [1, 2, 20] {
        mapped.write(page);
    }
    assert_eq!(mapped.pages_to_save(true), [1, 2, 20]);
    assert!(mapped.pages_to_save(false).len() >= 17);
}

#[test]
fn entries_tell_the_same_without_the_zero_page() {
    let mapped = Mapped::anonymous(64);
    for page in [0, 3, 4, 5, 63] {
        mapped.write(page);
    }
    let any = Categories::PRESENT.and(Categories::SWAPPED);
    let query = Query {
        any,
        ..Query::default()
    };
    assert_eq!(mapped.entries(query), [0, 3, 4, 5, 63]);
    let file = tempfile::tempfile().unwrap();
    file.set_len(8 * PAGE as u64).unwrap();
    let mapped = Mapped::file(&file, 8);
    mapped.read(1);
    mapped.write(2);
    assert_eq!(
        mapped.entries(Query {
            none: Categories::FILE,
            ..query
        }),
        [2]
    );
}

#[test]
fn guards_are_told_and_not_saved() {
    let mapped = Mapped::anonymous(8);
    (0..8).for_each(|page| mapped.write(page));
    const MADV_GUARD_INSTALL: i32 = 102;
    // SAFETY: pages 2 and 3 of the test's own mapping, which are not touched afterwards.
    let installed = unsafe { libc::madvise(mapped.start.add(2 * PAGE).cast(), 2 * PAGE, MADV_GUARD_INSTALL) };
    if installed != 0 {
        eprintln!("skipped: this kernel has no guards");
        return;
    }
    let map = Pagemap::open(Pid::own()).unwrap();
    let guards = map.guards(mapped.range()).unwrap();
    assert_eq!(mapped.numbers(&guards), [2, 3]);
    assert_eq!(mapped.pages_to_save(false), [0, 1, 4, 5, 6, 7]);
    let query = Query {
        all: Categories::GUARD,
        ..Query::default()
    };
    assert_eq!(mapped.entries(query), [2, 3]);
}

#[test]
fn more_regions_than_one_call_returns_are_found() {
    let mapped = Mapped::anonymous(3 * REGIONS_PER_CALL);
    let odd: Vec<usize> = (0..mapped.pages).filter(|page| page % 2 == 1).collect();
    odd.iter().for_each(|&page| mapped.write(page));
    assert!(mapped.pages_to_save(false) == odd);
    let any = Categories::PRESENT;
    assert_eq!(
        mapped.entries(Query {
            any,
            ..Query::default()
        }),
        odd
    );
}

#[test]
fn huge_pages_read_but_never_written_are_not_saved() {
    let mapped = Mapped::anonymous(2048);
    // SAFETY: the advice is for the test's own pages and only changes their size.
    unsafe { madvise(mapped.start.cast(), 2048 * PAGE, Advice::LinuxHugepage) }.unwrap();
    mapped.read(0);
    mapped.read(1024);
    let saved = mapped.pages_to_save(false);
    if !saved.is_empty() {
        eprintln!(
            "this kernel does not tell the huge page of zeros: {} pages",
            saved.len()
        );
    }
}

proptest! {
    #[test]
    fn touched_pages_are_exactly_those_found(touched in proptest::collection::btree_set(0..100usize, 0..50)) {
        let mapped = Mapped::anonymous(100);
        touched.iter().for_each(|&page| mapped.write(page));
        prop_assert_eq!(mapped.pages_to_save(false), touched.into_iter().collect::<Vec<_>>());
    }
}
