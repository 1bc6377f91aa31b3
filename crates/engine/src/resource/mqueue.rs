//! POSIX message queues (mq_overview(7)). A queue belongs to an IPC namespace; after a restart it is in the computation's
//! own. What waits in it can only be looked at by taking it out (`mqueue/look.rs`).

pub mod look;

use super::descriptor::{Processes, Seen};
use crate::Result;
use crate::error::{Context, Error};
use crate::restart::{Stub, damaged};
use rethaw_image::record::{DescriptionKind, DescriptionV1, QueueFileV1};
use rethaw_sys::mqueue::{self, Attributes};
use rethaw_sys::proc::{self, Pid};
use rethaw_sys::task;
use rustix::fs::{Mode, OFlags, fstat};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// What a new IPC namespace lets an ordinary user's queue have (DFLT_MSGMAX, DFLT_MSGSIZEMAX in ipc_namespace.h).
const MOST_MESSAGES: u32 = 10;
const LONGEST: u32 = 8192;

/// Whether it is on the mqueue file system.
pub(crate) fn is_queue(seen: &Seen) -> bool {
    const MQUEUE_MAGIC: u32 = 0x1980_0202;
    rustix::fs::fstatfs(&seen.duplicate).is_ok_and(|state| state.f_type as u32 == MQUEUE_MAGIC)
}

/// What a description is of. `all` are the descriptions in order; the messages are in the first one of the queue.
pub(crate) fn collect(seen: &Seen, id: u32, all: &[Seen], processes: &Processes) -> Result<DescriptionKind> {
    let name = || format!("cannot look at {}", seen.name());
    let stat = fstat(&seen.duplicate).context(name)?;
    let attributes = mqueue::attributes(seen.duplicate.as_fd()).context(name)?;
    let root = rustix::process::geteuid().is_root();
    if !root && (attributes.max_messages > MOST_MESSAGES || attributes.max_bytes > LONGEST) {
        return Err(seen
            .refused("a POSIX message queue that is larger than an ordinary user's in a new IPC namespace"));
    }
    let same = |other: &Seen| {
        fstat(&other.duplicate).is_ok_and(|o| (o.st_dev, o.st_ino) == (stat.st_dev, stat.st_ino))
    };
    let is_first = all.iter().take(id as usize - 1).all(|other| !same(other));
    let mut messages = Vec::new();
    if is_first {
        if is_used_outside(seen.path(), (stat.st_dev, stat.st_ino), processes) {
            return Err(
                seen.refused("a POSIX message queue that a program outside of the computation has open")
            );
        }
        messages = look_at(seen, attributes)?;
    }
    // By mq_open(3) or in /dev/mqueue.
    let last = seen.path().file_name().unwrap_or_default();
    Ok(DescriptionKind::Queue(QueueFileV1 {
        inode: stat.st_ino,
        name: if stat.st_nlink == 0 {
            Vec::new()
        } else {
            [b"/", last.as_bytes()].concat()
        },
        mode: stat.st_mode & 0o777,
        max_messages: attributes.max_messages,
        max_bytes: attributes.max_bytes,
        messages,
    }))
}

/// A message that came in while they are out would be lost or in the wrong place, and one of ours could be read.
fn is_used_outside(queue: &Path, file: (u64, u64), processes: &Processes) -> bool {
    let mut others = proc::processes().unwrap_or_default().into_iter();
    let ours = Pid::own();
    others.any(|pid| {
        let foreign = pid != ours && !processes.inside.contains_key(&pid.0);
        foreign
            && proc::fds(pid).unwrap_or_default().iter().any(|fd| {
                let path = format!("/proc/{pid}/fd/{}", fd.number);
                fd.target.file_name() == queue.file_name()
                    && std::fs::metadata(path).is_ok_and(|found| (found.dev(), found.ino()) == file)
            })
    })
}

/// What is in it; nothing is touched if that is nothing. A registered notification would be given, or given up, when the
/// messages are put back.
fn look_at(seen: &Seen, attributes: Attributes) -> Result<Vec<rethaw_image::record::QueueMessageV1>> {
    let name = || format!("cannot look at {}", seen.name());
    let unreadable = || seen.refused("a POSIX message queue that its user may not read or write");
    let open = |flags: OFlags| {
        let path = format!("/proc/self/fd/{}", seen.duplicate.as_raw_fd());
        rustix::fs::open(path, flags | OFlags::CLOEXEC | OFlags::NONBLOCK, Mode::empty())
    };
    let reader = open(OFlags::RDONLY).map_err(|_| unreadable())?;
    let mut status = String::new();
    std::fs::File::from(reader)
        .read_to_string(&mut status)
        .context(name)?;
    let nobody = status
        .split_once("NOTIFY_PID:")
        .is_some_and(|(_, pid)| pid.trim() == "0");
    if !nobody {
        return Err(seen.refused("a POSIX message queue of which a process is to be notified (mq_notify)"));
    }
    if attributes.messages == 0 {
        return Ok(Vec::new());
    }
    let queue = open(OFlags::RDWR).map_err(|_| unreadable())?;
    look::look(&queue, attributes).context(name)
}

