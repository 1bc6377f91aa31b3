//! Descriptor tables and open file descriptions: which descriptors of which processes share one description,
//! and what each description is of.

use super::numbers::Numbers;
use super::object::Objects;
use super::thread::ContextProc;
use super::{epoll, event, file, lock, owner, pipe, socket, terminal};
use crate::Result;
use crate::checkpoint::External;
use crate::checkpoint::freeze::Frozen;
use crate::error::{Context, Error};
use crate::launcher::{self, Inherited};
use rethaw_image::record::{
    DescriptionKind, DescriptionV1, DescriptorV1, ObjectFileV1, OutsideTerminalV1, PipeV1, ProcessV1,
    TerminalV1,
};
use rethaw_sys::proc::{self, FdInfo, Pid};
use rethaw_sys::task;
use rustix::fs::{FileType, fstat};
use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Where a description was first seen.
#[derive(Debug)]
pub(crate) struct Seen {
    pub pid: Pid,
    pub fd: i32,
    pub info: FdInfo,
    pub target: PathBuf,
    /// Our duplicate of it.
    pub duplicate: OwnedFd,
}

/// All open file descriptions of a computation.
#[derive(Debug, Default)]
pub(crate) struct Descriptions {
    seen: Vec<Seen>,
    /// Index into `seen` by (device, inode), to ask kcmp only where two can be the same.
    by_inode: BTreeMap<(u64, u64), Vec<usize>>,
}

impl Descriptions {
    /// Collects the descriptor table of a frozen process.
    pub fn add_process(&mut self, pid: Pid) -> Result<Vec<DescriptorV1>> {
        let pidfd = task::pidfd_open(pid)
            .or_else(|_| task::pidfd_open_thread(pid.leader()))
            .context(|| format!("cannot open process {pid}"))?;
        let mut table = Vec::new();
        for fd in proc::fds(pid).context_proc()? {
            let info = FdInfo::read(pid, fd.number).context_proc()?;
            let close_on_exec = info.flags & libc::O_CLOEXEC as u32 != 0;
            let duplicate = task::pidfd_getfd(pidfd.as_fd(), fd.number)
                .context(|| format!("cannot duplicate descriptor {} of process {pid}", fd.number))?;
            let seen = Seen {
                pid,
                fd: fd.number,
                info,
                target: fd.target,
                duplicate,
            };
            table.push(DescriptorV1 {
                fd: fd.number,
                close_on_exec,
                description: self.number_of(seen)?,
            });
        }
        Ok(table)
    }

    /// Where each description was first seen, in the order of their numbers.
    pub fn iter(&self) -> impl Iterator<Item = &Seen> {
        self.seen.iter()
    }

    /// Number of the description, from 1; a new one if it was not seen before.
    fn number_of(&mut self, new: Seen) -> Result<u32> {
        let stat = fstat(&new.duplicate).context(|| format!("cannot look at {}", new.name()))?;
        let candidates = self.by_inode.entry((stat.st_dev, stat.st_ino)).or_default();
        for index in candidates.iter() {
            let old = &self.seen[*index];
            if task::same_description((old.pid, old.fd), (new.pid, new.fd))
                .context(|| format!("cannot compare {} with {}", old.name(), new.name()))?
            {
                return Ok(*index as u32 + 1);
            }
        }
        candidates.push(self.seen.len());
        self.seen.push(new);
        Ok(self.seen.len() as u32)
    }

    /// Collects what every description is of.
    pub fn collect(
        &self,
        objects: &mut Objects,
        numbers: &Numbers,
        known: &[Inherited],
        external: External,
    ) -> Result<(Vec<DescriptionV1>, Vec<PipeV1>)> {
        let mut pipes = pipe::Pipes::default();
        let mut records = Vec::new();
        let around = socket::Around::look(&self.seen, external)?;
        for (id, seen) in (1..).zip(&self.seen) {
            let kind = match launcher::slot((seen.pid, seen.fd), &seen.duplicate, seen.info.flags, known) {
                Some(slot) => DescriptionKind::Launcher(slot),
                None => self.kind(seen, objects, &mut pipes, &around)?,
            };
            records.push(DescriptionV1 {
                id,
                flags: seen.info.flags & !((libc::O_CLOEXEC | libc::O_ASYNC) as u32),
                kind: Some(kind),
                locks: lock::collect(seen, numbers),
                owner: owner::collect(seen, numbers),
            });
        }
        let pipes = pipes.collect(&self.seen, &records)?;
        Ok((records, pipes))
    }

