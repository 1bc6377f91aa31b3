//! io_uring instances in which no operation is in flight. What is in flight, the kernel does not show: operations and
//! completions are counted instead (`uring/history.rs`). How they come back is in `uring/rebuild.rs`.

mod history;
mod hole;
mod rebuild;

pub(crate) use rebuild::{is_made_later, rebuild};

use self::history::{Balance, Memory};
use super::descriptor::{Processes, Seen};
use super::thread::ContextProc;
use crate::Result;
use crate::error::{Context, Error};
use rethaw_image::record::{
    Backing, DescriptionKind, DescriptionV1, DescriptorV1, ProcessV1, RingBufferV1, RingV1,
};
use rethaw_sys::proc::{self, FdInfo, Pid, RingInfo, Tid, Vma};
use rethaw_sys::remote::Remote;
use rethaw_sys::uring::{self, Area, place};
use std::collections::BTreeMap;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

const PAGE: u64 = rethaw_image::PAGE as u64;
const TARGET: &[u8] = b"anon_inode:[io_uring]";

/// IORING_SETUP_ flags.
const POLLS_COMPLETIONS: u32 = 1 << 0;
const POLLS_SUBMISSIONS: u32 = 1 << 1;
const OTHER_SIZE: u32 = 1 << 3;
const SUBMIT_ALL: u32 = 1 << 7;
const TELLS_WORK: u32 = 1 << 9;
const SINGLE_ISSUER: u32 = 1 << 12;
const DEFERS_WORK: u32 = 1 << 13;

pub(crate) fn is_ring(seen: &Seen) -> bool {
    seen.path().as_os_str().as_bytes() == TARGET
}

pub(crate) fn is_area(vma: &Vma) -> bool {
    vma.shared && vma.name == TARGET
}

/// A refusal of what will be over in a moment, or may be.
fn passing(error: Error) -> Error {
    Error::Passing(Box::new(error))
}

/// What can be seen of an instance from outside.
pub(crate) fn collect(seen: &Seen, all: &[Seen], processes: &Processes) -> Result<DescriptionKind> {
    let info = look(seen)?;
    refuse_what_stays(seen, &info)?;
    let mut flags = setup_flags(seen, &info)?;
    let mut memory = memory(seen, &info)?;
    flags |= memory.layout(&info);
    if info.polls > 0 || info.taken != info.sq_head || info.completed != info.cq_tail {
        return Err(passing(in_flight(seen)));
    }
    match memory.balance(&info, flags) {
        Balance::Complete => {}
        Balance::Open => return Err(passing(in_flight(seen))),
        Balance::Buffers => return Err(seen.refused("an io_uring instance with provided buffers")),
    }
    if info.completed > info.taken {
        return Err(seen.refused("an io_uring instance with more completions than operations"));
    }
    memory.fill_array(&info, flags);
    let (maker, number) = maker(seen, &info, processes)?;
    Ok(DescriptionKind::Ring(RingV1 {
        inode: seen.info.ino.unwrap_or(0),
        flags,
        sq_entries: info.sq_mask + 1,
        cq_entries: info.cq_mask + 1,
        taken: info.taken,
        completed: info.completed,
        rings: memory.rings,
        entries: memory.entries,
        maker: if flags & SINGLE_ISSUER == 0 { number } else { 0 },
        files: files(seen, &info, all)?,
        buffers: buffers(seen, &info, maker, processes)?,
    }))
}

fn in_flight(seen: &Seen) -> Error {
    seen.refused(
        "an io_uring instance with operations in flight, or of which it cannot be told because some complete several \
         times or never",
    )
}

/// The kernel describes an instance only while nobody uses it.
fn look(seen: &Seen) -> Result<RingInfo> {
    const TRIES: u32 = 50;
    for _ in 0..TRIES {
        let lines = FdInfo::read(seen.pid, seen.fd).context_proc()?.extra;
        match RingInfo::parse(&lines) {
            Ok(Some(info)) if info.poller < 0 || info.sq_head == info.sq_tail => return Ok(info),
            // The thread that polls the queue will take what is in it.
            Ok(_) => std::thread::sleep(Duration::from_millis(1)),
            Err(_) => {
                return Err(seen.refused("an io_uring instance that the kernel describes in an unknown way"));
            }
        }
    }
    Err(passing(seen.refused("an io_uring instance that is in use")))
}

fn refuse_what_stays(seen: &Seen, info: &RingInfo) -> Result<()> {
    let reasons = [
        (info.personalities, "registered personalities"),
        (info.busy_polling, "busy polling of network devices"),
        (info.overflown > 0, "completions for which there was no room"),
    ];
    match reasons.iter().find(|(holds, _)| *holds) {
        Some((_, what)) => Err(seen.refused(&format!("an io_uring instance with {what}"))),
        None => Ok(()),
    }
}

