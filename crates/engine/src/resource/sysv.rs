//! System V shared memory, semaphores and message queues (sysvipc(7)).
//!
//! They belong to an IPC namespace and not to a process. In a namespace of the computation's own (isolated, or
//! restarted) all of them are its own. In the machine's, these are: what its processes have attached, made or
//! used last, and what its user has made or changed since it began, unless a living process outside has made or
//! used it last. To save one too many does no harm: a restart gets a namespace of its own.
//!
//! Everything is asked in one process of the computation by calls that change nothing (SHM_STAT, GETVAL,
//! MSG_COPY …). Memory that no process has attached is attached in a copy of that process, made for it.

mod queue;
mod segment;
mod semaphore;

use super::thread::ContextProc;
use crate::checkpoint::freeze::FrozenProcess;
use crate::checkpoint::snapshot::Copy;
use crate::error::{Context, Error};
use crate::restart::{Stub, damaged};
use crate::{Result, checkpoint::PageCopier};
use rethaw_image::record::{IpcV1, MappingV1, MessageQueueV1, ProcessV1, SegmentV1, SemaphoreSetV1};
use rethaw_image::{ImageReader, ImageWriter, SectionKind};
use rethaw_sys::proc::{self, Maps, Pid, Vma};
use rethaw_sys::remote::{Foothold, Remote};
use rethaw_sys::task;
use segment::Segment;
pub(crate) use segment::{attach, is_segment};
use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::Path;

/// What is collected of a computation.
#[derive(Debug)]
pub(crate) struct SystemV {
    owner: Owner,
    /// Mappings of segments, and who has them.
    attached: Vec<(Pid, Vma)>,
    asked: bool,
    segments: Vec<Segment>,
    sets: Vec<SemaphoreSetV1>,
    queues: Vec<MessageQueueV1>,
    /// A copy of a process, in which memory is attached that no process has.
    hand: Option<Copy>,
}

impl SystemV {
    /// Looks from outside at frozen processes, whose records are `records`.
    pub fn look(processes: &[FrozenProcess], records: &[ProcessV1]) -> Result<SystemV> {
        let mut attached = Vec::new();
        let mut namespaces = BTreeSet::new();
        for process in processes {
            let maps = Maps::read_brief(process.pid).context_proc()?;
            let segments = maps.vmas.into_iter().filter(is_segment);
            attached.extend(segments.map(|vma| (process.pid, vma)));
            namespaces.insert(namespace(process.pid).context(|| "cannot look at a namespace".to_owned())?);
        }
        let first = processes.first().map_or(Pid::own(), |process| process.pid);
        if namespaces.len() > 1 {
            return Err(refused(
                first,
                "processes with System V IPC of their own (unshare)",
            ));
        }
        let own = namespace(Pid::own()).context(|| "cannot look at a namespace".to_owned())?;
        Ok(SystemV {
            owner: Owner {
                private: !namespaces.contains(&own),
                members: records.iter().map(|record| record.pid).collect(),
                uid: rustix::process::geteuid().as_raw(),
                since: began(processes)?,
            },
            attached,
            asked: false,
            segments: Vec::new(),
            sets: Vec::new(),
            queues: Vec::new(),
            hand: None,
        })
    }

    /// Asks inside of a process: all that there is in the first one, what belongs to each process in each.
    pub fn collect(
        &mut self,
        pid: Pid,
        record: &ProcessV1,
        mappings: &[MappingV1],
        remote: &mut Remote<'_>,
        foothold: &Foothold,
    ) -> Result<()> {
        if !self.asked {
            self.asked = true;
            let name = || format!("cannot ask process {pid} for System V IPC");
            let segments = Sort::Segment.list(remote).context(name)?;
            let sets = Sort::Set.list(remote).context(name)?;
            let queues = Sort::Queue.list(remote).context(name)?;
            self.segments = segment::collect(&segments, &self.attached, &self.owner)?;
            self.sets = semaphore::collect(&sets, &self.owner, remote).context(name)?;
            self.queues = queue::collect(pid, &queues, &self.owner, remote)?;
            if self.segments.iter().any(|segment| !segment.missing().is_empty()) {
                if record.child_subreaper {
                    let what = "System V shared memory that no process has attached, of a process that adopts orphans";
                    return Err(refused(pid, what));
                }
                self.hand = Some(segment::attach_missing(
                    &mut self.segments,
                    pid,
                    remote,
                    foothold,
                )?);
            }
        }
        for set in &mut self.sets {
            let name = || format!("cannot ask process {pid} for its semaphore adjustments");
            semaphore::collect_adjustments(record.pid, set, remote).context(name)?;
        }
        segment::check_mappings(pid, mappings, &mut self.segments)
    }

