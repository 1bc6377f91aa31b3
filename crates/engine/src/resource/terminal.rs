//! Pseudo-terminals whose master is inside of the computation: what tmux(1), script(1) and expect(1) give their
//! programs. Terminals whose master is outside are the launcher's, see `outside.rs`.

pub mod look;
pub mod outside;
mod queue;
mod rebuild;

use super::descriptor::Seen;
use super::numbers::Numbers;
use super::thread::ContextProc;
use crate::Result;
use crate::checkpoint::refusals::Refusals;
use crate::error::{Context, Error};
use crate::restart::damaged;
pub(crate) use rebuild::Terminals;
use rethaw_image::record::{DescriptionKind, DescriptionV1, ProcessV1, TerminalV1};
use rethaw_sys::proc::{self, Pid};
use rethaw_sys::terminal::{self, LOCAL, Modes};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{fstat, major, minor};
use std::collections::BTreeMap;
use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;

const CONTROLLING: (u32, u32) = (5, 0);
const MASTER: (u32, u32) = (5, 2);
/// Major number of all slaves; the minor one is the terminal's.
const SLAVES: u32 = 136;
/// One more than the highest number that a pseudo-terminal can have (NR_UNIX98_PTY_MAX).
const MOST: u32 = 1 << 20;

/// What a description is, if it is of a pseudo-terminal that may be inside; [`collect`] looks again when all are
/// known.
pub(crate) fn kind(seen: &Seen, device: u64) -> Result<Option<DescriptionKind>> {
    let fd = seen.duplicate.as_fd();
    let name = || format!("cannot look at {}", seen.name());
    let opened_only = seen.info.flags & libc::O_PATH as u32 != 0;
    Ok(match (major(device), minor(device)) {
        _ if opened_only => None,
        MASTER => Some(DescriptionKind::Master(terminal::number(fd).context(name)?)),
        (SLAVES, number) => Some(DescriptionKind::Slave(number)),
        CONTROLLING => match terminal::device(fd) {
            Ok(real) if major(real) == SLAVES => Some(DescriptionKind::Controlling(minor(real))),
            Ok(_) => None,
            Err(_) => return Err(seen.refused("a terminal that has hung up, opened as /dev/tty")),
        },
        _ => None,
    })
}

/// Collects all pseudo-terminals, once all descriptions are known, and puts right the kinds of those that turn out
/// to be no ends of them.
pub(crate) fn collect(
    numbers: &Numbers,
    seen: &[Seen],
    records: &mut [DescriptionV1],
    refusals: &Refusals,
) -> Result<Vec<TerminalV1>> {
    let is_of = |kind: &Option<DescriptionKind>| {
        matches!(
            kind,
            Some(DescriptionKind::Master(_) | DescriptionKind::Slave(_) | DescriptionKind::Controlling(_))
        )
    };
    if !records.iter().any(|record| is_of(&record.kind)) {
        return Ok(Vec::new());
    }
    let mut pairs = BTreeMap::new();
    for (seen, record) in seen.iter().zip(records.iter()) {
        if let Some(DescriptionKind::Master(number)) = record.kind {
            pairs.insert(number, Pair::of(seen, number)?);
        }
    }
    for (seen, record) in seen.iter().zip(records.iter_mut()) {
        match record.kind {
            Some(DescriptionKind::Slave(number)) => {
                refusals.pass(place_slave(&mut pairs, seen, number, record))?;
            }
            Some(DescriptionKind::Controlling(number)) => {
                if let Some(false) = refusals.pass(is_terminal_of(seen, number, &pairs))? {
                    record.kind = Some(DescriptionKind::Device(b"/dev/tty".to_vec()));
                }
            }
            _ => {}
        }
    }
    let mut terminals = Vec::new();
    for pair in pairs.values() {
        if let Some(record) = refusals.pass(pair.collect(numbers))? {
            terminals.push((pair, record));
        }
    }
    add_queues(&mut terminals, refusals)?;
    Ok(terminals.into_iter().map(|(_, record)| record).collect())
}

