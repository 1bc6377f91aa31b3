//! Descriptor tables and open file descriptions: which descriptors of which processes share one description,
//! and what each description is of.

use super::numbers::Numbers;
use super::object::Objects;
use super::thread::ContextProc;
use super::{device, epoll, event, file, inotify, lock, mqueue, owner, pidfd, pipe, socket, terminal, uring};
use crate::Result;
use crate::checkpoint::External;
use crate::checkpoint::freeze::Frozen;
use crate::checkpoint::refusals::Refusals;
use crate::error::{Context, Error};
use crate::launcher::{self, Inherited};
use crate::others::Others;
use rethaw_image::record::{
    DescriptionKind, DescriptionV1, DescriptorV1, OutsideTerminalV1, PipeV1, ProcessV1, TerminalV1,
};
use rethaw_sys::proc::{self, FdInfo, Pid};
use rethaw_sys::remote::Remote;
use rethaw_sys::task;
use rustix::fs::{FileType, OFlags, fstat};
use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
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
    /// No process has it: it is in flight in the queue of this socket. `pid` and `fd` are ours then.
    pub in_flight: Option<(Pid, i32)>,
}

/// All open file descriptions of a computation.
#[derive(Debug, Default)]
pub(crate) struct Descriptions {
    seen: Vec<Seen>,
    /// Index into `seen` by (device, inode), to ask kcmp only where two can be the same.
    by_inode: BTreeMap<(u64, u64), Vec<usize>>,
    /// Where they are.
    pub processes: Processes,
    /// Whose tables they are.
    members: BTreeSet<Pid>,
    /// Descriptors of which /proc does not tell whether execve(2) closes them.
    unclear: BTreeSet<(Pid, i32)>,
    watched: inotify::Found,
}

/// What their descriptions are looked at with.
pub(crate) struct Surroundings<'a> {
    /// What the program inherited from its launcher.
    pub known: &'a [Inherited],
    /// What to do about connections to the outside.
    pub external: External,
    pub refusals: &'a Refusals,
}

/// The processes whose descriptors these are.
#[derive(Debug, Default)]
pub(crate) struct Processes {
    /// Their numbers as they see them, by those that we see.
    pub inside: BTreeMap<i32, i32>,
    /// Their current folders.
    pub folders: BTreeSet<PathBuf>,
}

impl Descriptions {
    /// Collects the descriptor table of a frozen process.
    pub fn add_process(&mut self, pid: Pid) -> Result<Vec<DescriptorV1>> {
        let pidfd = task::pidfd_open(pid)
            .or_else(|_| task::pidfd_open_thread(pid.leader()))
            .context(|| format!("cannot open process {pid}"))?;
        let status = proc::Status::read(pid).context_proc()?;
        let inside = status.ns_pids.last().copied().unwrap_or(pid.0);
        self.processes.inside.insert(pid.0, inside);
        self.processes.folders.extend(proc::cwd(pid));
        self.members.insert(pid);
        let mut table = Vec::new();
        for fd in proc::fds(pid).context_proc()? {
            let info = FdInfo::read(pid, fd.number).context_proc()?;
            let close_on_exec = info.flags & libc::O_CLOEXEC as u32 != 0;
            let duplicate = task::pidfd_getfd(pidfd.as_fd(), fd.number)
                .context(|| format!("cannot duplicate descriptor {} of process {pid}", fd.number))?;
            if close_on_exec && keeps_flag(&duplicate) {
                self.unclear.insert((pid, fd.number));
            }
            let seen = Seen {
                pid,
                fd: fd.number,
                info,
                target: fd.target,
                duplicate,
                in_flight: None,
            };
            table.push(DescriptorV1 {
                fd: fd.number,
                close_on_exec,
                description: self.number_of(seen)?,
            });
        }
        Ok(table)
    }

