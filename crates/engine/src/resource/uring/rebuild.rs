//! Makes io_uring instances again. The kernel begins to count anew, and the program (liburing) keeps counts of its own: the
//! instance is brought to where it was by operations that do nothing.

use super::history::{ENTRY, LARGE_ENTRIES, NO_ARRAY};
use super::{PAGE, POLLS_SUBMISSIONS, SINGLE_ISSUER, hole};
use crate::Result;
use crate::error::{Context, Error};
use crate::resource::{credentials, event};
use crate::restart::{Plan, Stub, damaged};
use rethaw_image::record::{DescriptionKind, DescriptionV1, DescriptorV1, ProcessV1, RingV1};
use rethaw_sys::remote::Remote;
use rethaw_sys::task;
use rethaw_sys::uring::{self, Area, place};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

/// The longest time that the operations which do nothing may take, for all instances.
pub(super) const LONGEST_NS: u64 = 240_000_000_000;

/// About how long that takes (measured on Linux 6.18: 25 million operations per second, a call 0.15 µs, and by another
/// process 10 µs).
pub(super) fn cost_ns(ring: &RingV1) -> u64 {
    const OPERATION_NS: u64 = 45;
    let call_ns = if ring.flags & SINGLE_ISSUER == 0 {
        150
    } else {
        10_000
    };
    let calls = u64::from(ring.taken) / u64::from(batch(ring));
    u64::from(ring.taken) * OPERATION_NS + calls * call_ns
}

fn batch(ring: &RingV1) -> u32 {
    ring.sq_entries.min(ring.cq_entries).max(1)
}

/// Whether a descriptor is not made with the others.
pub(crate) fn is_made_later(plan: &Plan, descriptor: &DescriptorV1) -> bool {
    let record = plan.descriptions.get(&descriptor.description);
    matches!(
        record.and_then(|record| record.kind.as_ref()),
        Some(DescriptionKind::Ring(_))
    )
}

/// Makes all instances, once there are threads, and maps them.
pub(crate) fn rebuild(plan: &Plan, stubs: &mut [Stub]) -> Result<()> {
    for record in plan.descriptions.values() {
        if let Some(DescriptionKind::Ring(ring)) = &record.kind {
            rebuild_one(record, ring, plan, stubs)?;
        }
    }
    for (index, process) in plan.processes.iter().enumerate() {
        hole::map_areas(plan, process, stubs, index)?;
    }
    Ok(())
}

fn check(ring: &RingV1) -> Result<()> {
    const MOST: u32 = 1 << 16;
    let size = |entries: u32| entries.is_power_of_two() && entries <= MOST;
    let whole = |bytes: &[u8]| !bytes.is_empty() && (bytes.len() as u64).is_multiple_of(PAGE);
    let holds = size(ring.sq_entries)
        && size(ring.cq_entries)
        && whole(&ring.rings)
        && whole(&ring.entries)
        && ring.completed <= ring.taken
        && cost_ns(ring) <= LONGEST_NS;
    match holds {
        true => Ok(()),
        false => Err(damaged("an io_uring instance that cannot be")),
    }
}

