//! The processes of a computation, seen from the agent.

use crate::Result;
use std::os::fd::OwnedFd;

/// A computation that runs on this node under this agent.
///
/// All methods must be called from the thread that created it: ptrace requests are bound to a thread.
#[derive(Debug)]
pub struct Tree {
    /// Main process, as seen from this process.
    pub main: i32,
    /// pid 1 of the computation's namespaces, as seen from this process; none for a native launch.
    pub init: Option<i32>,
}

/// How the main process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// exit(2) with this status.
    Exited(i32),
    /// Killed by this signal.
    Signalled(i32),
    /// Ended, but this kernel does not tell a process that is not its parent how.
    Unknown,
}

impl Tree {
    /// Starts `command` as the shell would, in the caller's session and process group.
    pub fn launch(_command: std::process::Command) -> Result<Tree> {
        Err(crate::Error::Ended)
    }
    /// Starts `command` in namespaces of its own.
    pub fn launch_isolated(_command: std::process::Command) -> Result<Tree> {
        Err(crate::Error::Ended)
    }
    /// Takes a running process and its descendants under protection.
    pub fn attach(_pid: i32) -> Result<Tree> {
        Err(crate::Error::Ended)
    }
    /// A pidfd of the main process: readable when it has ended.
    pub fn main_pidfd(&self) -> Result<OwnedFd> {
        Err(crate::Error::Ended)
    }
    /// Reaps what has ended. `Some` once the main process has ended.
    pub fn reap(&mut self) -> Result<Option<Ended>> {
        Ok(None)
    }
    /// Living processes of the computation (main process first), as seen from this process.
    pub fn processes(&self) -> Result<Vec<i32>> {
        Ok(vec![])
    }
    /// Sends `signal` to the main process.
    pub fn signal(&self, _signal: i32) -> Result<()> {
        Ok(())
    }
    /// Kills (SIGKILL) every process of the computation and waits for their end.
    pub fn kill(&mut self) -> Result<()> {
        Ok(())
    }
}