    /// What only the process itself is told of its descriptors.
    pub fn collect_inside(
        &self,
        pid: Pid,
        table: &mut [DescriptorV1],
        remote: &mut Remote<'_>,
    ) -> Result<()> {
        for descriptor in table.iter_mut().filter(|d| self.unclear.contains(&(pid, d.fd))) {
            let get = [descriptor.fd as u64, libc::F_GETFD as u64, 0, 0, 0, 0];
            let flags = remote
                .must(libc::SYS_fcntl, get)
                .context(|| format!("cannot look at descriptor {} of process {pid}", descriptor.fd))?;
            descriptor.close_on_exec = flags & libc::FD_CLOEXEC as u64 != 0;
        }
        Ok(())
    }

    /// Where each description was first seen, in the order of their numbers.
    pub fn iter(&self) -> impl Iterator<Item = &Seen> {
        self.seen.iter()
    }

    /// The same, as a list.
    pub fn all(&self) -> &[Seen] {
        &self.seen
    }

    /// The description of that number.
    pub fn get(&self, number: u32) -> Option<&Seen> {
        self.seen.get(number.checked_sub(1)? as usize)
    }

    /// Number of a description in flight in the queue of the socket at `carrier`, of which we have a duplicate.
    pub fn in_flight(&mut self, duplicate: OwnedFd, carrier: (Pid, i32)) -> Result<u32> {
        let fd = duplicate.as_raw_fd();
        let target = std::fs::read_link(format!("/proc/self/fd/{fd}"))
            .context(|| "cannot look at a descriptor in flight".to_owned())?;
        self.number_of(Seen {
            pid: Pid::own(),
            fd,
            info: FdInfo::read(Pid::own(), fd).context_proc()?,
            target,
            duplicate,
            in_flight: Some(carrier),
        })
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

    /// Whether an io_uring instance was refused, so that its record is missing.
    pub fn lacks_ring(&self, records: &[DescriptionV1]) -> bool {
        let mut each = self.seen.iter().zip(records);
        each.any(|(seen, record)| record.kind.is_none() && uring::is_ring(seen))
    }

    /// Collects what every description is of. What is refused has no kind.
    pub fn collect(
        &mut self,
        objects: &mut Objects,
        numbers: &Numbers,
        surroundings: &Surroundings<'_>,
        others: Option<&mut dyn Others>,
    ) -> Result<(Vec<DescriptionV1>, Vec<PipeV1>)> {
        let refusals = surroundings.refusals;
        self.watched = inotify::Found::search(&self.seen, &self.processes.folders);
        let unix = socket::look(self, surroundings)?;
        let mut pipes = pipe::Pipes::default();
        let mut records = Vec::new();
        let around = socket::Around::look(&self.seen, &self.processes, unix, others)?;
        for (id, seen) in (1..).zip(&self.seen) {
            let slot = launcher::slot(
                (seen.pid, seen.fd),
                &seen.duplicate,
                seen.info.flags,
                surroundings.known,
            );
            let kind = match slot {
                Some(slot) => Some(DescriptionKind::Launcher(slot)),
                None if around.is_refused(id) => None,
                None => refusals.pass(self.kind(id, objects, &mut pipes, &around))?,
            };
            records.push(DescriptionV1 {
                id,
                flags: seen.info.flags & !((libc::O_CLOEXEC | libc::O_ASYNC) as u32),
                kind,
                locks: lock::collect(seen, numbers),
                owner: owner::collect(seen, numbers),
            });
        }
        let pipes = pipes.collect(&self.seen, &records, refusals)?;
        Ok((records, pipes))
    }

    /// Collects the pseudo-terminals among them.
    pub fn terminals(
        &self,
        numbers: &Numbers,
        records: &mut [DescriptionV1],
        refusals: &Refusals,
    ) -> Result<Vec<TerminalV1>> {
        terminal::collect(numbers, &self.seen, records, refusals)
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
        id: u32,
        objects: &mut Objects,
        pipes: &mut pipe::Pipes,
        around: &socket::Around<'_>,
    ) -> Result<DescriptionKind> {
        let seen = &self.seen[id as usize - 1];
        if file::procfs::is_of(seen) {
            return file::procfs::collect(seen, &self.members);
        }
        if seen.info.flags & libc::O_PATH as u32 != 0 {
            return file::collect(seen, objects);
        }
        let target = seen.target.as_os_str().as_bytes();
        if let Some(device) = device::known(target) {
            return Err(seen.refused_until(device.what, device.remedy));
        }
        match target {
            b"anon_inode:[eventfd]" => return event::collect_eventfd(seen),
            b"anon_inode:[timerfd]" => return event::collect_timerfd(seen),
            b"anon_inode:[signalfd]" => return event::collect_signalfd(seen),
            b"anon_inode:[eventpoll]" => return epoll::collect(seen, &self.seen),
            b"anon_inode:[pidfd]" => return pidfd::collect(seen, &self.members),
            inotify::TARGET => return inotify::collect(seen, &self.watched),
            b"anon_inode:[fanotify]" => return Err(seen.refused("a fanotify instance")),
            _ if uring::is_ring(seen) => return uring::collect(seen, &self.seen, &self.processes),
            b"anon_inode:[userfaultfd]" => return Err(seen.refused("a userfaultfd instance")),
            b"anon_inode:[perf_event]" => return Err(seen.refused("a performance counter (perf)")),
            b"anon_inode:[fscontext]" => return Err(seen.refused("a mount in the making (fsopen)")),
            _ if target.starts_with(b"anon_inode:kvm") => return Err(seen.refused("a virtual machine (KVM)")),
            _ if target.starts_with(b"anon_inode:bpf") => return Err(seen.refused("a BPF object")),
            _ if target.starts_with(b"anon_inode:") => return Err(seen.refused("a kernel object")),
            _ => {}
        }
        let stat = fstat(&seen.duplicate).context(|| format!("cannot look at {}", seen.name()))?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Fifo => Ok(pipes.end(seen, stat.st_ino, &objects.names)),
            FileType::RegularFile if mqueue::is_queue(seen) => {
                mqueue::collect(seen, id, &self.seen, &self.processes)
            }
            FileType::RegularFile if target == b"/secretmem (deleted)" => {
                Err(seen.refused("secret memory (memfd_secret)"))
            }
            FileType::RegularFile if target.starts_with(b"/memfd:") => file::collect_object(seen, objects),
            FileType::RegularFile | FileType::Directory => file::collect(seen, objects),
            FileType::CharacterDevice => match terminal::kind(seen, stat.st_rdev)? {
                Some(kind) => Ok(kind),
                None => file::collect_device(seen),
            },
            FileType::Socket => socket::collect(seen, id, around, &objects.names),
            FileType::BlockDevice => Err(seen.refused("a block device")),
            _ => Err(seen.refused("a file of unknown type")),
        }
    }
}