fn rebuild_one(record: &DescriptionV1, ring: &RingV1, plan: &Plan, stubs: &mut [Stub]) -> Result<()> {
    let name = || "cannot rebuild an io_uring instance".to_owned();
    check(ring)?;
    let (index, thread) = maker(ring, &plan.processes)?;
    let process = &plan.processes[index];
    let stub = &mut stubs[index];
    // The thread that polls the queue keeps the capabilities of its maker.
    let made = credentials::without_capabilities(&mut stub.remote_in(thread)?, |remote| set_up(remote, ring));
    let made = made.context(name)?;
    let Some(made) = made else {
        return Err(Error::CannotRestart {
            what: "the kernel makes io_uring instances of another kind here".to_owned(),
            remedy: "restart it under the kernel that it ran under".to_owned(),
        });
    };
    let ours = duplicate(stub, made).context(name)?;
    fill(stub, thread, ring, &ours, made).context(name)?;
    event::set_flags(&ours, record)?;
    register(stub, thread, ring, process, made)?;
    let own = process.descriptors.iter().find(|d| d.description == record.id);
    // The others first: they get it from here.
    for (other, holder) in plan.processes.iter().enumerate() {
        let descriptors = holder.descriptors.iter().filter(|d| d.description == record.id);
        for descriptor in descriptors.filter(|_| other != index && holder.descriptors_of == 0) {
            let mut remote = stubs[other].remote()?;
            let arrived = fetch(&mut remote, process.pid, made).context(name)?;
            put(&mut remote, arrived, descriptor).context(name)?;
            close(&mut remote, arrived, Some(descriptor)).context(name)?;
        }
    }
    let mut remote = stubs[index].remote()?;
    for descriptor in process.descriptors.iter().filter(|d| d.description == record.id) {
        put(&mut remote, made, descriptor).context(name)?;
    }
    let stays = process
        .descriptors
        .iter()
        .any(|d| d.description == record.id && d.fd as u64 == made);
    match (stays, own) {
        (true, _) => Ok(()),
        (false, _) => close(&mut remote, made, None).context(name),
    }
}

/// Process and thread, by their places in the plan.
fn maker(ring: &RingV1, processes: &[ProcessV1]) -> Result<(usize, usize)> {
    let place = |process: &ProcessV1| process.threads.iter().position(|thread| thread.tid == ring.maker);
    let mut all = processes.iter().enumerate();
    all.find_map(|(index, process)| Some((index, place(process)?)))
        .ok_or_else(|| damaged("an io_uring instance that nobody has made"))
}

/// Makes an instance and gives its descriptor; nothing if it is not laid out as it was.
fn set_up(remote: &mut Remote<'_>, ring: &RingV1) -> io::Result<Option<u64>> {
    /// struct io_uring_params: after the first words, where things lie in the rings.
    const SIZE: usize = 120;
    const OFFSETS: [(usize, u64); 8] = [
        (40, place::SQ_HEAD),
        (44, place::SQ_TAIL),
        (48, place::SQ_MASK),
        (56, place::SQ_FLAGS),
        (60, place::SQ_DROPPED),
        (80, place::CQ_HEAD),
        (84, place::CQ_TAIL),
        (100, place::COMPLETIONS),
    ];
    let mut parameters = [0; SIZE];
    parameters[4..8].copy_from_slice(&ring.cq_entries.to_ne_bytes());
    parameters[8..12].copy_from_slice(&ring.flags.to_ne_bytes());
    let at = remote.put(0, &parameters)?;
    let fd = remote.must(libc::SYS_io_uring_setup, [ring.sq_entries.into(), at, 0, 0, 0, 0])?;
    let made: [u8; SIZE] = remote.get(0)?;
    let word = |at: usize| u32::from_ne_bytes(made[at..at + 4].try_into().unwrap_or_default());
    let same = word(0) == ring.sq_entries
        && word(4) == ring.cq_entries
        && OFFSETS
            .iter()
            .all(|(at, expected)| u64::from(word(*at)) == *expected);
    Ok(same.then_some(fd))
}

fn duplicate(stub: &Stub, fd: u64) -> io::Result<OwnedFd> {
    let pidfd = task::pidfd_open(stub.pid)?;
    task::pidfd_getfd(pidfd.as_fd(), fd as i32)
}