    /// Copies the contents of segments, which others could change as soon as the program runs again.
    pub fn copy(&mut self, copier: &mut PageCopier<'_>) -> Result<()> {
        for segment in &self.segments {
            copier.mapped(&segment.mapped)?;
        }
        self.hand = None;
        Ok(())
    }

    /// Writes the records.
    pub fn write(&self, writer: &mut ImageWriter) -> Result<()> {
        for segment in &self.segments {
            writer.record(SectionKind::Segment, &segment.record)?;
        }
        for set in &self.sets {
            writer.record(SectionKind::SemaphoreSet, set)?;
        }
        for queue in &self.queues {
            writer.record(SectionKind::MessageQueue, queue)?;
        }
        Ok(())
    }
}

fn refused(pid: Pid, what: &str) -> Error {
    Error::Refused {
        what: what.to_owned(),
        pid: pid.0,
        place: "System V IPC".to_owned(),
        remedy: "take the checkpoint while the program does not use it, or run the program without it"
            .to_owned(),
    }
}

fn namespace(pid: Pid) -> io::Result<std::path::PathBuf> {
    fs::read_link(format!("/proc/{pid}/ns/ipc"))
}

/// When the computation began, in seconds since the epoch, at the latest: some of its processes may have ended.
fn began(processes: &[FrozenProcess]) -> Result<i64> {
    const TICKS: i64 = 100;
    let mut first = i64::MAX;
    for pid in processes.iter().map(|process| process.pid).chain([Pid::own()]) {
        first = first.min(proc::Stat::read(pid).context_proc()?.starttime as i64 / TICKS);
    }
    let second = 1_000_000_000;
    let now = task::clock_ns(libc::CLOCK_REALTIME) / second;
    Ok(now - task::clock_ns(libc::CLOCK_BOOTTIME) / second + first - 1)
}

/// Tells which objects are the computation's.
#[derive(Debug)]
struct Owner {
    /// It has an IPC namespace of its own.
    private: bool,
    members: BTreeSet<i32>,
    uid: u32,
    since: i64,
}

impl Owner {
    /// `used_by` are the processes that the kernel remembers of an object.
    fn has(&self, state: &State, used_by: &[i32], changed: i64) -> bool {
        let lives = |pid: &i32| *pid > 0 && Path::new(&format!("/proc/{pid}")).exists();
        self.private
            || used_by.iter().any(|pid| self.members.contains(pid))
            || (state.creator() == self.uid && changed >= self.since && !used_by.iter().any(lives))
    }
}

/// The three sorts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sort {
    Segment,
    Set,
    Queue,
}

/// Where the kernel's struct about an object is put in the scratch memory, and how long it is at most.
const STATE: usize = 128;

/// What the kernel tells of an object: `struct shmid64_ds`, `semid64_ds` or `msqid64_ds`.
#[derive(Debug)]
struct State {
    id: i32,
    bytes: [u8; STATE],
}

impl State {
    fn u32(&self, at: usize) -> u32 {
        let bytes = self.bytes.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
        bytes.map_or(0, u32::from_ne_bytes)
    }

    fn u64(&self, at: usize) -> u64 {
        u64::from(self.u32(at)) | u64::from(self.u32(at + 4)) << 32
    }

    fn ipc(&self) -> IpcV1 {
        IpcV1 {
            id: self.id,
            key: self.u32(0).cast_signed(),
            mode: self.u32(20),
        }
    }