/// Whether a description itself has O_CLOEXEC, which /proc then shows of all of its descriptors: the slave of a
/// pseudo-terminal that was opened by TIOCGPTPEER with this flag (measured on Linux 6.18).
fn keeps_flag(description: &OwnedFd) -> bool {
    rustix::fs::fcntl_getfl(description).is_ok_and(|flags| flags.contains(OFlags::CLOEXEC))
}

/// Whether a description with these flags can be read from.
pub(crate) fn reads(flags: u32) -> bool {
    flags & libc::O_ACCMODE as u32 != libc::O_WRONLY as u32
}

/// Whether it can be written to.
pub(crate) fn writes(flags: u32) -> bool {
    flags & libc::O_ACCMODE as u32 != libc::O_RDONLY as u32
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
        self.refused_until(
            what,
            "take the checkpoint while it is closed, or run the program without it",
        )
    }

    /// The same, with what is to be done about it.
    pub fn refused_until(&self, what: &str, remedy: &str) -> Error {
        let (pid, fd) = self.in_flight.unwrap_or((self.pid, self.fd));
        Error::Refused {
            what: format!("{what} ({})", self.target.display()),
            pid: pid.0,
            place: match self.in_flight {
                Some(_) => format!("in flight to descriptor {fd}"),
                None => format!("descriptor {fd}"),
            },
            remedy: remedy.to_owned(),
        }
    }
}