/// Brings counts and contents to what they were. The kernel's flags are its own: they tell whether the thread that polls
/// sleeps now.
fn fill(stub: &mut Stub, thread: usize, ring: &RingV1, ours: &OwnedFd, inside: u64) -> io::Result<()> {
    let rings = Area::map(ours.as_fd(), uring::OFFSET_RINGS, ring.rings.len() as u64)?;
    let entries = Area::map(ours.as_fd(), uring::OFFSET_ENTRIES, ring.entries.len() as u64)?;
    let mut advance = Advance {
        ring,
        ours,
        rings: &rings,
        at: 0,
    };
    let silent = ring.taken - ring.completed;
    // Operation 0 does nothing (IORING_OP_NOP), and the entries of a new instance are zero.
    mark_silent(&entries, ring, silent > 0)?;
    advance.to(silent, stub, thread, inside)?;
    mark_silent(&entries, ring, false)?;
    advance.to(ring.taken, stub, thread, inside)?;
    let counts = [rings.load(place::SQ_HEAD)?, rings.load(place::CQ_TAIL)?];
    if counts != [ring.taken, ring.completed] {
        return Err(io::Error::other("its counts are not what they were"));
    }
    entries.write(0, &ring.entries)?;
    let (flags, after) = (place::SQ_FLAGS as usize, place::SQ_FLAGS as usize + 4);
    let (before, rest) = (ring.rings.get(..flags), ring.rings.get(after..));
    rings.write(after as u64, rest.unwrap_or_default())?;
    rings.write(0, before.unwrap_or_default())
}

/// Marks all entries so that their operations give no completion (IOSQE_CQE_SKIP_SUCCESS), or unmarks them.
fn mark_silent(entries: &Area, ring: &RingV1, silent: bool) -> io::Result<()> {
    const NO_COMPLETION: u8 = 1 << 6;
    let size = match ring.flags & LARGE_ENTRIES {
        0 => ENTRY,
        _ => 2 * ENTRY,
    };
    let used = match ring.flags & NO_ARRAY {
        // All indices are zero.
        0 => 1,
        _ => u64::from(ring.sq_entries),
    };
    let marks = if silent { NO_COMPLETION } else { 0 };
    (0..used).try_for_each(|index| entries.write(index * size + 1, &[marks]))
}

/// Submits operations that do nothing.
struct Advance<'a> {
    ring: &'a RingV1,
    ours: &'a OwnedFd,
    rings: &'a Area,
    at: u32,
}

impl Advance<'_> {
    fn to(&mut self, end: u32, stub: &mut Stub, thread: usize, inside: u64) -> io::Result<()> {
        if self.ring.flags & SINGLE_ISSUER == 0 || self.ring.flags & POLLS_SUBMISSIONS != 0 {
            return self.submit(end, |ours, count, flags| uring::enter(ours.as_fd(), count, flags));
        }
        let mut remote = stub.remote_in(thread).map_err(io::Error::other)?;
        self.submit(end, |_, count, flags| {
            let arguments = [inside, count.into(), 0, flags.into(), 0, 0];
            Ok(remote.must(libc::SYS_io_uring_enter, arguments)? as u32)
        })
    }

    fn submit(
        &mut self,
        end: u32,
        mut enter: impl FnMut(&OwnedFd, u32, u32) -> io::Result<u32>,
    ) -> io::Result<()> {
        let polled = self.ring.flags & POLLS_SUBMISSIONS != 0;
        while self.at < end {
            let count = (end - self.at).min(batch(self.ring));
            self.at += count;
            self.rings.store(place::SQ_TAIL, self.at)?;
            let flags = if polled { uring::ENTER_SQ_WAKEUP } else { 0 };
            if enter(self.ours, count, flags)? != count {
                return Err(io::Error::other("operations that do nothing were not taken"));
            }
            if polled {
                self.wait_taken()?;
            }
            self.rings
                .store(place::CQ_HEAD, self.rings.load(place::CQ_TAIL)?)?;
        }
        Ok(())
    }

    /// Until the thread that polls has taken all.
    fn wait_taken(&self) -> io::Result<()> {
        const PATIENCE: Duration = Duration::from_secs(10);
        let deadline = Instant::now() + PATIENCE;
        while self.rings.load(place::SQ_HEAD)? != self.at {
            if Instant::now() > deadline {
                return Err(io::ErrorKind::TimedOut.into());
            }
            std::thread::yield_now();
        }
        Ok(())
    }
}

