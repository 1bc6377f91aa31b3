//! The terminal that the program has from its launcher: its modes and its foreground group come back at a restart,
//! on whatever terminal the restarting launcher has; what is on the screen, the program has to draw again.

use crate::Result;
use crate::checkpoint::freeze::Frozen;
use crate::error::Context;
use crate::resource::descriptor::Seen;
use crate::resource::thread::ContextProc;
use crate::restart::{Plan, Stub};
use rethaw_image::record::{DescriptionKind, DescriptionV1, OutsideTerminalV1, ProcessV1};
use rethaw_sys::proc;
use rethaw_sys::terminal::{self, LOCAL, Modes};
use rustix::fs::{fstat, major, minor};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

/// The launcher's terminal as the program has it, if it has one.
pub(crate) fn collect(
    frozen: &Frozen,
    processes: &[ProcessV1],
    seen: &[Seen],
    records: &[DescriptionV1],
) -> Result<Option<OutsideTerminalV1>> {
    let is_launchers = |record: &DescriptionV1| matches!(record.kind, Some(DescriptionKind::Launcher(_)));
    let mut of_launcher = seen
        .iter()
        .zip(records)
        .filter(|(_, record)| is_launchers(record));
    let found = of_launcher.find_map(|(seen, _)| Some((seen, terminal::modes(seen.duplicate.as_fd()).ok()?)));
    let Some((seen, modes)) = found else {
        return Ok(None);
    };
    let stat = fstat(&seen.duplicate).context(|| format!("cannot look at {}", seen.name()))?;
    let mut foreground = 0;
    for (process, record) in frozen.processes.iter().zip(processes) {
        let stat_of = proc::Stat::read(process.pid).context_proc()?;
        if u64::from(stat_of.tty_nr.cast_unsigned()) == stat.st_rdev && stat_of.tpgid == stat_of.pgrp {
            foreground = record.pgid;
        }
    }
    Ok(Some(OutsideTerminalV1 {
        modes: modes.0.to_vec(),
        foreground,
        number: (major(stat.st_rdev) == super::SLAVES).then(|| minor(stat.st_rdev)),
    }))
}

/// The terminal of this process, if it may change it: it is in the foreground there.
pub fn own() -> Option<OwnedFd> {
    (0..3).find_map(|fd| {
        let own = rethaw_sys::descriptor::duplicate_own(fd).ok()?;
        let group = terminal::foreground(own.as_fd()).ok()?;
        (group == own_group()).then_some(own)
    })
}

fn own_group() -> i32 {
    rustix::process::getpgrp().as_raw_nonzero().get()
}

/// Gives our terminal the modes and the foreground group that the program's had, and a size that is a line less, so
/// that a program that draws the whole screen does so again when it gets its size back ([`Redraw`]). None of this
/// where the program's terminal was none, or ours is not ours to change.
pub(crate) fn hand_over(plan: &Plan, stubs: &[Stub]) -> Option<Redraw> {
    let saved = plan.computation.terminal.as_ref()?;
    let modes = Modes::from_bytes(&saved.modes)?;
    let own = own()?;
    terminal::set_modes(own.as_fd(), &modes).ok()?;
    let is_foreground = |record: &ProcessV1| record.pgid == saved.foreground && saved.foreground > 0;
    let member = plan.processes.iter().position(is_foreground);
    if let Some(stub) = member.and_then(|index| stubs.get(index))
        && let Ok(stat) = proc::Stat::read(stub.pid)
    {
        // Of the launcher's session or not, the kernel knows; then there is nothing to be brought forward.
        let _ = terminal::set_foreground(own.as_fd(), stat.pgrp);
    }
    let size = terminal::size(own.as_fd()).ok()?;
    let draws = modes.flags(LOCAL) & libc::ICANON == 0 && size[0] > 1;
    draws.then(|| {
        let _ = terminal::set_size(own.as_fd(), [size[0] - 1, size[1], size[2], size[3]]);
        Redraw { terminal: own, size }
    })
}

/// A terminal that has to get its size back. The kernel tells the program of every change (SIGWINCH).
#[derive(Debug)]
pub(crate) struct Redraw {
    terminal: OwnedFd,
    size: [u16; 4],
}

impl Redraw {
    /// Lets the program see the other size first: many draw only when it differs from the last that they saw.
    pub fn finish(self) {
        const LOOK: Duration = Duration::from_millis(150);
        std::thread::sleep(LOOK);
    }
}

impl Drop for Redraw {
    fn drop(&mut self) {
        let _ = terminal::set_size(self.terminal.as_fd(), self.size);
    }
}

/// A terminal as its user had it.
#[derive(Debug)]
pub struct Before {
    terminal: OwnedFd,
    modes: Modes,
}

impl Before {
    /// Notes how our terminal is, if it is ours to change.
    pub fn note() -> Option<Before> {
        let terminal = own()?;
        let modes = terminal::modes(terminal.as_fd()).ok()?;
        Some(Before { terminal, modes })
    }

    /// Puts it back: the program has gone and cannot. We may be in the background by now, so the signal for
    /// changing a terminal from there has to be blocked, see [`terminal::block_background_signal`].
    pub fn put_back(&self) {
        terminal::block_background_signal();
        let _ = terminal::set_foreground(self.terminal.as_fd(), own_group());
        let _ = terminal::set_modes(self.terminal.as_fd(), &self.modes);
    }
}
