//! Memory that processes have from a common fork: what is still the same in both is saved once.

use crate::resource::memory::PageRange;
use rethaw_image::PAGE;
use rethaw_image::record::{LayoutV1, ProcessV1};
use std::ops::Range;

/// For each process, the index of an earlier one that has come from the same execve(2), so that much of their
/// memory may be the same: its parent if possible.
pub(crate) fn bases(processes: &[ProcessV1]) -> Vec<Option<usize>> {
    let origins: Vec<_> = processes.iter().map(origin).collect();
    let base = |index: usize| {
        let own = origins[index]?;
        let mut alike = (0..index).filter(|earlier| origins[*earlier] == Some(own));
        let parent = alike
            .clone()
            .find(|earlier| processes[*earlier].pid == processes[index].ppid);
        parent.or_else(|| alike.next())
    };
    (0..processes.len()).map(base).collect()
}

/// Boundaries that execve(2) has chosen, at random, and that a fork leaves as they are.
fn origin(process: &ProcessV1) -> Option<[u64; 5]> {
    let LayoutV1 {
        start_code,
        start_data,
        start_brk,
        start_stack,
        arg_start,
        ..
    } = process.memory.as_ref()?.layout?;
    Some([start_code, start_data, start_brk, start_stack, arg_start])
}

/// A part of a range of pages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Part {
    pub addresses: Range<u64>,
    /// The base has saved pages at these addresses; they have to be read with force.
    pub in_base: Option<bool>,
}

/// Cuts a range where the pages of the base (sorted by address) begin and end.
pub(crate) fn cut(range: &PageRange, base: &[PageRange]) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut at = range.start;
    let mut add = |addresses: Range<u64>, in_base| {
        if !addresses.is_empty() {
            parts.push(Part { addresses, in_base });
        }
    };
    let first = base.partition_point(|other| other.end <= range.start);
    for other in base
        .iter()
        .skip(first)
        .take_while(|other| other.start < range.end)
    {
        // What does not come along into a copy-on-write child cannot be compared.
        if other.in_pause {
            continue;
        }
        let (start, end) = (other.start.max(at), other.end.min(range.end));
        add(at..start, None);
        add(start..end, Some(other.forced));
        at = end;
    }
    add(at..range.end, None);
    parts
}

/// Lengths in bytes of neighbouring pages that are the same in both, or are not.
pub(crate) fn alternate(own: &[u8], base: &[u8]) -> Vec<(bool, usize)> {
    let mut runs: Vec<(bool, usize)> = Vec::new();
    for (own, base) in own.chunks(PAGE).zip(base.chunks(PAGE)) {
        let same = own == base;
        match runs.last_mut() {
            Some(last) if last.0 == same => last.1 += own.len(),
            _ => runs.push((same, own.len())),
        }
    }
    runs
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use rethaw_image::record::MemoryV1;

    fn process(pid: i32, ppid: i32, start_stack: u64) -> ProcessV1 {
        let layout = LayoutV1 {
            start_stack,
            ..LayoutV1::default()
        };
        ProcessV1 {
            pid,
            ppid,
            memory: Some(MemoryV1 {
                layout: Some(layout),
                ..MemoryV1::default()
            }),
            ..ProcessV1::default()
        }
    }

    #[test]
    fn the_base_is_the_parent_or_a_relative_of_the_same_program() {
        let mut ended = process(14, 12, 0x7000);
        ended.memory = None;
        let processes = [
            process(10, 0, 0x7000),
            process(11, 10, 0x7000),
            process(12, 11, 0x7000),
            process(13, 11, 0x8000),
            ended,
            process(15, 1, 0x8000),
            process(16, 0, 0x9000),
        ];
        assert_eq!(
            bases(&processes),
            [None, Some(0), Some(1), None, None, Some(3), None]
        );
    }

    fn range(start: u64, end: u64) -> PageRange {
        PageRange {
            start,
            end,
            stream: 0,
            at: start,
            forced: false,
            in_pause: false,
        }
    }

    #[test]
    fn a_range_is_cut_where_the_base_has_pages() {
        let mut base = [range(1, 3), range(4, 6), range(6, 7), range(9, 20)];
        base[1].forced = true;
        base[2].in_pause = true;
        let parts: Vec<_> = cut(&range(2, 12), &base)
            .into_iter()
            .map(|part| (part.addresses.start, part.addresses.end, part.in_base))
            .collect();
        let expected = [
            (2, 3, Some(false)),
            (3, 4, None),
            (4, 6, Some(true)),
            (6, 9, None),
            (9, 12, Some(false)),
        ];
        assert_eq!(parts, expected);
        assert_eq!(cut(&range(20, 30), &base).len(), 1);
        assert_eq!(cut(&range(0, 1), &base)[0].in_base, None);
    }

    #[test]
    fn equal_pages_are_found() {
        let mut own = vec![1; 5 * PAGE];
        let base = own.clone();
        own[2 * PAGE + 7] = 2;
        own[3 * PAGE] = 2;
        let page = PAGE;
        assert_eq!(
            alternate(&own, &base),
            [(true, 2 * page), (false, 2 * page), (true, page)]
        );
    }
}
