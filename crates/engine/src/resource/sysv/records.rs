//! The records of System V IPC in an image, and how everything is made of them again.

use super::{Sort, queue, segment, semaphore};
use crate::Result;
use crate::error::Error;
use crate::restart::{Stub, damaged};
use rethaw_image::record::{IpcV1, MappingV1, MessageQueueV1, ProcessV1, SegmentV1, SemaphoreSetV1};
use rethaw_image::{ImageReader, SectionKind};
use std::collections::BTreeSet;

/// The records of an image.
#[derive(Debug, Default)]
pub(crate) struct Records {
    segments: Vec<SegmentV1>,
    sets: Vec<SemaphoreSetV1>,
    queues: Vec<MessageQueueV1>,
}

impl Records {
    /// Reads and checks them.
    pub fn read(reader: &ImageReader, processes: &[ProcessV1]) -> Result<Records> {
        let records = Records {
            segments: reader.records(SectionKind::Segment)?,
            sets: reader.records(SectionKind::SemaphoreSet)?,
            queues: reader.records(SectionKind::MessageQueue)?,
        };
        records.check(processes)?;
        Ok(records)
    }

    fn check(&self, processes: &[ProcessV1]) -> Result<()> {
        let unique = |records: Vec<Option<IpcV1>>| {
            let mut seen = BTreeSet::new();
            let mut all = records.iter();
            all.all(|ipc| ipc.is_some_and(|ipc| ipc.id >= 0 && seen.insert(ipc.id)))
        };
        if !unique(self.segments.iter().map(|record| record.ipc).collect())
            || !unique(self.sets.iter().map(|record| record.ipc).collect())
            || !unique(self.queues.iter().map(|record| record.ipc).collect())
            || !self.sets.iter().all(semaphore::is_valid)
        {
            return Err(damaged("System V IPC objects that cannot be"));
        }
        let mappings = processes.iter().filter_map(|process| process.memory.as_ref());
        if !mappings.flat_map(|memory| &memory.mappings).all(|m| self.fits(m)) {
            return Err(damaged("System V shared memory that cannot be"));
        }
        Ok(())
    }

    /// Whether a mapping of a segment lies within it.
    fn fits(&self, mapping: &MappingV1) -> bool {
        !segment::is_of(mapping)
            || self
                .segments
                .iter()
                .any(|segment| segment::fits(segment, mapping))
    }

    pub(super) fn segment(&self, id: i32) -> Result<&SegmentV1> {
        let found = self.segments.iter().find(|segment| segment::id(segment) == id);
        found.ok_or_else(|| damaged("a System V shared memory segment that is missing"))
    }

    /// The segments, which are still to be made.
    pub fn segments(&self) -> Unmade<'_> {
        Unmade(self.segments.iter().collect())
    }

    /// Makes semaphore sets and queues again, the latter with their messages.
    pub fn rebuild(
        &self,
        stubs: &mut [Stub],
        processes: &[ProcessV1],
        warnings: &mut Vec<String>,
    ) -> Result<()> {
        for record in &self.sets {
            let Some(ipc) = &record.ipc else { continue };
            Sort::Set.make(by(stubs, processes, 0)?, ipc, record.semaphores.len() as u64, 0)?;
        }
        for record in &self.queues {
            queue::rebuild(by(stubs, processes, record.sender)?, record, warnings)?;
        }
        Ok(())
    }

    /// What has to wait until all processes have what they had: values and adjustments of semaphores, the removal
    /// of segments that live as long as they are attached.
    pub fn finish(&self, stubs: &mut [Stub], processes: &[ProcessV1]) -> Result<()> {
        for record in &self.sets {
            semaphore::rebuild(record, stubs, processes)?;
        }
        for record in &self.segments {
            segment::finish(by(stubs, processes, record.creator)?, record)?;
        }
        Ok(())
    }
}

