//! Records are checked once, before anything is made of them: an image may have been written by anybody.

use super::plan::damaged;
use crate::Result;
use rethaw_image::record::{
    Backing, DescriptorV1, GuardV1, MappingV1, MemoryV1, ProcessV1, SharedObjectV1, ThreadV1,
};
use rethaw_sys::arch::{Registers, TASK_SIZE};
use std::collections::BTreeSet;

const PAGE: u64 = rethaw_image::PAGE as u64;

/// Refuses numbers and sizes that no checkpoint has, so that nobody behind has to expect them.
pub(crate) fn check(processes: &[ProcessV1], objects: &[SharedObjectV1]) -> Result<()> {
    let pids = processes.iter().map(|process| process.pid);
    ensure(positive_and_unique(pids), "process numbers that cannot be")?;
    let tids = processes.iter().flat_map(|p| &p.threads).map(|t| t.tid);
    ensure(positive_and_unique(tids), "thread numbers that cannot be")?;
    for process in processes {
        descriptors(&process.descriptors)?;
        process.threads.iter().try_for_each(thread)?;
        process.memory.iter().try_for_each(memory)?;
    }
    objects.iter().try_for_each(object)
}

fn ensure(holds: bool, otherwise: &str) -> Result<()> {
    if holds { Ok(()) } else { Err(damaged(otherwise)) }
}

fn positive_and_unique(numbers: impl Iterator<Item = i32>) -> bool {
    let mut seen = BTreeSet::new();
    numbers
        .into_iter()
        .all(|number| number > 0 && seen.insert(number))
}

fn descriptors(table: &[DescriptorV1]) -> Result<()> {
    /// Highest value that `fs.nr_open` can have is a little less than 2^30.
    const MOST: i32 = 1 << 30;
    let mut seen = BTreeSet::new();
    let fits = |d: &DescriptorV1| (0..MOST).contains(&d.fd);
    ensure(
        table.iter().all(|d| fits(d) && seen.insert(d.fd)),
        "descriptor numbers that cannot be",
    )
}

fn thread(record: &ThreadV1) -> Result<()> {
    /// The FXSAVE area and the header of the rest.
    const LEAST_STATE: usize = 576;
    ensure(
        Registers::from_bytes(&record.registers).is_some() && record.xstate.len() >= LEAST_STATE,
        "registers of a wrong size",
    )
}

fn memory(record: &MemoryV1) -> Result<()> {
    let mappings = record.mappings.iter().map(|m| (m.start, m.end));
    ensure(ascending(mappings), "mappings that cannot be")?;
    record.mappings.iter().try_for_each(mapping)?;
    let guards = record.guards.iter().map(|g: &GuardV1| (g.start, g.end));
    ensure(ascending(guards), "guard regions that cannot be")?;
    let vdso = record.mappings.iter().find(|m| m.backing() == Backing::Vdso);
    ensure(
        record.vdso.len() as u64 == vdso.map_or(0, |m| m.end - m.start),
        "a vdso of a wrong size",
    )
}

/// Ranges of whole pages in user space, one after the other.
fn ascending(ranges: impl Iterator<Item = (u64, u64)>) -> bool {
    let mut last = 0;
    ranges.into_iter().all(|(start, end)| {
        let fits = last <= start && start < end && end <= TASK_SIZE;
        last = end;
        fits && start.is_multiple_of(PAGE) && end.is_multiple_of(PAGE)
    })
}

fn mapping(record: &MappingV1) -> Result<()> {
    let len = record.end - record.start;
    let last = record.offset.checked_add(len);
    ensure(
        record.offset.is_multiple_of(PAGE) && last.is_some_and(|last| i64::try_from(last).is_ok()),
        "a mapping of a place in a file that cannot be",
    )?;
    ensure(record.protection_key < 16, "a protection key that cannot be")?;
    ensure(page_size(record.huge_page), "huge pages of a size that cannot be")
}

fn object(record: &SharedObjectV1) -> Result<()> {
    let absolute = |path: &[u8]| path.starts_with(b"/") && !path.contains(&0);
    let folders = record.folders.iter().all(|folder| absolute(&folder.path));
    ensure(
        !record.named || folders && record.ghost.as_ref().is_some_and(|file| absolute(&file.path)),
        "a file with a name that cannot be",
    )?;
    ensure(
        i64::try_from(record.size).is_ok(),
        "a shared memory object of a size that cannot be",
    )?;
    ensure(page_size(record.huge_page), "huge pages of a size that cannot be")
}

