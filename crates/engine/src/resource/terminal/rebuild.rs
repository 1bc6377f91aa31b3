//! Pseudo-terminals, the other direction. They have to get the numbers that they had, so they are made in a devpts
//! instance of the computation's own, which covers the machine's /dev/pts.

use super::queue::Ends;
use crate::Result;
use crate::error::{Context, Error};
use crate::restart::{Plan, Stub, damaged};
use rethaw_image::record::{DescriptionKind, DescriptionV1, TerminalV1};
use rethaw_sys::proc::Pid;
use rethaw_sys::remote::Remote;
use rethaw_sys::task;
use rethaw_sys::terminal::{self, Modes};
use rustix::fs::{Mode, OFlags};
use std::collections::BTreeMap;
use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// All pseudo-terminals of a computation that is being rebuilt.
#[derive(Debug, Default)]
pub(crate) struct Terminals {
    /// Descriptions that are made, by their numbers.
    made: BTreeMap<u32, OwnedFd>,
    /// Both ends, by the terminal's number; kept open until all is done.
    ends: BTreeMap<u32, (OwnedFd, Option<OwnedFd>)>,
}

/// Mounts a devpts of its own in the init's mount namespace. An ordinary user may (as owner of the user namespace,
/// Linux 4.7; the gid of its files is the user's).
fn mount(init: &mut Remote<'_>) -> Result<()> {
    let name = || "cannot mount a /dev/pts of its own, which the program's terminals need".to_owned();
    const TEXT: [&[u8]; 5] = [
        b"devpts\0",
        b"/dev/pts\0",
        b"newinstance,ptmxmode=0666,mode=0620\0",
        b"/dev/pts/ptmx\0",
        b"/dev/ptmx\0",
    ];
    let mut addresses = [0; 5];
    let mut at = 0;
    for (text, address) in TEXT.iter().zip(&mut addresses) {
        *address = init.put(at, text).context(name)?;
        at += text.len() as u64;
    }
    let [devpts, folder, options, own_ptmx, ptmx] = addresses;
    let flags = libc::MS_NOSUID | libc::MS_NOEXEC;
    init.must(libc::SYS_mount, [devpts, folder, devpts, flags, options, 0])
        .context(name)?;
    init.must(libc::SYS_mount, [own_ptmx, ptmx, 0, libc::MS_BIND, 0, 0])
        .context(name)?;
    Ok(())
}

impl Terminals {
    /// Makes all of them and what waits in them. `init` is pid 1 of the namespaces, as seen from here.
    pub fn build(plan: &Plan, init: Pid, inside: &mut Remote<'_>) -> Result<Terminals> {
        let mut terminals = Terminals::default();
        if plan.terminals.is_empty() {
            return Ok(terminals);
        }
        mount(inside)?;
        terminals.open_masters(plan, init)?;
        for record in plan.terminals.values() {
            terminals.fill(record, plan, init)?;
        }
        Ok(terminals)
    }

    /// A new instance gives the lowest free number: all are opened up to the highest that is needed.
    fn open_masters(&mut self, plan: &Plan, init: Pid) -> Result<()> {
        let path = format!("/proc/{init}/root/dev/ptmx");
        let mut missing: Vec<u32> = plan.terminals.keys().copied().collect();
        let Some(highest) = missing.last().copied() else {
            return Ok(());
        };
        let name = || format!("cannot make the pseudo-terminal /dev/pts/{highest}");
        task::raise_open_files();
        let mut others = Vec::new();
        while !missing.is_empty() {
            let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
            let master = rustix::fs::open(&*path, flags, Mode::empty()).context(name)?;
            let number = terminal::number(master.as_fd()).context(name)?;
            if missing.contains(&number) {
                missing.retain(|other| *other != number);
                self.ends.insert(number, (master, None));
            } else if number > highest {
                return Err(Error::CannotRestart {
                    what: format!("the terminal {number} came where {highest} is needed"),
                    remedy: "try again, and report this".to_owned(),
                });
            } else {
                others.push(master);
            }
        }
        Ok(())
    }

    /// Modes, size, contents, and all descriptions of one.
    fn fill(&mut self, record: &TerminalV1, plan: &Plan, init: Pid) -> Result<()> {
        let name = || format!("cannot rebuild the pseudo-terminal /dev/pts/{}", record.number);
        let missing = || damaged("a pseudo-terminal that is missing");
        let (master, _) = self.ends.get(&record.number).ok_or_else(missing)?;
        let master = master.try_clone().context(name)?;
        terminal::lock(master.as_fd(), false).context(name)?;
        let of = |kind: DescriptionKind| {
            plan.descriptions
                .values()
                .filter(move |d| d.kind == Some(kind.clone()))
        };
        for description in of(DescriptionKind::Slave(record.number)) {
            let slave = open_slave(&master, description)?;
            self.made.insert(description.id, slave);
        }
        if record.hung_up {
            // Closing the master is what hangs it up.
            self.ends.remove(&record.number);
            return Ok(());
        }
        let modes = Modes::from_bytes(&record.modes).ok_or_else(missing)?;
        let size = [0, 1, 2, 3].map(|at| record.size.get(at).map_or(0, |part| *part as u16));
        terminal::set_modes(master.as_fd(), &modes).context(name)?;
        terminal::set_size(master.as_fd(), size).context(name)?;
        let slave = terminal::open_slave(master.as_fd(), libc::O_RDWR | libc::O_NONBLOCK).context(name)?;
        if let Some(queues) = &record.queues {
            let ends = Ends {
                master: master.as_fd(),
                slave: slave.as_fd(),
            };
            ends.put(queues, &modes).context(name)?;
        }
        let file = format!("/proc/{init}/root/dev/pts/{}", record.number);
        let permissions = fs::Permissions::from_mode(record.permissions & 0o777);
        fs::set_permissions(file, permissions).context(name)?;
        for description in of(DescriptionKind::Master(record.number)) {
            let end = master.try_clone().context(name)?;
            super::super::event::set_flags(&end, description)?;
            self.made.insert(description.id, end);
        }
        self.ends.insert(record.number, (master, Some(slave)));
        Ok(())
    }