/// How it was set up, from how the kernel answers to calls that do nothing. What cannot be found out is set so that the
/// program can do with it: IORING_SETUP_SUBMIT_ALL, and with deferred work IORING_SETUP_TASKRUN_FLAG.
fn setup_flags(seen: &Seen, info: &RingInfo) -> Result<u32> {
    let ring = seen.duplicate.as_fd();
    let mut flags = SUBMIT_ALL;
    if info.cq_mask != 2 * info.sq_mask + 1 {
        flags |= OTHER_SIZE;
    }
    if info.poller >= 0 {
        flags |= POLLS_SUBMISSIONS;
    }
    let answer = |operation| uring::try_register(ring, operation, 1).raw_os_error();
    if answer(uring::REGISTER_EVENTFD) == Some(libc::EEXIST) {
        flags |= SINGLE_ISSUER;
    } else {
        let registered = answer(uring::REGISTER_EVENTFD);
        let region = answer(uring::REGISTER_MEM_REGION);
        let restricted = answer(uring::REGISTER_RESTRICTIONS);
        refuse_registered(seen, registered, region)?;
        if restricted != Some(libc::EBADFD) {
            return Err(seen.refused("an io_uring instance with restrictions, or not enabled yet"));
        }
        if (0..GROUPS).any(|group| uring::has_buffers(ring, group)) {
            return Err(seen.refused("an io_uring instance with provided buffers"));
        }
    }
    match uring::enter(ring, 0, uring::ENTER_GETEVENTS) {
        Ok(_) => {}
        Err(e) if e.raw_os_error() == Some(libc::EEXIST) => flags |= DEFERS_WORK | TELLS_WORK,
        Err(e) if e.raw_os_error() == Some(libc::EBADFD) => {
            return Err(seen.refused("an io_uring instance that is not enabled yet"));
        }
        Err(e) => return Err(e).context(|| format!("cannot look at {}", seen.name())),
    }
    if uring::polls_for_completions(ring).context(|| format!("cannot look at {}", seen.name()))? {
        flags |= POLLS_COMPLETIONS;
    }
    Ok(flags)
}

/// How many numbers of groups of provided buffers are tried.
const GROUPS: u16 = 256;

fn refuse_registered(seen: &Seen, eventfd: Option<i32>, region: Option<i32>) -> Result<()> {
    match (eventfd, region) {
        (Some(libc::EBUSY), _) => Err(seen.refused("an io_uring instance with a registered eventfd")),
        (_, Some(libc::EBUSY)) => Err(seen.refused("an io_uring instance with a registered memory region")),
        (Some(libc::EFAULT), _) => Ok(()),
        _ => Err(seen.refused("an io_uring instance with restrictions, or of an unknown kind")),
    }
}

fn memory(seen: &Seen, info: &RingInfo) -> Result<Memory> {
    let ring = seen.duplicate.as_fd();
    let (sq, cq) = (u64::from(info.sq_mask) + 1, u64::from(info.cq_mask) + 1);
    let rings = place::COMPLETIONS + cq * 2 * history::COMPLETION + sq * 4;
    let area = |offset, len: u64| match Area::map(ring, offset, len.next_multiple_of(PAGE)) {
        Ok(area) => Ok(area.contents(PAGE)),
        Err(e) if e.raw_os_error() == Some(libc::EINVAL) => {
            Err(seen.refused("an io_uring instance in memory of the program's own (IORING_SETUP_NO_MMAP)"))
        }
        Err(e) => Err(e).context(|| format!("cannot look at {}", seen.name())),
    };
    let memory = Memory {
        rings: area(uring::OFFSET_RINGS, rings)?,
        entries: area(uring::OFFSET_ENTRIES, sq * 2 * history::ENTRY)?,
    };
    if memory.is_known(info) && memory.entries.len() as u64 >= sq * history::ENTRY {
        return Ok(memory);
    }
    Err(seen.refused("an io_uring instance that is laid out in an unknown way"))
}

/// The process that has the thread which polls the queue, or else the first one that has the instance; and its number
/// inside.
fn maker(seen: &Seen, info: &RingInfo, processes: &Processes) -> Result<(Pid, i32)> {
    let polls = |pid: &i32| {
        let threads = proc::tasks(Pid(*pid)).unwrap_or_default();
        threads.contains(&Tid(info.poller))
    };
    let found = match info.poller {
        ..0 => Some(seen.pid.0),
        _ => processes.inside.keys().copied().find(polls),
    };
    let number = found.and_then(|pid| Some((Pid(pid), *processes.inside.get(&pid)?)));
    number.ok_or_else(|| {
        seen.refused("an io_uring instance that a process outside of the computation has made")
    })
}

