//! Signals as events: blocked, and read from a descriptor.
//!
//! Blocking leaves the dispositions as they were inherited, so that under nohup(1) the program too ignores
//! SIGHUP; a handler of ours would have reset it to the default at exec.

use super::relay::Received;
use crate::failure::{Context, Result};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use std::os::fd::{AsFd, BorrowedFd};

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

const DEADLY: [Signal; 4] = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGQUIT];

/// The signals of this process.
#[derive(Debug)]
pub struct Signals {
    fd: SignalFd,
}

impl Signals {
    /// Blocks them. Must be called before any other thread is started. The engine starts the program with
    /// none blocked.
    pub fn block(also: &[Signal]) -> Result<Signals> {
        let mut blocked: SigSet = RELAYED.into_iter().chain(also.iter().copied()).collect();
        blocked.add(Signal::SIGCHLD);
        blocked.thread_block().context(|| "block signals".to_string())?;
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        let fd = SignalFd::with_flags(&blocked, flags).context(|| "open a signalfd".to_string())?;
        Ok(Signals { fd })
    }

    /// Runs `work`, which may take long and leaves nothing behind when this process dies, so that Ctrl-C and
    /// the like end this process meanwhile.
    pub fn interruptible<T>(&self, work: impl FnOnce() -> T) -> Result<T> {
        let deadly: SigSet = DEADLY.into_iter().collect();
        deadly
            .thread_unblock()
            .context(|| "unblock signals".to_string())?;
        let done = work();
        deadly.thread_block().context(|| "block signals".to_string())?;
        Ok(done)
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

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