    /// Collects the pseudo-terminals among them.
    pub fn terminals(&self, numbers: &Numbers, records: &mut [DescriptionV1]) -> Result<Vec<TerminalV1>> {
        terminal::collect(numbers, &self.seen, records)
    }

    /// The launcher's terminal, if it is among them.
    pub fn outside_terminal(
        &self,
        frozen: &Frozen,
        processes: &[ProcessV1],
        records: &[DescriptionV1],
    ) -> Result<Option<OutsideTerminalV1>> {
        terminal::outside::collect(frozen, processes, &self.seen, records)
    }

    fn kind(
        &self,
        seen: &Seen,
        objects: &mut Objects,
        pipes: &mut pipe::Pipes,
        around: &socket::Around<'_>,
    ) -> Result<DescriptionKind> {
        let target = seen.target.as_os_str().as_bytes();
        match target {
            b"anon_inode:[eventfd]" => return event::collect_eventfd(seen),
            b"anon_inode:[timerfd]" => return event::collect_timerfd(seen),
            b"anon_inode:[signalfd]" => return event::collect_signalfd(seen),
            b"anon_inode:[eventpoll]" => return epoll::collect(seen, &self.seen),
            b"anon_inode:[pidfd]" => return Err(seen.refused("a process descriptor (pidfd)")),
            _ if target.starts_with(b"anon_inode:") => return Err(seen.refused("a kernel object")),
            _ => {}
        }
        let stat = fstat(&seen.duplicate).context(|| format!("cannot look at {}", seen.name()))?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Fifo => Ok(pipes.end(seen, stat.st_ino)),
            FileType::RegularFile | FileType::Directory if target.ends_with(b" (deleted)") => {
                collect_object(seen, objects)
            }
            FileType::RegularFile | FileType::Directory => file::collect(seen),
            FileType::CharacterDevice => match terminal::kind(seen, stat.st_rdev)? {
                Some(kind) => Ok(kind),
                None => file::collect_device(seen),
            },
            FileType::Socket => socket::collect(seen, around),
            FileType::BlockDevice => Err(seen.refused("a block device")),
            _ => Err(seen.refused("a file of unknown type")),
        }
    }
}

/// A memfd or a deleted file: it travels in the image.
fn collect_object(seen: &Seen, objects: &mut Objects) -> Result<DescriptionKind> {
    let name = || format!("cannot look at {}", seen.name());
    let file = File::from(seen.duplicate.try_clone().context(name)?);
    let metadata = file.metadata().context(name)?;
    if metadata.is_dir() {
        return Err(seen.refused("a deleted folder"));
    }
    if metadata.nlink() > 0 && !seen.target.as_os_str().as_bytes().starts_with(b"/memfd:") {
        return Err(seen.refused("a file that has lost this name and has another one (hard link)"));
    }
    let object = objects.opened(&seen.target, file).context(name)?;
    Ok(DescriptionKind::Object(ObjectFileV1 {
        object,
        offset: seen.info.pos,
    }))
}

/// Whether a description with these flags can be read from.
pub(crate) fn reads(flags: u32) -> bool {
    flags & libc::O_ACCMODE as u32 != libc::O_WRONLY as u32
}

impl Seen {
    /// Whether it is a socket.
    pub fn is_socket(&self) -> bool {
        self.target.as_os_str().as_bytes().starts_with(b"socket:")
    }

    /// For messages.
    pub fn name(&self) -> String {
        format!(
            "descriptor {} of process {} ({})",
            self.fd,
            self.pid,
            self.target.display()
        )
    }

    /// The path, when it is one.
    pub fn path(&self) -> &Path {
        &self.target
    }

    /// The refusal of something that cannot be checkpointed.
    pub fn refused(&self, what: &str) -> Error {
        Error::Refused {
            what: format!("{what} ({})", self.target.display()),
            pid: self.pid.0,
            place: format!("descriptor {}", self.fd),
            remedy: "take the checkpoint while it is closed, or run the program without it".to_owned(),
        }
    }
}