    /// User who made it.
    fn creator(&self) -> u32 {
        self.u32(12)
    }
}

impl Sort {
    /// shmctl(2), semctl(2), msgctl(2).
    fn control(self, remote: &mut Remote<'_>, id: i32, command: i32, at: u64) -> io::Result<io::Result<u64>> {
        let (id, command) = (id as u64, command as u64);
        match self {
            Sort::Segment => remote.call(libc::SYS_shmctl, [id, command, at, 0, 0, 0]),
            Sort::Set => remote.call(libc::SYS_semctl, [id, 0, command, at, 0, 0]),
            Sort::Queue => remote.call(libc::SYS_msgctl, [id, command, at, 0, 0, 0]),
        }
    }

    /// All of a sort that may be read. Changes nothing.
    fn list(self, remote: &mut Remote<'_>) -> io::Result<Vec<State>> {
        let (info, stat) = match self {
            Sort::Segment => (14, 13),
            Sort::Set => (19, 18),
            Sort::Queue => (12, 11),
        };
        let at = remote.put(0, &[0; STATE])?;
        let mut all = Vec::new();
        // ENOSYS where the kernel has none.
        let Ok(highest) = self.control(remote, 0, info, at)? else {
            return Ok(all);
        };
        for index in 0..=highest as i32 {
            if let Ok(id) = self.control(remote, index, stat, at)? {
                let bytes = remote.get(0)?;
                all.push(State { id: id as i32, bytes });
            }
        }
        Ok(all)
    }

    fn next_id(self) -> &'static str {
        match self {
            Sort::Segment => "/proc/sys/kernel/shm_next_id",
            Sort::Set => "/proc/sys/kernel/sem_next_id",
            Sort::Queue => "/proc/sys/kernel/msg_next_id",
        }
    }

    /// Makes an object that has the identifier that it had: the one that is asked for beforehand in
    /// /proc/sys/kernel, to which CAP_CHECKPOINT_RESTORE in the namespace's user namespace may write.
    fn make(self, stub: &mut Stub, ipc: &IpcV1, size: u64, more_flags: u32) -> Result<()> {
        let name = || format!("cannot make the System V IPC object {} again", ipc.id);
        let file = stub
            .open(Path::new(self.next_id()), libc::O_WRONLY)
            .context(name)?;
        let mut remote = stub.remote()?;
        let text = ipc.id.to_string();
        let at = remote.put(0, text.as_bytes()).context(name)?;
        remote
            .must(libc::SYS_write, [file, at, text.len() as u64, 0, 0, 0])
            .context(name)?;
        remote
            .must(libc::SYS_close, [file, 0, 0, 0, 0, 0])
            .context(name)?;
        let key = u64::from(ipc.key.cast_unsigned());
        let flags = u64::from(ipc.mode & 0o777 | more_flags) | (libc::IPC_CREAT | libc::IPC_EXCL) as u64;
        let made = match self {
            Sort::Segment => remote.must(libc::SYS_shmget, [key, size, flags, 0, 0, 0]),
            Sort::Set => remote.must(libc::SYS_semget, [key, size, flags, 0, 0, 0]),
            Sort::Queue => remote.must(libc::SYS_msgget, [key, flags, 0, 0, 0, 0]),
        };
        if made.context(name)? == ipc.id as u64 {
            Ok(())
        } else {
            Err(Error::CannotRestart {
                what: format!(
                    "the kernel gives System V IPC objects other identifiers than {}",
                    ipc.id
                ),
                remedy: "restart on a kernel of the same kind (boot parameter ipcmni_extend)".to_owned(),
            })
        }
    }
}

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

    fn segment(&self, id: i32) -> Result<&SegmentV1> {
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
fn by<'a>(stubs: &'a mut [Stub], processes: &[ProcessV1], pid: i32) -> Result<&'a mut Stub> {
    let index = processes
        .iter()
        .position(|process| process.pid == pid)
        .unwrap_or(0);
    stubs.get_mut(index).ok_or(Error::Ended)
}
