//! Descriptor tables, the other direction: every open file description is made once, by the agent, and passed
//! into all processes that had it, under the numbers that they had for it.

use super::descriptor::reads;
use super::object::RebuiltObjects;
use super::socket::{MadeSockets, Workshop};
use super::terminal::Terminals;
use super::{epoll, event, file, inotify, lock, mqueue, owner, pidfd, pipe, socket, uring};
use crate::Result;
use crate::error::{Context, Error};
use crate::init::Init;
use crate::restart::{Passage, Plan, Stub, damaged};
use rethaw_image::record::{DescriptionKind, DescriptionV1, DescriptorV1, InotifyV1, ProcessV1};
use rethaw_sys::proc::Limits;
use rethaw_sys::task;
use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

/// Rebuilds the descriptor tables of a computation.
#[derive(Debug)]
pub(crate) struct Table<'a> {
    plan: &'a Plan,
    passage: Passage,
    /// Descriptions that are made already.
    made: BTreeMap<u32, OwnedFd>,
    pipes: BTreeMap<u32, (OwnedFd, OwnedFd)>,
    /// By the numbers of their descriptions.
    sockets: BTreeMap<u32, OwnedFd>,
    pidfds: pidfd::Rebuilt,
    terminals: Terminals,
    queues: mqueue::Queues,
    /// No descriptor table was rebuilt yet.
    first: bool,
}

