//! What the memory of an io_uring instance tells of its past: how it is laid out, and whether all its operations have
//! completed. The kernel shows neither.

use rethaw_sys::proc::RingInfo;
use rethaw_sys::uring::place;

const PAGE: u64 = rethaw_image::PAGE as u64;

/// IORING_SETUP_SQE128, IORING_SETUP_CQE32, IORING_SETUP_NO_SQARRAY.
pub(super) const LARGE_ENTRIES: u32 = 1 << 10;
pub(super) const LARGE_COMPLETIONS: u32 = 1 << 11;
pub(super) const NO_ARRAY: u32 = 1 << 16;

/// Bytes of an entry and of a completion, if they are not large.
pub(super) const ENTRY: u64 = 64;
pub(super) const COMPLETION: u64 = 16;

/// The memory of an instance.
pub(super) struct Memory {
    pub rings: Vec<u8>,
    pub entries: Vec<u8>,
}

/// What the instance can be said to have done.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Balance {
    /// Every operation has completed.
    Complete,
    /// Operations are in flight, or cannot be told from others: there were such as complete many times or never.
    Open,
    /// It has been given buffers to choose from.
    Buffers,
}

impl Memory {
    pub fn word(&self, at: u64) -> u32 {
        word(&self.rings, at)
    }

    /// Whether the words that say how large it is are where they are expected.
    pub fn is_known(&self, info: &RingInfo) -> bool {
        let words = [info.sq_mask, info.cq_mask, info.sq_mask + 1, info.cq_mask + 1];
        let found = [0, 4, 8, 12].map(|at| self.word(place::SQ_MASK + at));
        found == words
    }

    /// Setup flags that change the layout. A large completion or entry is told by the number of pages, and in a very
    /// small instance by what lies where a plain one would have nothing.
    pub fn layout(&self, info: &RingInfo) -> u32 {
        let (sq, cq) = (u64::from(info.sq_mask) + 1, u64::from(info.cq_mask) + 1);
        let mut flags = 0;
        let end = |size: u64| place::COMPLETIONS + cq * size;
        let plain = end(COMPLETION) + sq * 4;
        let len = self.rings.len() as u64;
        let fits = len >= end(2 * COMPLETION);
        if fits && (len > plain.next_multiple_of(PAGE) || !zero(&self.rings, plain, len)) {
            flags |= LARGE_COMPLETIONS;
        }
        if self.array(flags, cq) + sq * 4 > len {
            flags |= NO_ARRAY;
        }
        let len = self.entries.len() as u64;
        if len >= 2 * sq * ENTRY && !zero(&self.entries, sq * ENTRY, len)
            || len > (sq * ENTRY).next_multiple_of(PAGE)
        {
            flags |= LARGE_ENTRIES;
        }
        flags
    }

    /// Where the array of indices begins.
    fn array(&self, flags: u32, cq: u64) -> u64 {
        place::COMPLETIONS + cq * completion_bytes(flags)
    }

    /// A program that uses no array of indices (IORING_SETUP_NO_SQARRAY) cannot always be told from one that has not
    /// filled it yet. It gets one that says what the kernel would have done without. Only a program that has submitted
    /// several operations, all from the first entry, relies on zeros.
    pub fn fill_array(&mut self, info: &RingInfo, flags: u32) {
        let (sq, cq) = (u64::from(info.sq_mask) + 1, u64::from(info.cq_mask) + 1);
        let start = self.array(flags, cq);
        let end = start + sq * 4;
        if flags & NO_ARRAY != 0 || !zero(&self.rings, start, end) {
            return;
        }
        let size = entry_bytes(flags);
        let used = u64::from(info.taken).min(sq);
        if info.taken >= 2 && zero(&self.entries, size, used * size) {
            return;
        }
        for (index, bytes) in (0_u32..).zip(self.rings[start as usize..end as usize].chunks_exact_mut(4)) {
            bytes.copy_from_slice(&index.to_ne_bytes());
        }
    }

    /// Whether every operation has completed. An operation takes one entry and gives one completion. Exceptions are those
    /// that go on after a completion, or whose buffers are given back later (both mark it so), and those that are not
    /// to give one at all. As long as every completion is still in the ring, they can be counted; later the sums have to
    /// be equal, and no exception may be in sight.
    pub fn balance(&self, info: &RingInfo, flags: u32) -> Balance {
        const CHOSEN: u32 = 1;
        const MORE: u32 = 2;
        const NOTIFICATION: u32 = 8;
        const NO_COMPLETION: u8 = 1 << 6;
        let (sq, cq) = (info.sq_mask + 1, info.cq_mask + 1);
        let size = completion_bytes(flags);
        let marks = |index: u32| {
            let at = place::COMPLETIONS + u64::from(index) * size + 12;
            self.word(at)
        };
        let seen: Vec<u32> = (0..info.completed.min(cq)).map(marks).collect();
        if seen.iter().any(|marks| marks & CHOSEN != 0) {
            return Balance::Buffers;
        }
        let started = info.taken.wrapping_sub(self.word(place::SQ_DROPPED));
        let lost = self.word(place::CQ_OVERFLOW);
        let from = place::COMPLETIONS + u64::from(info.completed.min(cq)) * size;
        let end = place::COMPLETIONS + u64::from(cq) * size;
        let whole = info.completed < cq && zero(&self.rings, from, end);
        let last = seen.iter().filter(|marks| *marks & MORE == 0).count() as u32;
        let silent = self
            .entries
            .chunks_exact(entry_bytes(flags) as usize)
            .take(info.taken.min(sq) as usize)
            .any(|entry| entry[1] & NO_COMPLETION != 0);
        let plain = !silent && seen.iter().all(|marks| marks & (MORE | NOTIFICATION) == 0);
        let ended = match whole {
            true => last.wrapping_add(lost),
            false => info.completed.wrapping_add(lost),
        };
        match started == ended && (whole || plain) {
            true => Balance::Complete,
            false => Balance::Open,
        }
    }
}