/// What there is of one pseudo-terminal.
struct Pair<'a> {
    number: u32,
    /// None when it has hung up.
    master: Option<&'a Seen>,
    /// Device of the /dev/pts that it is of.
    instance: u64,
    slaves: Vec<&'a Seen>,
}

/// A slave of a pair, of one that has hung up, or of a terminal outside.
fn place_slave<'a>(
    pairs: &mut BTreeMap<u32, Pair<'a>>,
    seen: &'a Seen,
    number: u32,
    record: &mut DescriptionV1,
) -> Result<()> {
    let stat = fstat(&seen.duplicate).context(|| format!("cannot look at {}", seen.name()))?;
    if terminal::device(seen.duplicate.as_fd()).is_err() {
        let hung_up = pairs.entry(number).or_insert(Pair {
            number,
            master: None,
            instance: stat.st_dev,
            slaves: Vec::new(),
        });
        if hung_up.master.is_some() || hung_up.instance != stat.st_dev {
            return Err(seen.refused("a terminal that has hung up, whose number is used again"));
        }
        hung_up.slaves.push(seen);
        return Ok(());
    }
    match pairs.get_mut(&number) {
        Some(pair) if pair.instance == stat.st_dev => pair.slaves.push(seen),
        _ => {
            let path = std::os::unix::ffi::OsStrExt::as_bytes(seen.path().as_os_str()).to_vec();
            record.kind = Some(DescriptionKind::Terminal(path));
        }
    }
    Ok(())
}

/// Whether a descriptor of /dev/tty is of this pseudo-terminal and of the session of the process that has it.
fn is_terminal_of(seen: &Seen, number: u32, pairs: &BTreeMap<u32, Pair<'_>>) -> Result<bool> {
    let Some(Pair {
        master: Some(master), ..
    }) = pairs.get(&number)
    else {
        return Ok(false);
    };
    let stat = proc::Stat::read(seen.pid).context_proc()?;
    let session = terminal::session(master.duplicate.as_fd()).ok();
    if session.is_some() && session == Some(stat.session) {
        return Ok(true);
    }
    let device = stat.tty_nr.cast_unsigned().into();
    if (major(device), minor(device)) == (SLAVES, number) {
        // One outside has the same number, and it is the process's.
        return Ok(false);
    }
    Err(seen.refused("/dev/tty of a terminal that is not the process's own any more"))
}