/// Queues that are made again: those with their names, by the inodes that they had.
#[derive(Debug, Default)]
pub(crate) struct Queues {
    made: BTreeMap<u64, (OwnedFd, u32)>,
}

impl Queues {
    /// Opens a queue, which is made first if it is not there. `all` are the descriptions.
    pub fn open<'a>(
        &mut self,
        stub: &mut Stub,
        record: &DescriptionV1,
        of: &QueueFileV1,
        all: impl Iterator<Item = &'a DescriptionV1>,
    ) -> Result<OwnedFd> {
        let name = || {
            format!(
                "cannot rebuild a POSIX message queue {}",
                String::from_utf8_lossy(&of.name)
            )
        };
        if self.made.is_empty() {
            mount(stub).context(name)?;
        }
        let (queue, _) = match self.made.entry(of.inode) {
            Entry::Occupied(made) => made.into_mut(),
            Entry::Vacant(place) => {
                let queue = make(stub, of).context(name)?;
                for message in all.filter_map(|other| messages(other, of.inode)).flatten() {
                    mqueue::send(queue.as_fd(), message.priority, &message.bytes).context(name)?;
                }
                place.insert((queue, of.mode))
            }
        };
        let kept = (libc::O_ACCMODE | libc::O_NONBLOCK) as u32;
        let flags = OFlags::from_bits_retain(record.flags & kept) | OFlags::CLOEXEC;
        let path = format!("/proc/self/fd/{}", queue.as_raw_fd());
        rustix::fs::open(path, flags, Mode::empty()).context(name)
    }

    /// Sets permissions, which may forbid opening.
    pub fn finish(&mut self) -> Result<()> {
        for (queue, mode) in std::mem::take(&mut self.made).into_values() {
            rustix::fs::fchmod(&queue, Mode::from_raw_mode(mode))
                .context(|| "cannot set the permissions of a POSIX message queue".to_owned())?;
        }
        Ok(())
    }
}

fn messages(record: &DescriptionV1, inode: u64) -> Option<&Vec<rethaw_image::record::QueueMessageV1>> {
    match &record.kind {
        Some(DescriptionKind::Queue(of)) if of.inode == inode => Some(&of.messages),
        _ => None,
    }
}

/// The namespace's own queues in the place where the launcher's are, if there is one.
fn mount(stub: &mut Stub) -> std::io::Result<()> {
    let mut remote = stub.remote().map_err(std::io::Error::other)?;
    let kind = remote.put(0, b"mqueue\0")?;
    let place = remote.put(64, b"/dev/mqueue\0")?;
    // Nothing depends on it: queues are opened by mq_open(2).
    let _ = remote.call(libc::SYS_mount, [kind, place, kind, 0, 0, 0])?;
    Ok(())
}

/// Makes an empty queue, and gives it to us. One whose name was removed gets another one for a moment.
fn make(stub: &mut Stub, of: &QueueFileV1) -> std::io::Result<OwnedFd> {
    let name = match of.name.strip_prefix(b"/") {
        Some(name) if !name.contains(&0) => name.to_vec(),
        _ => format!("removed-{}", of.inode).into_bytes(),
    };
    let pid = stub.pid;
    let mut remote = stub.remote().map_err(std::io::Error::other)?;
    let mut attributes = [0_u8; 64];
    attributes[8..12].copy_from_slice(&of.max_messages.to_ne_bytes());
    attributes[16..20].copy_from_slice(&of.max_bytes.to_ne_bytes());
    let name_at = remote.put(0, &[&name[..], b"\0"].concat())?;
    let attributes_at = remote.put(1024, &attributes)?;
    let flags = libc::O_RDWR | libc::O_CREAT | libc::O_EXCL | libc::O_NONBLOCK | libc::O_CLOEXEC;
    let fd = remote.must(
        libc::SYS_mq_open,
        [name_at, flags as u64, 0o600, attributes_at, 0, 0],
    )?;
    let pidfd = task::pidfd_open(pid)?;
    let ours = task::pidfd_getfd(pidfd.as_fd(), fd as i32)?;
    remote.must(libc::SYS_close, [fd, 0, 0, 0, 0, 0])?;
    if of.name.is_empty() {
        remote.must(libc::SYS_mq_unlink, [name_at, 0, 0, 0, 0, 0])?;
    }
    // The folder of a process that is being rebuilt may keep from others what it makes (umask).
    rustix::fs::fchmod(&ours, Mode::from_raw_mode(0o600))?;
    Ok(ours)
}

/// The error for a queue that an image says nothing sensible of.
pub(crate) fn check(of: &QueueFileV1) -> Result<(), Error> {
    let fits = of.messages.len() <= of.max_messages as usize
        && of
            .messages
            .iter()
            .all(|message| message.bytes.len() <= of.max_bytes as usize);
    match fits && of.name.len() < 1000 {
        true => Ok(()),
        false => Err(damaged("a POSIX message queue that cannot be")),
    }
}
