//! Memory that a process has from the one that it is a clone of: what is as it was stays, so that both go on sharing
//! the pages (fork(2)), and only the rest is made anew.

use super::has_flag;
use rethaw_image::record::{Backing, MappingV1, MemoryV1};
use std::ops::Range;

/// A mapping, or a part of one.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Part {
    pub mapping: MappingV1,
    /// Has it from the parent.
    pub kept: bool,
}

impl Part {
    pub fn range(&self) -> Range<u64> {
        self.mapping.start..self.mapping.end
    }

    /// Has pages of its own, which the parent's may have to give way to.
    fn is_private(&self) -> bool {
        !self.mapping.shared
    }
}

/// The mappings of a process cut where what it has from its parent begins and ends.
pub(super) fn split(parent: Option<&MemoryV1>, child: &MemoryV1) -> Vec<Part> {
    let mut parts = Vec::new();
    for mapping in &child.mappings {
        let mut at = mapping.start;
        let mut add = |start: u64, end: u64, kept: bool| {
            if start < end {
                let mapping = clip(mapping, start, end);
                parts.push(Part { mapping, kept });
            }
        };
        for other in parent.map_or(&[][..], |parent| overlapping(&parent.mappings, mapping)) {
            if keepable(mapping) && alike(other, mapping) && same_guards(parent, child, mapping) {
                let (start, end) = (other.start.max(at), other.end.min(mapping.end));
                add(at, start, false);
                add(start, end, true);
                at = end;
            }
        }
        add(at, mapping.end, false);
    }
    parts
}

fn overlapping<'a>(mappings: &'a [MappingV1], with: &MappingV1) -> &'a [MappingV1] {
    let first = mappings.partition_point(|m| m.end <= with.start);
    let after = mappings.partition_point(|m| m.start < with.end);
    mappings.get(first..after).unwrap_or_default()
}

/// Whether fork(2) gives it to a child as it is in the parent: it takes away locks, and some memory altogether
/// (madvise(2)). A stack begins anew, because one that grows down would not be joined with its lower part.
fn keepable(mapping: &MappingV1) -> bool {
    let ordinary = matches!(
        mapping.backing(),
        Backing::Anonymous | Backing::File | Backing::Object | Backing::SavedFile
    );
    let lost = ["dc", "wf", "lo", "lf", "dp", "gd"];
    ordinary && mapping.huge_page == 0 && !lost.iter().any(|flag| has_flag(mapping, flag))
}

/// Whether two mappings differ in nothing but where they begin and end.
fn alike(a: &MappingV1, b: &MappingV1) -> bool {
    let place = |mapping: &MappingV1| match mapping.backing() {
        Backing::File | Backing::Object => mapping.offset.wrapping_sub(mapping.start),
        _ => 0,
    };
    let anywhere = |mapping: &MappingV1| MappingV1 {
        start: 0,
        end: 0,
        offset: place(mapping),
        ..mapping.clone()
    };
    anywhere(a) == anywhere(b)
}

/// Guards are inherited, too.
fn same_guards(parent: Option<&MemoryV1>, child: &MemoryV1, mapping: &MappingV1) -> bool {
    let within = |record: &MemoryV1| -> Vec<(u64, u64)> {
        let guards = record.guards.iter().map(|guard| (guard.start, guard.end));
        guards
            .filter(|(start, end)| *start < mapping.end && mapping.start < *end)
            .collect()
    };
    parent.is_some_and(|parent| within(parent) == within(child))
}

fn clip(mapping: &MappingV1, start: u64, end: u64) -> MappingV1 {
    let offset = match mapping.backing() {
        Backing::File | Backing::Object => mapping.offset + (start - mapping.start),
        _ => mapping.offset,
    };
    MappingV1 {
        start,
        end,
        offset,
        ..mapping.clone()
    }
}

/// Which pages of a clone are its parent's, and which have to be changed. All ranges ascend.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Pages {
    /// Are there already: nothing is written.
    pub there: Vec<Range<u64>>,
    /// The parent's, which the process has no more: it has the file's contents there, or zeros.
    pub stale: Vec<Range<u64>>,
}

/// `same` are pages of the process that are its parent's, `zero` those of its own that are zero, `own` all that it has,
/// `parents` all that its parent has.
pub(super) fn pages(
    parts: &[Part],
    same: &[Range<u64>],
    zero: &[Range<u64>],
    own: &[Range<u64>],
    parents: &[Range<u64>],
) -> Pages {
    let kept = |wanted: &dyn Fn(&Part) -> bool| -> Vec<Range<u64>> {
        let kept = parts
            .iter()
            .filter(|part| part.kept && part.is_private() && wanted(part));
        kept.map(Part::range).collect()
    };
    let all = kept(&|_| true);
    // Over a file's contents zeros are written.
    let without_file = kept(&|part| part.mapping.backing() != Backing::File);
    let mut stale = minus(&both(parents, &all), own);
    stale.extend(both(&minus(zero, same), &without_file));
    stale.sort_by_key(|range| range.start);
    Pages {
        there: both(same, &all),
        stale,
    }
}