impl<'a> Table<'a> {
    /// Makes the pipes and sockets with their contents; other descriptions are made when the first process, or a
    /// message in flight, needs them.
    pub fn new(
        plan: &'a Plan,
        init: &Init,
        terminals: Terminals,
        pidfds: pidfd::Rebuilt,
        mut workshop: Workshop<'_>,
        objects: &RebuiltObjects,
        warnings: &mut Vec<String>,
    ) -> Result<Table<'a>> {
        let pipes = plan
            .pipes
            .iter()
            .map(|(number, record)| Ok((*number, pipe::rebuild(record, fifo(plan, *number).as_deref())?)));
        let pipes = pipes.collect::<Result<_>>()?;
        let unix = MadeSockets::make(&plan.descriptions, &plan.places, &mut workshop)?;
        let mut sockets = socket::rebuild(&plan.descriptions, plan.notice)?;
        sockets.extend(unix.duplicates()?);
        let mut table = Table {
            plan,
            passage: Passage::new(init)?,
            made: BTreeMap::new(),
            pipes,
            sockets,
            pidfds,
            terminals,
            queues: mqueue::Queues::default(),
            first: true,
        };
        unix.fill(&mut workshop, |stub, ids| {
            table.duplicates(stub, ids, objects, warnings)
        })?;
        unix.finish(&mut workshop, warnings)?;
        workshop.close()?;
        Ok(table)
    }

    /// Duplicates of descriptions.
    fn duplicates(
        &mut self,
        stub: &mut Stub,
        ids: &[u32],
        objects: &RebuiltObjects,
        warnings: &mut Vec<String>,
    ) -> Result<Vec<OwnedFd>> {
        let duplicate = |id: &u32| {
            let description = self.description(stub, *id, objects, warnings)?;
            let duplicate = description.try_clone();
            duplicate.context(|| "cannot duplicate a descriptor".to_owned())
        };
        ids.iter().map(duplicate).collect()
    }

    /// Rebuilds one table.
    pub fn rebuild(
        &mut self,
        stub: &mut Stub,
        record: &ProcessV1,
        objects: &RebuiltObjects,
        warnings: &mut Vec<String>,
    ) -> Result<()> {
        // Shared with a process before.
        if record.descriptors_of != 0 {
            return Ok(());
        }
        let passage = self.clear(stub, &record.descriptors)?;
        let late = |d: &&DescriptorV1| !uring::is_made_later(self.plan, d);
        let mut descriptors: Vec<_> = record.descriptors.iter().filter(late).copied().collect();
        // In ascending order a received descriptor, which gets the lowest free number, is never in the way.
        descriptors.sort_by_key(|d| d.fd);
        let name = |fd: i32| format!("cannot rebuild descriptor {fd} of process {}", record.pid);
        // Up to the first gap, those that arrive together get the numbers that they are to have.
        let together = (0..).zip(&descriptors).take_while(|(fd, d)| d.fd == *fd).count();
        let (together, others) = descriptors.split_at(together);
        for some in together.chunks(Passage::MOST) {
            let ids: Vec<u32> = some.iter().map(|d| d.description).collect();
            let fds = self.duplicates(stub, &ids, objects, warnings)?;
            let fds: Vec<BorrowedFd<'_>> = fds.iter().map(AsFd::as_fd).collect();
            for (arrived, descriptor) in passage.pass_all(stub, &fds)?.into_iter().zip(some) {
                place(stub, arrived, descriptor).context(|| name(descriptor.fd))?;
            }
        }
        for descriptor in others {
            let fd = self.description(stub, descriptor.description, objects, warnings)?;
            let arrived = passage.pass(stub, fd.as_fd())?;
            place(stub, arrived, descriptor).context(|| name(descriptor.fd))?;
        }
        if std::mem::take(&mut self.first) {
            self.watch_in_flight(stub, &passage, &descriptors, objects, warnings)?;
        }
        let close = [passage.inside() as u64, 0, 0, 0, 0, 0];
        stub.remote()?
            .must(libc::SYS_close, close)
            .context(|| "cannot close a socket".to_owned())?;
        Ok(())
    }

    /// Closes everything but the way in, which moves above all numbers that are needed.
    fn clear(&self, stub: &mut Stub, descriptors: &[DescriptorV1]) -> Result<Passage> {
        const RLIMIT_NOFILE: u32 = 7;
        let name = || "cannot empty a descriptor table".to_owned();
        if let Ok(limits) = Limits::read(stub.pid) {
            let hard = limits.by_resource[RLIMIT_NOFILE as usize].hard;
            let _ = task::set_limit(stub.pid, RLIMIT_NOFILE, hard, hard);
        }
        let registered = self.plan.epolls_in_flight().flat_map(|(_, epoll)| &epoll.watches);
        let numbers = descriptors
            .iter()
            .map(|d| d.fd)
            .chain(registered.map(|watch| watch.fd));
        let above = numbers.map(|fd| fd.saturating_add(1)).max().unwrap_or(0).max(3) as u64;
        let mut remote = stub.remote()?;
        let inside = self.passage.inside() as u64;
        let moved = remote
            .must(
                libc::SYS_fcntl,
                [inside, libc::F_DUPFD_CLOEXEC as u64, above, 0, 0, 0],
            )
            .context(|| format!("cannot use descriptor {above} (see `ulimit -n`)"))?;
        remote
            .must(libc::SYS_close_range, [0, moved - 1, 0, 0, 0, 0])
            .context(name)?;
        remote
            .must(libc::SYS_close_range, [moved + 1, u32::MAX.into(), 0, 0, 0, 0])
            .context(name)?;
        self.passage.at(moved as i32)
    }

    /// Epoll instances that no process has, because they are in flight: their registrations are made in any process,
    /// whose table is as before then.
    fn watch_in_flight(
        &mut self,
        stub: &mut Stub,
        passage: &Passage,
        table: &[DescriptorV1],
        objects: &RebuiltObjects,
        warnings: &mut Vec<String>,
    ) -> Result<()> {
        let plan = self.plan;
        for (id, watched) in plan.epolls_in_flight() {
            let mut table = table.to_vec();
            let mut passed = Vec::new();
            for description in [id]
                .into_iter()
                .chain(watched.watches.iter().map(|watch| watch.description))
            {
                let fd = self.description(stub, description, objects, warnings)?;
                let arrived = passage.pass(stub, fd.as_fd())?;
                passed.push(arrived);
                table.push(DescriptorV1 {
                    fd: arrived as i32,
                    close_on_exec: true,
                    description,
                });
            }
            let mut remote = stub.remote()?;
            if let Some(epoll) = table.iter().find(|d| d.description == id) {
                epoll::rebuild(&mut remote, epoll, watched, &table, &plan.processes)?;
            }
            for fd in passed {
                remote
                    .must(libc::SYS_close, [fd, 0, 0, 0, 0, 0])
                    .context(|| "cannot close a descriptor".to_owned())?;
            }
        }
        Ok(())
    }

    fn description(
        &mut self,
        stub: &mut Stub,
        number: u32,
        objects: &RebuiltObjects,
        warnings: &mut Vec<String>,
    ) -> Result<&OwnedFd> {
        let record = self
            .plan
            .descriptions
            .get(&number)
            .ok_or_else(|| damaged("a descriptor of nothing"))?;
        if !self.made.contains_key(&number) {
            let fd = self.make(stub, record, objects, warnings)?;
            self.made.insert(number, fd);
        }
        self.made
            .get(&number)
            .ok_or_else(|| damaged("a descriptor of nothing"))
    }

    fn make(
        &mut self,
        stub: &mut Stub,
        record: &DescriptionV1,
        objects: &RebuiltObjects,
        warnings: &mut Vec<String>,
    ) -> Result<OwnedFd> {
        let Some(kind) = &record.kind else {
            return Err(damaged("a descriptor of unknown kind"));
        };
        let fd = match kind {
            DescriptionKind::Launcher(slot) => return launcher(*slot as i32, warnings),
            DescriptionKind::Terminal(_) => return terminal(record, warnings),
            DescriptionKind::Regular(regular) => {
                return file::open(record, regular, self.plan, objects, stub);
            }
            DescriptionKind::Proc(of) => return file::procfs::open(record, of, stub),
            DescriptionKind::Device(path) => match file::open_device(record, path) {
                Err(Error::Os { source, .. })
                    if source.raw_os_error() == Some(libc::ENXIO) && path == b"/dev/tty" =>
                {
                    return terminal(record, warnings);
                }
                opened => return opened,
            },
            DescriptionKind::Object(of) => return objects.open(record, of),
            DescriptionKind::Pipe(end) => {
                let ends = self
                    .pipes
                    .get(&end.pipe)
                    .ok_or_else(|| damaged("a pipe that is missing"))?;
                return pipe::open_end(record, ends);
            }
            DescriptionKind::EventFd(event) => event::rebuild_eventfd(event)?,
            DescriptionKind::TimerFd(timer) => event::rebuild_timerfd(timer)?,
            DescriptionKind::SignalFd(mask) => event::rebuild_signalfd(*mask)?,
            DescriptionKind::Epoll(_) => epoll::make()?,
            DescriptionKind::Unix(_) | DescriptionKind::Socket(_) | DescriptionKind::TcpConnection(_) => self
                .sockets
                .remove(&record.id)
                .ok_or_else(|| damaged("a socket that is missing"))?,
            DescriptionKind::Inotify(_) => inotify::make()?,
            DescriptionKind::Queue(of) => {
                mqueue::check(of)?;
                return self
                    .queues
                    .open(stub, record, of, self.plan.descriptions.values());
            }
            DescriptionKind::Ring(_) => return Err(damaged("an io_uring instance in flight")),
            DescriptionKind::Master(_) | DescriptionKind::Slave(_) | DescriptionKind::Controlling(_) => {
                let terminal = self.terminals.remove(record.id);
                return terminal.ok_or_else(|| damaged("a pseudo-terminal that is missing"));
            }
            DescriptionKind::PidFd(pid) => {
                let now = self.pidfds.pids.get(pid).ok_or_else(|| pidfd::missing(*pid))?;
                pidfd::rebuild(record, *now)?
            }
            DescriptionKind::EndedProcess(_) => self
                .pidfds
                .ended
                .remove(&record.id)
                .ok_or_else(|| damaged("a pidfd that is missing"))?,
        };
        event::set_flags(&fd, record)?;
        Ok(fd)
    }

    /// What can only be done once all descriptors are in place: epoll registrations, locks of processes.
    pub fn connect(&mut self, stubs: &mut [Stub], warnings: &mut Vec<String>) -> Result<()> {
        self.terminals.finish(self.plan, stubs, warnings)?;
        self.queues.finish()?;
        let holders = self.holders();
        for (number, fd) in &self.made {
            let Some(record) = self.plan.descriptions.get(number) else {
                continue;
            };
            let Some((first, holders)) = holders.get(number).and_then(|all| Some((*all.first()?, all)))
            else {
                continue;
            };
            if let (Some(DescriptionKind::Epoll(watched)), Some(stub)) =
                (&record.kind, stubs.get_mut(first.0))
            {
                let all = &self.plan.processes;
                let table = all.get(first.0).map_or(&[][..], |process| &process.descriptors);
                let own = table.iter().find(|descriptor| descriptor.description == *number);
                if let Some(own) = own {
                    epoll::rebuild(&mut stub.remote()?, own, watched, table, all)?;
                }
            }
            lock::rebuild(record, fd, self.plan, stubs, holders, warnings)?;
            owner::rebuild(record, fd.as_fd(), self.plan, stubs, first)?;
        }
        Ok(())
    }

    /// The processes that have a description, by their order in the plan, and its number there.
    fn holders(&self) -> BTreeMap<u32, Vec<(usize, i32)>> {
        let mut holders: BTreeMap<u32, Vec<(usize, i32)>> = BTreeMap::new();
        for (index, process) in self.plan.processes.iter().enumerate() {
            for descriptor in &process.descriptors {
                let of = holders.entry(descriptor.description).or_default();
                of.push((index, descriptor.fd));
            }
        }
        holders
    }
}