/// 0 stands for ordinary pages.
fn page_size(bytes: u64) -> bool {
    bytes == 0 || bytes.is_power_of_two() && (PAGE..TASK_SIZE).contains(&bytes)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::plan::{free_range, in_order};
    use super::*;
    use proptest::prelude::*;
    use rethaw_sys::arch::REGISTERS_SIZE;

    fn process(pid: i32, ppid: i32) -> ProcessV1 {
        let thread = |tid| ThreadV1 {
            tid,
            registers: vec![0; REGISTERS_SIZE],
            xstate: vec![0; 2696],
            ..ThreadV1::default()
        };
        let mapping = |start: u64, backing: Backing| MappingV1 {
            start,
            end: start + 2 * PAGE,
            backing: backing.into(),
            ..MappingV1::default()
        };
        ProcessV1 {
            pid,
            ppid,
            threads: vec![thread(pid), thread(pid + 1)],
            descriptors: [0, 1, 7]
                .map(|fd| DescriptorV1 {
                    fd,
                    ..DescriptorV1::default()
                })
                .to_vec(),
            memory: Some(MemoryV1 {
                mappings: vec![
                    mapping(0x40_0000, Backing::File),
                    mapping(0x40_2000, Backing::Anonymous),
                    mapping(TASK_SIZE - 2 * PAGE, Backing::Vdso),
                ],
                guards: vec![GuardV1 {
                    start: 0x40_2000,
                    end: 0x40_3000,
                }],
                vdso: vec![0; 2 * PAGE as usize],
                ..MemoryV1::default()
            }),
            ..ProcessV1::default()
        }
    }

    fn valid() -> (Vec<ProcessV1>, Vec<SharedObjectV1>) {
        let object = SharedObjectV1 {
            object: 1,
            size: 100,
            huge_page: 2 << 20,
            ..SharedObjectV1::default()
        };
        (vec![process(10, 0), process(20, 10)], vec![object])
    }

    /// How many fields [`spoil`] knows.
    const FIELDS: usize = 18;

    /// Puts a number into a field of the second process, or of the object.
    fn spoil(records: &mut (Vec<ProcessV1>, Vec<SharedObjectV1>), field: usize, value: u64) {
        let (process, object) = (&mut records.0[1], &mut records.1[0]);
        let memory = process.memory.as_mut().unwrap();
        let len = (value % 5000) as usize;
        match field {
            0 => process.pid = value as i32,
            1 => process.ppid = value as i32,
            2 => process.threads[1].tid = value as i32,
            3 => process.threads[0].registers.resize(len, 0),
            4 => process.threads[1].xstate.resize(len, 0),
            5 => process.descriptors[1].fd = value as i32,
            6 => memory.mappings[1].start = value,
            7 => memory.mappings[1].end = value,
            8 => memory.mappings[1].offset = value,
            9 => memory.mappings[1].huge_page = value,
            10 => memory.mappings[2].backing = value as i32,
            11 => memory.guards[0].start = value,
            12 => memory.guards[0].end = value,
            13 => memory.vdso.resize(len, 0),
            14 => object.size = value,
            15 => object.huge_page = value,
            16 => memory.mappings[1].protection_key = value as u32,
            _ => process.threads.truncate(len),
        }
    }

    #[test]
    fn what_a_checkpoint_has_is_taken() {
        let (processes, objects) = valid();
        check(&processes, &objects).unwrap();
    }

    #[test]
    fn what_cannot_be_is_refused() {
        for (field, value) in [
            (0, 10),
            (0, u64::MAX),
            (2, 20),
            (2, 0),
            (3, 8),
            (4, 575),
            (5, 7),
            (5, 1 << 30),
            (5, u64::MAX),
            (6, 0x40_1000),
            (6, 0x40_2001),
            (7, 0x40_2000),
            (7, u64::MAX),
            (8, 1),
            (8, !0xfff),
            (9, 3),
            (12, 0x40_2000),
            (12, TASK_SIZE + PAGE),
            (13, 4097),
            (14, u64::MAX),
            (15, 100),
            (16, 16),
        ] {
            let mut records = valid();
            spoil(&mut records, field, value);
            assert!(
                check(&records.0, &records.1).is_err(),
                "field {field}, {value:#x}"
            );
        }
    }

    fn number() -> impl Strategy<Value = u64> {
        prop_oneof![
            any::<u64>(),
            0..40_u64,
            Just(TASK_SIZE),
            (0..64_u32).prop_map(|bit| 1 << bit)
        ]
    }

    proptest! {
        #[test]
        fn no_record_makes_the_plan_panic(changes in proptest::collection::vec((0..FIELDS, number()), 0..4)) {
            let mut records = valid();
            for (field, value) in changes {
                spoil(&mut records, field, value);
            }
            if check(&records.0, &records.1).is_ok()
                && let Ok(ordered) = in_order(records.0)
            {
                let _ = free_range(&ordered);
            }
        }
    }
}