/// Registers files and buffers.
fn register(stub: &mut Stub, thread: usize, ring: &RingV1, process: &ProcessV1, inside: u64) -> Result<()> {
    let name = || "cannot register files and buffers with an io_uring instance".to_owned();
    let file = |id: &u32| match id {
        0 => Ok(-1),
        _ => process
            .descriptors
            .iter()
            .find(|d| d.description == *id)
            .map(|d| d.fd)
            .ok_or_else(|| damaged("a registered file that its process has not open")),
    };
    let files = ring.files.iter().map(file).collect::<Result<Vec<i32>>>()?;
    let files: Vec<u8> = files.iter().flat_map(|fd| fd.to_ne_bytes()).collect();
    let buffers = ring.buffers.iter();
    let buffers: Vec<u8> = buffers
        .flat_map(|buffer| [buffer.address.to_ne_bytes(), buffer.len.to_ne_bytes()].concat())
        .collect();
    for (operation, count, bytes) in [
        (uring::REGISTER_FILES, ring.files.len(), files),
        (uring::REGISTER_BUFFERS, ring.buffers.len(), buffers),
    ] {
        if count > 0 {
            let call = [inside, operation.into(), count as u64];
            register_one(stub, thread, call, &bytes).context(name)?;
        }
    }
    Ok(())
}

/// The list is in memory that is mapped for it.
fn register_one(stub: &mut Stub, thread: usize, call: [u64; 3], bytes: &[u8]) -> io::Result<()> {
    let pid = stub.pid;
    let mut remote = stub.remote_in(thread).map_err(io::Error::other)?;
    let len = (bytes.len() as u64).next_multiple_of(PAGE);
    let protection = (libc::PROT_READ | libc::PROT_WRITE) as u64;
    let flags = (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS) as u64;
    let list = remote.must(libc::SYS_mmap, [0, len, protection, flags, u64::MAX, 0])?;
    rethaw_sys::memory::write(pid, list, bytes)?;
    let [ring, operation, count] = call;
    remote.must(libc::SYS_io_uring_register, [ring, operation, list, count, 0, 0])?;
    remote.must(libc::SYS_munmap, [list, len, 0, 0, 0, 0]).map(drop)
}

/// A duplicate of another process's descriptor. (SCM_RIGHTS does not pass instances on since Linux 6.7.)
pub(super) fn fetch(remote: &mut Remote<'_>, pid: i32, fd: u64) -> io::Result<u64> {
    let pidfd = remote.must(libc::SYS_pidfd_open, [pid as u64, 0, 0, 0, 0, 0])?;
    let got = remote.must(libc::SYS_pidfd_getfd, [pidfd, fd, 0, 0, 0, 0]);
    remote.must(libc::SYS_close, [pidfd, 0, 0, 0, 0, 0])?;
    got
}

/// Puts it under the number that it had; the one that it has stays.
fn put(remote: &mut Remote<'_>, fd: u64, descriptor: &DescriptorV1) -> io::Result<()> {
    let target = descriptor.fd as u64;
    if fd == target {
        let flags = if descriptor.close_on_exec {
            libc::FD_CLOEXEC
        } else {
            0
        };
        let arguments = [target, libc::F_SETFD as u64, flags as u64, 0, 0, 0];
        return remote.must(libc::SYS_fcntl, arguments).map(drop);
    }
    let flags = if descriptor.close_on_exec {
        libc::O_CLOEXEC
    } else {
        0
    };
    let arguments = [fd, target, flags as u64, 0, 0, 0];
    remote.must(libc::SYS_dup3, arguments).map(drop)
}

fn close(remote: &mut Remote<'_>, fd: u64, unless: Option<&DescriptorV1>) -> io::Result<()> {
    if unless.is_some_and(|descriptor| descriptor.fd as u64 == fd) {
        return Ok(());
    }
    remote.must(libc::SYS_close, [fd, 0, 0, 0, 0, 0]).map(drop)
}