/// inotify instances that watch again, until the program runs.
pub(crate) type Notifiers = Vec<(OwnedFd, InotifyV1)>;

impl Table<'_> {
    /// Lets inotify instances watch again, after everything else was opened.
    pub fn watch(mut self, stubs: &[Stub]) -> Result<Notifiers> {
        let mut notifiers = Vec::new();
        for record in self.plan.descriptions.values() {
            let Some(DescriptionKind::Inotify(instance)) = &record.kind else {
                continue;
            };
            let Some(fd) = self.made.remove(&record.id) else {
                continue;
            };
            let open = |description: u32| {
                let mut all = stubs.iter().zip(&self.plan.processes);
                all.find_map(|(stub, process)| {
                    let descriptor = process
                        .descriptors
                        .iter()
                        .find(|d| d.description == description)?;
                    Some(PathBuf::from(format!("/proc/{}/fd/{}", stub.pid, descriptor.fd)))
                })
            };
            inotify::rebuild(&fd, instance, &self.plan.places, open)?;
            notifiers.push((fd, instance.clone()));
        }
        Ok(notifiers)
    }
}

/// Where a pipe has its name, if it is a FIFO.
fn fifo(plan: &Plan, pipe: u32) -> Option<PathBuf> {
    plan.descriptions.values().find_map(|record| match &record.kind {
        Some(DescriptionKind::Pipe(end)) if end.pipe == pipe && !end.path.is_empty() => {
            Some(plan.places.path(&end.path))
        }
        _ => None,
    })
}