/// Registered files, of which only the name is shown: each has to be the only open file with that name.
fn files(seen: &Seen, info: &RingInfo, all: &[Seen]) -> Result<Vec<u32>> {
    let find = |name: &Option<Vec<u8>>| {
        let Some(name) = name else { return Ok(0) };
        let mut same = (1..)
            .zip(all)
            .filter(|(_, other)| other.path().as_os_str().as_bytes() == name);
        match (same.next(), same.next()) {
            (Some((number, _)), None) if !name.starts_with(b"anon_inode:") => Ok(number),
            _ => Err(seen.refused(&format!(
                "an io_uring instance with a registered file that cannot be told from others, or has been closed, {}",
                String::from_utf8_lossy(name)
            ))),
        }
    };
    info.files.iter().map(find).collect()
}

/// Registered buffers are in the memory of the process that has registered them.
fn buffers(seen: &Seen, info: &RingInfo, maker: Pid, processes: &Processes) -> Result<Vec<RingBufferV1>> {
    let record = |range: &Option<(u64, u64)>| {
        let (address, len) = range.unwrap_or_default();
        RingBufferV1 { address, len }
    };
    let shared = || {
        let has = |pid: &&i32| {
            let other = Pid(**pid);
            let same = |fd: &proc::Fd| {
                rethaw_sys::task::same_description((seen.pid, seen.fd), (other, fd.number)).unwrap_or(true)
            };
            let rings = proc::fds(other).unwrap_or_default();
            other != maker && rings.iter().filter(|fd| fd.target == seen.path()).any(same)
        };
        processes.inside.keys().any(|pid| has(&pid))
    };
    if info.buffers.iter().any(Option::is_some) && shared() {
        return Err(seen.refused("an io_uring instance with registered buffers that several processes have"));
    }
    Ok(info.buffers.iter().map(record).collect())
}

/// Instances to which only one thread may submit (IORING_SETUP_SINGLE_ISSUER): which one, it has to be asked itself.
#[derive(Debug, Default)]
pub(crate) struct Issuers {
    /// By process: its instances, those that are asked for with true.
    open: BTreeMap<Pid, Vec<(i32, u32, bool)>>,
    /// Description and thread.
    found: BTreeMap<u32, i32>,
    /// A thread could not be asked.
    refused: bool,
}

impl Issuers {
    /// `processes` are those of the records, in the same order.
    pub fn new(processes: &[Pid], tables: &[ProcessV1], records: &[DescriptionV1]) -> Issuers {
        let ring = |descriptor: &DescriptorV1| {
            let record = records.get(descriptor.description.checked_sub(1)? as usize)?;
            match &record.kind {
                Some(DescriptionKind::Ring(ring)) => Some((descriptor.fd, record.id, ring.maker == 0)),
                _ => None,
            }
        };
        let tables = processes.iter().zip(tables);
        let open = tables.map(|(pid, table)| (*pid, table.descriptors.iter().filter_map(ring).collect()));
        Issuers {
            open: open.collect(),
            found: BTreeMap::new(),
            refused: false,
        }
    }

    /// Asks a thread of a process.
    pub fn ask(&mut self, pid: Pid, tid: Tid, remote: &mut Remote<'_>) -> Result<()> {
        let rings = self.open.get(&pid).filter(|rings| !rings.is_empty());
        let Some(rings) = rings else { return Ok(()) };
        let name = || format!("cannot ask thread {tid} of process {pid} for its io_uring instances");
        if has_registered_rings(remote).context(name)? {
            let what = "a thread with a registered io_uring descriptor (IORING_REGISTER_RING_FDS)";
            self.refused = true;
            return Err(refused(pid, what, format!("thread {tid}")));
        }
        for (fd, id, wanted) in rings {
            if !wanted || self.found.contains_key(id) {
                continue;
            }
            let place = format!("descriptor {fd}");
            match ask_whether_issuer(*fd, remote).context(name)? {
                Issuer::Another => {}
                Issuer::This => {
                    let status = proc::Status::read((pid, tid)).context_proc()?;
                    let number = status.ns_pids.last().copied().unwrap_or(tid.0);
                    self.found.insert(*id, number);
                }
                Issuer::Refused(what) => {
                    self.refused = true;
                    return Err(refused(pid, &format!("an io_uring instance with {what}"), place));
                }
            }
        }
        Ok(())
    }

