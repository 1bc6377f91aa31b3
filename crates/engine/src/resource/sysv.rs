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
mod records;
mod segment;
mod semaphore;

use super::thread::ContextProc;
use crate::checkpoint::freeze::FrozenProcess;
use crate::checkpoint::refusals::Refusals;
use crate::checkpoint::snapshot::Copy;
use crate::error::{Context, Error};
use crate::restart::Stub;
use crate::{Result, checkpoint::PageCopier};
pub(crate) use records::Records;
use rethaw_image::record::{IpcV1, MappingV1, MessageQueueV1, ProcessV1, SemaphoreSetV1};
use rethaw_image::{ImageWriter, SectionKind};
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
    pub fn look(processes: &[FrozenProcess], records: &[ProcessV1], refusals: &Refusals) -> Result<SystemV> {
        let mut attached = Vec::new();
        let mut namespaces = BTreeSet::new();
        for process in processes {
            let maps = Maps::read_brief(process.speaker()).context_proc()?;
            let segments = maps.vmas.into_iter().filter(is_segment);
            attached.extend(segments.map(|vma| (process.speaker(), vma)));
            namespaces
                .insert(namespace(process.speaker()).context(|| "cannot look at a namespace".to_owned())?);
        }
        let first = processes.first().map_or(Pid::own(), |process| process.pid);
        if namespaces.len() > 1 {
            refusals.note(Error::Refused {
                what: "processes of which some have System V IPC of their own (unshare)".to_owned(),
                pid: first.0,
                place: "IPC namespace".to_owned(),
                remedy: "run the program without that, or all of it in namespaces (--isolate)".to_owned(),
            })?;
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
        refusals: &Refusals,
    ) -> Result<()> {
        if !self.asked {
            self.asked = true;
            self.ask(pid, remote, refusals)?;
            let missing = |segment: &&Segment| !segment.missing().is_empty();
            match self.segments.iter().find(missing) {
                Some(segment) if record.child_subreaper => {
                    let what = "System V shared memory that no process has attached, of a process that adopts orphans";
                    refusals.note(refused(pid, what, Sort::Segment, segment::id(&segment.record)))?;
                }
                Some(_) => {
                    let hand = segment::attach_missing(&mut self.segments, pid, remote, foothold)?;
                    self.hand = Some(hand);
                }
                None => {}
            }
        }
        for set in &mut self.sets {
            let name = || format!("cannot ask process {pid} for its semaphore adjustments");
            semaphore::collect_adjustments(record.pid, set, remote).context(name)?;
        }
        segment::check_mappings(pid, mappings, &mut self.segments, refusals)
    }

    /// Asks for all that there is.
    fn ask(&mut self, pid: Pid, remote: &mut Remote<'_>, refusals: &Refusals) -> Result<()> {
        let name = || format!("cannot ask process {pid} for System V IPC");
        let segments = Sort::Segment.list(remote).context(name)?;
        let sets = Sort::Set.list(remote).context(name)?;
        let queues = Sort::Queue.list(remote).context(name)?;
        self.segments = segment::collect(&segments, &self.attached, &self.owner, refusals)?;
        self.sets = semaphore::collect(&sets, &self.owner, remote).context(name)?;
        self.queues = queue::collect(pid, &queues, &self.owner, remote, refusals)?;
        Ok(())
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

fn refused(pid: Pid, what: &str, sort: Sort, id: i32) -> Error {
    Error::Refused {
        what: what.to_owned(),
        pid: pid.0,
        place: format!("{} {id}", sort.name()),
        remedy: "take the checkpoint while the program does not use it (ipcs shows it), or run the program without it"
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
    /// Whether an object can be left out when others remove it: it was only taken to be on the safe side.
    fn may_miss(&self, used_by: &[i32]) -> bool {
        !self.private && !self.used(used_by)
    }

    /// Whether one of these processes is of the computation.
    fn used(&self, by: &[i32]) -> bool {
        by.iter().any(|pid| self.members.contains(pid))
    }

    /// `used_by` are the processes that the kernel remembers of an object.
    fn has(&self, state: &State, used_by: &[i32], changed: i64) -> bool {
        let lives = |pid: &i32| *pid > 0 && Path::new(&format!("/proc/{pid}")).exists();
        self.private
            || self.used(used_by)
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

/// Whether an object, or a message in it, was removed by others since it was listed.
fn is_gone(error: &io::Error) -> bool {
    [Some(libc::EIDRM), Some(libc::EINVAL), Some(libc::ENOMSG)].contains(&error.raw_os_error())
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

    /// For messages.
    fn name(self) -> &'static str {
        match self {
            Sort::Segment => "segment",
            Sort::Set => "semaphore set",
            Sort::Queue => "message queue",
        }
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