/// Puts a descriptor that has arrived under the number that it had.
fn place(stub: &mut Stub, arrived: u64, descriptor: &DescriptorV1) -> io::Result<()> {
    let mut remote = stub.remote().map_err(io::Error::other)?;
    let target = descriptor.fd as u64;
    if arrived != target {
        let flags = if descriptor.close_on_exec {
            libc::O_CLOEXEC as u64
        } else {
            0
        };
        remote.must(libc::SYS_dup3, [arrived, target, flags, 0, 0, 0])?;
        remote.must(libc::SYS_close, [arrived, 0, 0, 0, 0, 0])?;
    } else if descriptor.close_on_exec {
        remote.must(
            libc::SYS_fcntl,
            [target, libc::F_SETFD as u64, libc::FD_CLOEXEC as u64, 0, 0, 0],
        )?;
    }
    Ok(())
}

/// The restarting launcher's own descriptor; /dev/null if it has none.
fn launcher(slot: i32, warnings: &mut Vec<String>) -> Result<OwnedFd> {
    if crate::launcher::inherited().iter().any(|own| own.fd == slot)
        && let Ok(own) = rethaw_sys::descriptor::duplicate_own(slot)
    {
        return Ok(own);
    }
    if slot > 2 {
        warnings.push(format!(
            "the program's first launcher had passed on a descriptor {slot}; here it is /dev/null"
        ));
    }
    null().context(|| "cannot open /dev/null".to_owned())
}

fn null() -> rustix::io::Result<OwnedFd> {
    rustix::fs::open(
        "/dev/null",
        rustix::fs::OFlags::RDWR | rustix::fs::OFlags::CLOEXEC,
        rustix::fs::Mode::empty(),
    )
}

/// A terminal that the program had of its own (a program that was attached to): the launcher's, if that has
/// one.
fn terminal(record: &DescriptionV1, warnings: &mut Vec<String>) -> Result<OwnedFd> {
    let slots = if reads(record.flags) { [0, 1, 2] } else { [1, 2, 0] };
    for slot in slots {
        let fd = launcher(slot, warnings)?;
        if rustix::termios::isatty(&fd) {
            return Ok(fd);
        }
    }
    warnings.push("the program's terminal is gone; it reads from and writes to /dev/null instead".to_owned());
    null().context(|| "cannot open /dev/null".to_owned())
}