fn completion_bytes(flags: u32) -> u64 {
    match flags & LARGE_COMPLETIONS {
        0 => COMPLETION,
        _ => 2 * COMPLETION,
    }
}

fn entry_bytes(flags: u32) -> u64 {
    match flags & LARGE_ENTRIES {
        0 => ENTRY,
        _ => 2 * ENTRY,
    }
}

fn word(bytes: &[u8], at: u64) -> u32 {
    let bytes = bytes.get(at as usize..at as usize + 4);
    let bytes = bytes.and_then(|bytes| bytes.try_into().ok());
    bytes.map_or(0, u32::from_ne_bytes)
}

fn zero(bytes: &[u8], from: u64, to: u64) -> bool {
    let range = bytes.get(from as usize..(to as usize).min(bytes.len()));
    range.is_none_or(|range| range.iter().all(|byte| *byte == 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(taken: u32, completed: u32) -> RingInfo {
        RingInfo {
            sq_mask: 7,
            cq_mask: 15,
            taken,
            completed,
            ..RingInfo::default()
        }
    }

    /// `marks` are the flags of the first completions.
    fn memory(marks: &[u32]) -> Memory {
        let mut rings = vec![0; 4096];
        for (at, value) in [(16, 7_u32), (20, 15), (24, 8), (28, 16)] {
            rings[at..at + 4].copy_from_slice(&value.to_ne_bytes());
        }
        for (index, marks) in marks.iter().enumerate() {
            let at = 64 + 16 * index;
            rings[at] = 1;
            rings[at + 12..at + 16].copy_from_slice(&marks.to_ne_bytes());
        }
        Memory {
            rings,
            entries: vec![0; 4096],
        }
    }

    #[test]
    fn a_ring_is_recognised() {
        let mut memory = memory(&[]);
        assert!(memory.is_known(&info(0, 0)));
        assert_eq!(memory.layout(&info(0, 0)), 0);
        memory.entries[600] = 1;
        memory.rings[64 + 16 * 32 + 4] = 1;
        assert_eq!(memory.layout(&info(0, 0)), LARGE_ENTRIES | LARGE_COMPLETIONS);
    }

    #[test]
    fn the_array_is_filled_where_nobody_has() {
        let array = |memory: &Memory| (0..8).map(|i| memory.word(320 + 4 * i)).collect::<Vec<_>>();
        let mut fresh = memory(&[]);
        fresh.fill_array(&info(0, 0), 0);
        assert_eq!(array(&fresh), (0..8).collect::<Vec<_>>());
        let mut first_only = memory(&[]);
        first_only.fill_array(&info(5, 5), 0);
        assert_eq!(array(&first_only), vec![0; 8]);
        let mut without = memory(&[]);
        without.entries[64] = 1;
        without.fill_array(&info(5, 5), 0);
        assert_eq!(array(&without), (0..8).collect::<Vec<_>>());
        let mut other = memory(&[]);
        other.rings[320] = 3;
        other.fill_array(&info(0, 0), 0);
        assert_eq!(array(&other), vec![3, 0, 0, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn operations_are_counted() {
        use Balance::{Buffers, Complete, Open};
        for (taken, completed, marks, expected) in [
            (0, 0, &[][..], Complete),
            (3, 3, &[0, 0, 0], Complete),
            (3, 2, &[0, 0], Open),
            // One that has completed thrice, and has ended.
            (1, 3, &[2, 2, 0], Complete),
            (1, 3, &[2, 2, 2], Open),
            // One goes on, another is in flight: the sums are equal.
            (2, 2, &[2, 0], Open),
            (1, 1, &[1], Buffers),
            // No completion is forgotten yet, but one was never given.
            (3, 2, &[0, 0], Open),
        ] {
            let balance = memory(marks).balance(&info(taken, completed), 0);
            assert_eq!(balance, expected, "{taken} {completed} {marks:?}");
        }
        let full = [0; 16];
        assert_eq!(memory(&full).balance(&info(100, 100), 0), Complete);
        assert_eq!(memory(&full).balance(&info(100, 99), 0), Open);
        let mut one = full;
        one[3] = 2;
        assert_eq!(memory(&one).balance(&info(100, 100), 0), Open);
        let mut silent = memory(&full);
        silent.entries[1] = 64;
        assert_eq!(silent.balance(&info(100, 100), 0), Open);
    }
}