    /// Makes one the controlling terminal of the session that process `pid` leads, if it has one.
    pub fn acquire(plan: &Plan, stub: &mut Stub, pid: i32) -> Result<()> {
        let Some(own) = plan.terminals.values().find(|t| t.session == pid) else {
            return Ok(());
        };
        let name = || format!("cannot give process {pid} its controlling terminal");
        let path = format!("/dev/pts/{}", own.number);
        let fd = stub
            .open(Path::new(&path), libc::O_RDWR | libc::O_NOCTTY | libc::O_NONBLOCK)
            .context(name)?;
        let mut remote = stub.remote()?;
        remote
            .must(libc::SYS_ioctl, [fd, libc::TIOCSCTTY, 0, 0, 0, 0])
            .context(name)?;
        remote.must(libc::SYS_close, [fd, 0, 0, 0, 0, 0]).context(name)?;
        Ok(())
    }

    /// Opens /dev/tty where it was opened: in a process of the session.
    pub fn open_controlling(&mut self, plan: &Plan, stubs: &mut [Stub]) -> Result<()> {
        for description in plan.descriptions.values() {
            let Some(DescriptionKind::Controlling(number)) = description.kind else {
                continue;
            };
            let session = plan.terminals.get(&number).map_or(0, |terminal| terminal.session);
            let leader = plan.processes.iter().position(|process| process.pid == session);
            let Some(stub) = leader.and_then(|index| stubs.get_mut(index)) else {
                return Err(damaged("a session without a leader"));
            };
            let name = || "cannot open the controlling terminal (/dev/tty)".to_owned();
            let flags = description.flags as i32 & (libc::O_ACCMODE | libc::O_NONBLOCK);
            let inside = stub.open(Path::new("/dev/tty"), flags).context(name)?;
            let pidfd = task::pidfd_open(stub.pid).context(name)?;
            let ours = task::pidfd_getfd(pidfd.as_fd(), inside as i32).context(name)?;
            stub.remote()?
                .must(libc::SYS_close, [inside, 0, 0, 0, 0, 0])
                .context(name)?;
            super::super::event::set_flags(&ours, description)?;
            self.made.insert(description.id, ours);
        }
        Ok(())
    }

    /// A description that was made.
    pub fn remove(&mut self, description: u32) -> Option<OwnedFd> {
        self.made.remove(&description)
    }

    /// What has to come last: foreground groups, what forbids opening, packet mode. The ends that nobody has are
    /// closed.
    pub fn finish(&mut self, plan: &Plan, stubs: &mut [Stub], warnings: &mut Vec<String>) -> Result<()> {
        for record in plan.terminals.values() {
            let leader = plan
                .processes
                .iter()
                .position(|process| process.pid == record.session);
            if let (Some(stub), true) = (
                leader.and_then(|index| stubs.get_mut(index)),
                record.foreground > 0,
            ) {
                bring_to_foreground(stub, record, warnings)?;
            }
        }
        for (number, (master, slave)) in std::mem::take(&mut self.ends) {
            let name = || format!("cannot rebuild the pseudo-terminal /dev/pts/{number}");
            let Some(record) = plan.terminals.get(&number) else {
                continue;
            };
            terminal::set_packet_mode(master.as_fd(), record.packet_mode).context(name)?;
            if let (true, Some(slave)) = (record.exclusive, &slave) {
                terminal::set_exclusive(slave.as_fd(), true).context(name)?;
            }
            terminal::lock(master.as_fd(), record.locked).context(name)?;
        }
        Ok(())
    }
}

fn open_slave(master: &OwnedFd, description: &DescriptionV1) -> Result<OwnedFd> {
    let flags = description.flags as i32 & (libc::O_ACCMODE | libc::O_NONBLOCK);
    let slave = terminal::open_slave(master.as_fd(), flags)
        .context(|| "cannot open the slave of a pseudo-terminal".to_owned())?;
    super::super::event::set_flags(&slave, description)?;
    Ok(slave)
}

/// Only a process of the session may set it.
fn bring_to_foreground(stub: &mut Stub, record: &TerminalV1, warnings: &mut Vec<String>) -> Result<()> {
    let name = || {
        format!(
            "cannot set the foreground process group of /dev/pts/{}",
            record.number
        )
    };
    let fd = stub
        .open(Path::new("/dev/tty"), libc::O_RDWR | libc::O_NONBLOCK)
        .context(name)?;
    let mut remote = stub.remote()?;
    let group = remote.put(0, &record.foreground.to_ne_bytes()).context(name)?;
    let set = remote
        .call(libc::SYS_ioctl, [fd, libc::TIOCSPGRP, group, 0, 0, 0])
        .context(name)?;
    if let Err(e) = set {
        warnings.push(format!(
            "process group {} is not in the foreground of its terminal any more ({e})",
            record.foreground
        ));
    }
    remote.must(libc::SYS_close, [fd, 0, 0, 0, 0, 0]).context(name)?;
    Ok(())
}