    /// Puts what was found into the records.
    pub fn finish(self, processes: &[ProcessV1], records: &mut [DescriptionV1], all: &[Seen]) -> Result<()> {
        if self.refused {
            return Ok(());
        }
        let mut cost = 0;
        for (record, seen) in records.iter_mut().zip(all) {
            let Some(DescriptionKind::Ring(ring)) = &mut record.kind else {
                continue;
            };
            if ring.maker == 0 {
                let maker = self.found.get(&record.id);
                ring.maker = *maker.ok_or_else(|| {
                    seen.refused("an io_uring instance whose only thread that may use it has ended")
                })?;
            }
            cost += rebuild::cost_ns(ring);
            if cost > rebuild::LONGEST_NS {
                let what = "io_uring instances with so many operations behind them that a restart would take minutes";
                return Err(seen.refused(what));
            }
        }
        processes
            .iter()
            .try_for_each(|process| has_descriptors(process, records))
    }
}

/// An instance without a descriptor cannot be looked at.
fn has_descriptors(process: &ProcessV1, records: &[DescriptionV1]) -> Result<()> {
    let known = |inode: u64| {
        let of = |record: &DescriptionV1| matches!(&record.kind, Some(DescriptionKind::Ring(ring)) if ring.inode == inode);
        records.iter().any(of)
    };
    let mappings = process.memory.iter().flat_map(|memory| &memory.mappings);
    let mut areas = mappings.filter(|mapping| mapping.backing() == Backing::IoRing);
    match areas.find(|area| !known(area.io_ring)) {
        Some(area) => Err(refused(
            Pid(process.pid),
            "an io_uring instance that is mapped, and whose descriptor is closed",
            format!("address {:#x}", area.start),
        )),
        None => Ok(()),
    }
}

fn refused(pid: Pid, what: &str, place: String) -> Error {
    Error::Refused {
        what: what.to_owned(),
        pid: pid.0,
        place,
        remedy: "run the program without it".to_owned(),
    }
}

/// IORING_REGISTER_USE_REGISTERED_RING: the number is one of the thread's registered descriptors.
fn has_registered_rings(remote: &mut Remote<'_>) -> io::Result<bool> {
    const REGISTERED: u64 = 1 << 31;
    const NUMBERS: u64 = 16;
    for number in 0..NUMBERS {
        let operation = u64::from(uring::REGISTER_EVENTFD) | REGISTERED;
        let answer = remote.call(
            libc::SYS_io_uring_register,
            [number, operation, uring::NOWHERE, 1, 0, 0],
        )?;
        match answer.err().and_then(|e| e.raw_os_error()) {
            // The thread has never used an instance.
            Some(libc::EINVAL) => return Ok(false),
            Some(libc::EBADF) => {}
            _ => return Ok(true),
        }
    }
    Ok(false)
}

enum Issuer {
    Another,
    This,
    Refused(&'static str),
}

/// Whether this thread may submit; and what can only be asked by it.
fn ask_whether_issuer(fd: i32, remote: &mut Remote<'_>) -> io::Result<Issuer> {
    const GROUPS: u16 = 16;
    let mut ask = |operation: u32, at: u64| {
        let arguments = [fd as u64, operation.into(), at, 1, 0, 0];
        let answer = remote.call(libc::SYS_io_uring_register, arguments)?;
        io::Result::Ok(answer.err().and_then(|e| e.raw_os_error()))
    };
    match ask(uring::REGISTER_EVENTFD, uring::NOWHERE)? {
        Some(libc::EEXIST) => return Ok(Issuer::Another),
        Some(libc::EFAULT) => {}
        Some(libc::EBUSY) => return Ok(Issuer::Refused("a registered eventfd")),
        _ => return Ok(Issuer::Refused("restrictions")),
    }
    if ask(uring::REGISTER_MEM_REGION, uring::NOWHERE)? == Some(libc::EBUSY) {
        return Ok(Issuer::Refused("a registered memory region"));
    }
    if ask(uring::REGISTER_RESTRICTIONS, uring::NOWHERE)? != Some(libc::EBADFD) {
        return Ok(Issuer::Refused("restrictions"));
    }
    for group in 0..GROUPS {
        let at = remote.put(0, &uring::buffer_status(group))?;
        let arguments = [fd as u64, uring::REGISTER_PBUF_STATUS.into(), at, 1, 0, 0];
        let answer = remote.call(libc::SYS_io_uring_register, arguments)?;
        if answer.err().and_then(|e| e.raw_os_error()) != Some(libc::ENOENT) {
            return Ok(Issuer::Refused("provided buffers"));
        }
    }
    Ok(Issuer::This)
}
