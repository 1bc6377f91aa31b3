//! Descriptor tables, the other direction: every open file description is made once, by the agent, and passed
//! into all processes that had it, under the numbers that they had for it.

use super::descriptor::reads;
use super::object::RebuiltObjects;
use super::terminal::Terminals;
use super::{epoll, event, file, lock, owner, pipe, socket};
use crate::Result;
use crate::error::{Context, Error};
use crate::init::Init;
use crate::restart::{Passage, Plan, Stub, damaged};
use rethaw_image::record::{DescriptionKind, DescriptionV1, DescriptorV1, ProcessV1};
use rethaw_sys::proc::Limits;
use rethaw_sys::task;
use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
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
    terminals: Terminals,
}

impl<'a> Table<'a> {
    /// Makes the pipes and sockets with their contents; descriptions are made when the first process needs them.
    pub fn new(plan: &'a Plan, init: &Init, terminals: Terminals) -> Result<Table<'a>> {
        let pipes = plan
            .pipes
            .iter()
            .map(|(number, record)| Ok((*number, pipe::rebuild(record, fifo(plan, *number).as_deref())?)));
        let pipes = pipes.collect::<Result<_>>()?;
        let sockets = socket::rebuild(&plan.descriptions, &plan.places)?;
        Ok(Table {
            plan,
            passage: Passage::new(init)?,
            made: BTreeMap::new(),
            pipes,
            sockets,
            terminals,
        })
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
        let mut descriptors = record.descriptors.clone();
        // In ascending order a received descriptor, which gets the lowest free number, is never in the way.
        descriptors.sort_by_key(|d| d.fd);
        for descriptor in &descriptors {
            let fd = self.description(descriptor.description, objects, warnings)?;
            let arrived = passage.pass(stub, fd.as_fd())?;
            place(stub, arrived, descriptor).context(|| {
                format!(
                    "cannot rebuild descriptor {} of process {}",
                    descriptor.fd, record.pid
                )
            })?;
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
        let above = descriptors.iter().map(|d| d.fd + 1).max().unwrap_or(0).max(3) as u64;
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

    fn description(
        &mut self,
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
            let fd = self.make(record, objects, warnings)?;
            self.made.insert(number, fd);
        }
        self.made
            .get(&number)
            .ok_or_else(|| damaged("a descriptor of nothing"))
    }

    fn make(
        &mut self,
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
            DescriptionKind::Regular(regular) => return file::open(record, regular, &self.plan.places),
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
            DescriptionKind::SocketPair(_)
            | DescriptionKind::Socket(_)
            | DescriptionKind::TcpConnection(_) => self
                .sockets
                .remove(&record.id)
                .ok_or_else(|| damaged("a socket that is missing"))?,
            DescriptionKind::Master(_) | DescriptionKind::Slave(_) | DescriptionKind::Controlling(_) => {
                let terminal = self.terminals.remove(record.id);
                return terminal.ok_or_else(|| damaged("a pseudo-terminal that is missing"));
            }
            DescriptionKind::PidFd(_) => {
                return Err(damaged("a descriptor of a kind that this version does not know"));
            }
        };
        event::set_flags(&fd, record)?;
        Ok(fd)
    }

    /// What can only be done once all descriptors are in place: epoll registrations, locks of processes.
    pub fn connect(&mut self, stubs: &mut [Stub], warnings: &mut Vec<String>) -> Result<()> {
        self.terminals.finish(self.plan, stubs, warnings)?;
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
                let table = self
                    .plan
                    .processes
                    .get(first.0)
                    .map_or(&[][..], |process| &process.descriptors);
                let own = table.iter().find(|descriptor| descriptor.description == *number);
                if let Some(own) = own {
                    epoll::rebuild(&mut stub.remote()?, own, watched, table)?;
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