impl<'a> Pair<'a> {
    fn of(seen: &'a Seen, number: u32) -> Result<Pair<'a>> {
        let folder = fs::metadata(format!("/proc/{}/root/dev/pts", seen.pid))
            .context(|| format!("cannot look at the terminals of process {}", seen.pid))?;
        Ok(Pair {
            number,
            master: Some(seen),
            instance: folder.dev(),
            slaves: Vec::new(),
        })
    }

    /// All but the queues.
    fn collect(&self, numbers: &Numbers) -> Result<TerminalV1> {
        let Some(seen) = self.master else {
            return Ok(TerminalV1 {
                number: self.number,
                hung_up: true,
                ..TerminalV1::default()
            });
        };
        let name = || format!("cannot look at {}", seen.name());
        let master = seen.duplicate.as_fd();
        let modes = terminal::modes(master).context(name)?;
        if modes.discipline() != 0 {
            return Err(seen.refused("a terminal with a line discipline of its own"));
        }
        let file = format!("/proc/{}/root/dev/pts/{}", seen.pid, self.number);
        let exclusive = self
            .slaves
            .first()
            .map(|slave| terminal::exclusive(slave.duplicate.as_fd()));
        let mut record = TerminalV1 {
            number: self.number,
            modes: modes.0.to_vec(),
            size: terminal::size(master).context(name)?.map(u32::from).to_vec(),
            permissions: fs::metadata(file).map_or(0o620, |file| file.mode() & 0o777),
            locked: terminal::locked(master).context(name)?,
            exclusive: exclusive.transpose().context(name)?.unwrap_or(false),
            packet_mode: terminal::packet_mode(master).context(name)?,
            slave_closed: has(&seen.duplicate, PollFlags::HUP),
            ..TerminalV1::default()
        };
        if let Ok(session) = terminal::session(master) {
            let known = numbers.session(session);
            record.session =
                known.ok_or_else(|| seen.refused("the controlling terminal of a session outside"))?;
            let foreground = terminal::foreground(master).context(name)?;
            record.foreground = numbers.group(foreground).unwrap_or(0);
        }
        Ok(record)
    }

    /// The slave, through which can be looked at what waits.
    fn to_look_through(&self, master: &Seen, record: &TerminalV1) -> Result<OwnedFd> {
        if has(&master.duplicate, PollFlags::PRI) {
            return Err(busy(
                master,
                "a pseudo-terminal with a control byte that was not read yet",
            ));
        }
        self.slave(record)?
            .ok_or_else(|| busy(master, "a pseudo-terminal whose slave was not opened yet"))
    }

    /// The slave, to look through it. None when it was never opened: opening it would be noticed.
    fn slave(&self, record: &TerminalV1) -> Result<Option<OwnedFd>> {
        let Some(seen) = self
            .master
            .filter(|_| record.slave_closed || !self.slaves.is_empty() || record.session > 0)
        else {
            return Ok(None);
        };
        let name = || format!("cannot look at the slave of {}", seen.name());
        let master = seen.duplicate.as_fd();
        let both_ways = |slave: &&&Seen| slave.info.flags & libc::O_ACCMODE as u32 == libc::O_RDWR as u32;
        match self.slaves.iter().find(both_ways) {
            // It could not be opened; and nothing is changed for that, which a crash would leave.
            Some(slave) if record.exclusive || record.locked => {
                return slave.duplicate.try_clone().context(name).map(Some);
            }
            None if record.exclusive => {
                return Err(
                    seen.refused("a terminal in exclusive mode that is open for reading or writing only")
                );
            }
            _ => {}
        }
        if record.locked {
            terminal::lock(master, false).context(name)?;
        }
        let opened = terminal::open_slave(master, libc::O_RDWR | libc::O_NONBLOCK);
        if record.locked {
            terminal::lock(master, true).context(name)?;
        }
        opened.context(name).map(Some)
    }
}

/// Looks at what waits in them. Most often nothing does, which shows without a touch, except in canonical mode.
fn add_queues(terminals: &mut [(&Pair<'_>, TerminalV1)], refusals: &Refusals) -> Result<()> {
    let mut open = Vec::new();
    for (pair, record) in terminals {
        let Some(seen) = pair.master else { continue };
        match refusals.pass(pair.to_look_through(seen, record))? {
            Some(slave) if is_empty(seen, &slave, record)? => {}
            Some(slave) => open.push((seen, slave, record)),
            None => {}
        }
    }
    if open.is_empty() {
        return Ok(());
    }
    let ends: Vec<_> = open
        .iter()
        .map(|(seen, slave, _)| (&seen.duplicate, slave))
        .collect();
    let looked = look::look(&ends)?;
    for ((_, _, record), queues) in open.into_iter().zip(looked) {
        record.queues = Some(queues);
    }
    Ok(())
}

/// Whether certainly nothing waits. The order matters: poll(2) waits for what is under way.
fn is_empty(seen: &Seen, slave: &OwnedFd, record: &TerminalV1) -> Result<bool> {
    let name = || format!("cannot look at {}", seen.name());
    let canonical = Modes::from_bytes(&record.modes).is_none_or(|m| m.flags(LOCAL) & libc::ICANON != 0);
    if canonical {
        return Ok(false);
    }
    let mut waiting = 0;
    for fd in [&seen.duplicate, slave] {
        has(fd, PollFlags::IN);
        waiting += terminal::waiting(fd.as_fd()).context(name)?;
    }
    Ok(waiting == 0 && has(slave, PollFlags::OUT))
}

fn has(fd: &OwnedFd, event: PollFlags) -> bool {
    let mut fds = [PollFd::new(fd, event)];
    poll(&mut fds, Some(&Timespec::default())).is_ok() && fds[0].revents().contains(event)
}

fn busy(seen: &Seen, what: &str) -> Error {
    Error::Refused {
        what: what.to_owned(),
        pid: Pid(seen.pid.0).0,
        place: format!("descriptor {}", seen.fd),
        remedy: "the next checkpoint tries again".to_owned(),
    }
}

/// Refuses records that no checkpoint has.
pub(crate) fn check(
    terminals: &BTreeMap<u32, TerminalV1>,
    descriptions: &BTreeMap<u32, DescriptionV1>,
    processes: &[ProcessV1],
) -> Result<()> {
    for terminal in terminals.values() {
        let live = terminal.hung_up
            || Modes::from_bytes(&terminal.modes).is_some()
                && terminal.size.len() == 4
                && terminal.size.iter().all(|part| u16::try_from(*part).is_ok());
        let led = terminal.session == 0
            || processes
                .iter()
                .any(|process| process.pid == terminal.session && process.sid == process.pid);
        let queues = terminal.queues.as_ref().is_none_or(queue::is_valid);
        if terminal.number >= MOST || !live || !led || !queues || terminal.foreground < 0 {
            return Err(damaged("a pseudo-terminal that cannot be"));
        }
    }
    for description in descriptions.values() {
        let is_known = match description.kind {
            Some(DescriptionKind::Master(number)) => terminals.get(&number).is_some_and(|t| !t.hung_up),
            Some(DescriptionKind::Slave(number)) => terminals.contains_key(&number),
            Some(DescriptionKind::Controlling(number)) => {
                terminals.get(&number).is_some_and(|t| t.session > 0)
            }
            _ => true,
        };
        if !is_known {
            return Err(damaged("a pseudo-terminal that is missing"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn terminal() -> TerminalV1 {
        TerminalV1 {
            number: 3,
            modes: vec![0; Modes::SIZE],
            size: vec![24, 80, 0, 0],
            ..TerminalV1::default()
        }
    }

    fn checked(terminal: TerminalV1, kind: DescriptionKind) -> Result<()> {
        let description = DescriptionV1 {
            kind: Some(kind),
            ..DescriptionV1::default()
        };
        check(
            &BTreeMap::from([(terminal.number, terminal)]),
            &BTreeMap::from([(1, description)]),
            &[],
        )
    }

    #[test]
    fn what_a_checkpoint_has_is_taken() {
        assert!(checked(terminal(), DescriptionKind::Master(3)).is_ok());
        assert!(checked(terminal(), DescriptionKind::Slave(3)).is_ok());
    }

    #[test]
    fn what_cannot_be_is_refused() {
        type Spoil = fn(&mut TerminalV1);
        let spoils: [Spoil; 7] = [
            |t| t.number = MOST,
            |t| t.modes.truncate(43),
            |t| t.size.truncate(3),
            |t| t.size = vec![1 << 16; 4],
            |t| t.session = 9,
            |t| t.foreground = -1,
            |t| {
                t.queues = Some(rethaw_image::record::TerminalQueuesV1 {
                    stopped: 3,
                    ..Default::default()
                });
            },
        ];
        for spoil in spoils {
            let mut spoiled = terminal();
            spoil(&mut spoiled);
            let number = spoiled.number;
            assert!(checked(spoiled, DescriptionKind::Slave(number)).is_err());
        }
        assert!(checked(terminal(), DescriptionKind::Master(4)).is_err());
        assert!(checked(terminal(), DescriptionKind::Controlling(3)).is_err());
        let hung_up = TerminalV1 {
            hung_up: true,
            ..terminal()
        };
        assert!(checked(hung_up, DescriptionKind::Master(3)).is_err());
    }
}
