//! Signals as events: blocked, and read from a descriptor.
//!
//! Blocking leaves the dispositions as they were inherited, so that under nohup(1) the program too ignores
//! SIGHUP; a handler of ours would have reset it to the default at exec.

use super::relay::Received;
use crate::failure::{Context, Result};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

const RELAYED: [Signal; 9] = [
    Signal::SIGINT,
    Signal::SIGTERM,
    Signal::SIGHUP,
    Signal::SIGQUIT,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGWINCH,
    Signal::SIGTSTP,
    Signal::SIGCONT,
];

/// Those that would end rethaw while they are not blocked.
const DEADLY: [Signal; 6] = [
    Signal::SIGINT,
    Signal::SIGTERM,
    Signal::SIGHUP,
    Signal::SIGQUIT,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
];

/// The signals of this process.
#[derive(Debug)]
pub struct Signals {
    fd: SignalFd,
    blocked: SigSet,
    original: SigSet,
    /// Came while [`Signals::unblocked`].
    early: Vec<Signal>,
}

impl Signals {
    /// Blocks them. Must be called before any other thread is started.
    pub fn block(also: &[Signal]) -> Result<Signals> {
        let mut blocked: SigSet = RELAYED.into_iter().chain(also.iter().copied()).collect();
        blocked.add(Signal::SIGCHLD);
        let original = SigSet::thread_get_mask().context(|| "read the signal mask".to_string())?;
        blocked.thread_block().context(|| "block signals".to_string())?;
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        let fd = SignalFd::with_flags(&blocked, flags).context(|| "open a signalfd".to_string())?;
        Ok(Signals {
            fd,
            blocked,
            original,
            early: Vec::new(),
        })
    }

    /// Runs `start` with the signal mask that rethaw was given, because a program inherits the mask. What
    /// comes meanwhile is noted by handlers, which exec resets; a signal that is ignored gets none, because
    /// the program is to ignore it too.
    pub fn unblocked<T>(&mut self, start: impl FnOnce() -> T) -> Result<T> {
        let ignored = ignored_signals();
        let mut noted = Vec::new();
        for signal in DEADLY
            .into_iter()
            .filter(|signal| ignored & (1 << (*signal as u32 - 1)) == 0)
        {
            let flag = Arc::new(AtomicBool::new(false));
            signal_hook::flag::register(signal as i32, Arc::clone(&flag))
                .context(|| format!("catch {signal}"))?;
            noted.push((signal, flag));
        }
        self.original
            .thread_set_mask()
            .context(|| "set the signal mask".to_string())?;
        let started = start();
        let blocked = self.blocked.thread_block();
        self.early.extend(
            noted
                .iter()
                .filter(|(_, flag)| flag.load(Ordering::SeqCst))
                .map(|(signal, _)| *signal),
        );
        blocked.context(|| "block signals".to_string())?;
        Ok(started)
    }

    /// What came before the program was there, or while it was being started.
    pub fn take_early(&mut self) -> Vec<Signal> {
        let mut early = std::mem::take(&mut self.early);
        while let Some(received) = self.next() {
            early.push(received.signal);
        }
        early
    }

    /// The next one that has come.
    pub fn next(&self) -> Option<Received> {
        loop {
            let info = self.fd.read_signal().ok().flatten()?;
            if let Ok(signal) = Signal::try_from(info.ssi_signo as i32) {
                return Some(Received {
                    signal,
                    code: info.ssi_code,
                    sender: info.ssi_pid as i32,
                });
            }
        }
    }
}

/// Mask of the signals that this process ignores.
fn ignored_signals() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .unwrap_or(0)
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