/// Segments that are still to be made, while one process after the other comes into being.
pub(crate) struct Unmade<'a>(Vec<&'a SegmentV1>);

impl Unmade<'_> {
    /// Makes, in a process before it gets its memory, the segments that it is to attach or made itself once, and those
    /// whose maker has ended.
    pub fn make(
        &mut self,
        stub: &mut Stub,
        process: &ProcessV1,
        all: &[ProcessV1],
        reader: &ImageReader,
        warnings: &mut Vec<String>,
    ) -> Result<()> {
        let mappings = process.memory.iter().flat_map(|memory| &memory.mappings);
        let attached: BTreeSet<i32> = mappings
            .filter(|m| segment::is_of(m))
            .map(|m| m.segment)
            .collect();
        let is_due = |record: &&SegmentV1| {
            attached.contains(&segment::id(record))
                || record.creator == process.pid
                || !all.iter().any(|other| other.pid == record.creator)
        };
        let (due, later): (Vec<_>, Vec<_>) = std::mem::take(&mut self.0).into_iter().partition(is_due);
        self.0 = later;
        for record in due {
            segment::rebuild(stub, record, reader, warnings)?;
        }
        Ok(())
    }
}

/// The process in which something is made that process `pid` made once; any, if that one has ended.
pub(super) fn by<'a>(stubs: &'a mut [Stub], processes: &[ProcessV1], pid: i32) -> Result<&'a mut Stub> {
    let index = processes
        .iter()
        .position(|process| process.pid == pid)
        .unwrap_or(0);
    stubs.get_mut(index).ok_or(Error::Ended)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use rethaw_image::record::{AdjustmentV1, Backing, MemoryV1, SemaphoreV1};

    fn ipc(id: i32) -> Option<IpcV1> {
        Some(IpcV1 {
            id,
            ..IpcV1::default()
        })
    }

    /// A segment of two pages, of which the second is attached, and a set of one semaphore.
    fn valid() -> (Records, ProcessV1) {
        let segment = SegmentV1 {
            ipc: ipc(0),
            size: 5000,
            ..SegmentV1::default()
        };
        let set = SemaphoreSetV1 {
            ipc: ipc(0),
            semaphores: vec![SemaphoreV1 {
                value: 32767,
                last: 0,
            }],
            adjustments: vec![AdjustmentV1 {
                pid: 1,
                semaphore: 0,
                value: -32768,
            }],
        };
        let mapping = MappingV1 {
            start: 0x10_1000,
            end: 0x10_2000,
            offset: 0x1000,
            shared: true,
            backing: Backing::Segment.into(),
            ..MappingV1::default()
        };
        let records = Records {
            segments: vec![segment],
            sets: vec![set],
            queues: Vec::new(),
        };
        let process = ProcessV1 {
            memory: Some(MemoryV1 {
                mappings: vec![mapping],
                ..MemoryV1::default()
            }),
            ..ProcessV1::default()
        };
        (records, process)
    }

    #[test]
    fn what_a_checkpoint_has_is_taken() {
        let (records, process) = valid();
        records.check(&[process]).unwrap();
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let changes: [fn(&mut Records, &mut MappingV1); 9] = [
            |records, _| records.segments[0].ipc = ipc(-1),
            |records, _| records.segments[0].ipc = None,
            |records, _| records.segments.extend_from_within(..),
            |records, _| records.segments[0].size = 4096,
            |records, _| records.sets[0].semaphores[0].value = 32768,
            |records, _| records.sets[0].adjustments[0].semaphore = 1,
            |_, mapping| mapping.offset = 0x20_0000,
            |_, mapping| mapping.segment = 1,
            |_, mapping| mapping.shared = false,
        ];
        for change in changes {
            let (mut records, mut process) = valid();
            change(&mut records, &mut process.memory.as_mut().unwrap().mappings[0]);
            assert!(records.check(&[process]).is_err());
        }
    }
}
