//! A command that a test started: its output is kept in the test's folder.

use crate::{Failure, Result, processes, wait_for};
use rustix::process::Signal;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ExitStatus};
use std::time::Duration;

/// A running command.
#[derive(Debug)]
pub struct Job {
    pub(crate) child: Child,
    pub(crate) label: String,
    pub(crate) folder: PathBuf,
    pub(crate) status: Option<ExitStatus>,
}

/// A command that has ended.
#[derive(Debug, Clone)]
pub struct Finished {
    /// What was run, for messages.
    pub label: String,
    /// How it ended.
    pub status: ExitStatus,
    /// What it wrote to stdout.
    pub out: String,
    /// What it wrote to stderr.
    pub err: String,
}

impl Job {
    /// Its number.
    pub fn pid(&self) -> i32 {
        self.child.id() as i32
    }

    /// Name of its output files.
    pub fn label(&self) -> &str {
        &self.label
    }

    /// What it wrote to stdout so far.
    pub fn out(&self) -> String {
        self.read("out")
    }

    /// What it wrote to stderr so far.
    pub fn err(&self) -> String {
        self.read("err")
    }

    fn read(&self, suffix: &str) -> String {
        let bytes = fs::read(self.folder.join(format!("{}.{suffix}", self.label))).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        if self.status.is_none() {
            self.status = self.child.try_wait()?;
        }
        Ok(self.status)
    }

    /// Waits for its end.
    pub fn wait(&mut self, limit: Duration) -> Result<Finished> {
        let what = format!("the end of `{}`", self.label);
        let status = wait_for(&what, limit, || self.ended())?;
        Ok(Finished {
            label: self.label.clone(),
            status,
            out: self.out(),
            err: self.err(),
        })
    }

    /// Its stdin, where the command was started with a pipe for it.
    pub fn take_stdin(&mut self) -> Result<ChildStdin> {
        self.child
            .stdin
            .take()
            .ok_or_else(|| Failure::new(format!("`{}` has no pipe as stdin", self.label)))
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        if self.status.is_none() {
            processes::signal(self.pid(), signal);
        }
    }

    /// SIGKILL, and waits until it is gone.
    pub fn kill(&mut self) -> Result<()> {
        self.signal(Signal::KILL);
        self.wait(crate::PATIENCE).map(|_| ())
    }
}

impl Finished {
    /// Fails unless the exit status is 0.
    pub fn success(self) -> Result<Finished> {
        self.exited(0)
    }

    /// Fails unless it exited with this status.
    pub fn exited(self, status: i32) -> Result<Finished> {
        if self.status.code() == Some(status) {
            return Ok(self);
        }
        Err(Failure::new(format!(
            "`{}`: {} instead of exit status {status}",
            self.label, self.status
        )))
    }

    /// Fails unless it was killed by this signal, or reports that as a shell would (128 + signal).
    pub fn signalled(self, signal: Signal) -> Result<Finished> {
        if self.status.signal() == Some(signal.as_raw()) {
            return Ok(self);
        }
        Err(Failure::new(format!(
            "`{}`: {} instead of signal {signal:?}",
            self.label, self.status
        )))
    }

    /// Fails unless it did not succeed, and stderr has one of these texts.
    pub fn refused(self, texts: &[&str]) -> Result<Finished> {
        let err = self.err.to_lowercase();
        if self.status.success() {
            return Err(Failure::new(format!(
                "`{}` succeeded and should have been refused",
                self.label
            )));
        }
        if err.contains("panicked") || !texts.iter().any(|text| err.contains(text)) {
            return Err(Failure::new(format!(
                "`{}`: none of {texts:?} in: {}",
                self.label, self.err
            )));
        }
        Ok(self)
    }
}