/// What is in both of two ascending lists.
fn both(a: &[Range<u64>], b: &[Range<u64>]) -> Vec<Range<u64>> {
    let mut found = Vec::new();
    for one in a {
        let first = b.partition_point(|other| other.end <= one.start);
        for other in b.iter().skip(first).take_while(|other| other.start < one.end) {
            found.push(one.start.max(other.start)..one.end.min(other.end));
        }
    }
    found
}

/// What is in the first of two ascending lists only.
pub(super) fn minus(a: &[Range<u64>], b: &[Range<u64>]) -> Vec<Range<u64>> {
    let mut found = Vec::new();
    for one in a {
        let mut at = one.start;
        let first = b.partition_point(|other| other.end <= one.start);
        for other in b.iter().skip(first).take_while(|other| other.start < one.end) {
            if at < other.start {
                found.push(at..other.start);
            }
            at = other.end;
        }
        if at < one.end {
            found.push(at..one.end);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use rethaw_image::record::GuardV1;

    fn anonymous(start: u64, end: u64) -> MappingV1 {
        MappingV1 {
            start,
            end,
            backing: Backing::Anonymous.into(),
            ..MappingV1::default()
        }
    }

    fn file(start: u64, end: u64, offset: u64) -> MappingV1 {
        MappingV1 {
            offset,
            backing: Backing::File.into(),
            ..anonymous(start, end)
        }
    }

    fn memory(mappings: &[MappingV1]) -> MemoryV1 {
        MemoryV1 {
            mappings: mappings.to_vec(),
            ..MemoryV1::default()
        }
    }

    fn shape(parent: &MemoryV1, child: &MemoryV1) -> Vec<(u64, u64, u64, bool)> {
        let parts = split(Some(parent), child).into_iter();
        parts
            .map(|part| {
                (
                    part.mapping.start,
                    part.mapping.end,
                    part.mapping.offset,
                    part.kept,
                )
            })
            .collect()
    }

    #[test]
    fn what_is_alike_is_kept() {
        let mut locked = anonymous(50, 60);
        locked.flags = vec!["lo".to_owned()];
        let parent = memory(&[
            anonymous(10, 20),
            file(20, 30, 100),
            file(30, 40, 500),
            locked.clone(),
        ]);
        let child = memory(&[anonymous(5, 15), file(22, 30, 102), file(30, 40, 501), locked]);
        let expected = [
            (5, 10, 0, false),
            (10, 15, 0, true),
            (22, 30, 102, true),
            (30, 40, 501, false),
            (50, 60, 0, false),
        ];
        assert_eq!(shape(&parent, &child), expected);
        assert!(split(None, &child).iter().all(|part| !part.kept));
    }

    #[test]
    fn a_mapping_may_have_several_parts_from_its_parent() {
        let parent = memory(&[anonymous(0, 10), anonymous(12, 20)]);
        let child = memory(&[anonymous(2, 30)]);
        let expected = [
            (2, 10, 0, true),
            (10, 12, 0, false),
            (12, 20, 0, true),
            (20, 30, 0, false),
        ];
        assert_eq!(shape(&parent, &child), expected);
        // Cut out of a file's mapping, the rest begins further on.
        let expected = [(3, 5, 7, true), (5, 9, 9, false)];
        assert_eq!(
            shape(&memory(&[file(0, 5, 4)]), &memory(&[file(3, 9, 7)])),
            expected
        );
    }

    #[test]
    fn other_guards_are_another_mapping() {
        let mut parent = memory(&[anonymous(0, 10), anonymous(10, 20)]);
        let child = parent.clone();
        parent.mappings[0].label = "[anon:a]".to_owned();
        parent.guards = vec![GuardV1 { start: 12, end: 13 }];
        assert!(split(Some(&parent), &child).iter().all(|part| !part.kept));
        assert!(split(Some(&child), &child).iter().all(|part| part.kept));
    }

    #[test]
    fn pages_are_left_changed_or_dropped() {
        let kept = |mapping| Part { mapping, kept: true };
        let fresh = |mapping| Part { mapping, kept: false };
        let parts = [
            kept(anonymous(0, 100)),
            kept(file(100, 200, 0)),
            fresh(anonymous(200, 300)),
        ];
        let found = pages(
            &parts,
            &[10..20, 110..120, 210..220],
            &[30..40, 130..140, 230..240],
            &[5..20, 30..40, 110..140, 205..240],
            &[0..50, 100..150, 200..250],
        );
        let expected = Pages {
            there: vec![10..20, 110..120],
            stale: vec![0..5, 20..30, 30..40, 40..50, 100..110, 140..150],
        };
        assert_eq!(found, expected);
    }
}
