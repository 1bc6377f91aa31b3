//! What tests do with `rethaw` again and again.

use crate::{Case, Failure, Finished, Job, PATIENCE, Result, wait_for};
use serde_json::Value;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::PathBuf;

/// What `rethaw status --json` tells of a computation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// Number of the main process, outside of its namespaces.
    pub pid: i32,
    /// Whether a rethaw protects it.
    pub protected: bool,
    /// Number of that rethaw.
    pub supervisor: Option<i32>,
}

/// Exit status of a foreground command whose computation was stopped by a checkpoint on request.
pub const STOPPED: i32 = 75;

/// Exit status of `rethaw checkpoint` when the computation holds something that cannot be checkpointed.
pub const REFUSED: i32 = 3;

impl Case {
    fn with_program(&self, verb: &str, options: &[&str], program: &[&OsStr]) -> Result<Job> {
        let mut arguments = vec![OsString::from(verb), "--dir".into(), self.checkpoints().into()];
        arguments.extend(options.iter().map(OsString::from));
        arguments.push("--".into());
        arguments.extend(program.iter().map(OsString::from));
        self.start(verb, self.rethaw(arguments)?)
    }

    /// Starts `rethaw launch`.
    pub fn launch(&self, options: &[&str], program: &[&OsStr]) -> Result<Job> {
        self.with_program("launch", options, program)
    }

    /// Starts `rethaw run`.
    pub fn run_again(&self, options: &[&str], program: &[&OsStr]) -> Result<Job> {
        self.with_program("run", options, program)
    }

    /// Starts `rethaw restart` on the folder of the checkpoints.
    pub fn restart(&self, options: &[&str]) -> Result<Job> {
        let mut command = self.rethaw(["restart"])?;
        command.args(options).arg(self.checkpoints());
        self.start("restart", command)
    }

    /// Runs `rethaw checkpoint` once.
    pub fn try_checkpoint(&self, options: &[&str]) -> Result<Finished> {
        let mut command = self.rethaw(["checkpoint"])?;
        command.args(options).arg(self.checkpoints());
        self.run("checkpoint", command)
    }

    /// Takes a checkpoint, once the computation is there.
    pub fn checkpoint(&self, options: &[&str]) -> Result<Finished> {
        self.wait_until_protected()?;
        self.try_checkpoint(options)?.success()
    }

    /// What `rethaw status` tells; nothing when it knows no such computation.
    pub fn status(&self) -> Result<Option<Status>> {
        let mut command = self.rethaw(["status", "--json"])?;
        command.arg(self.checkpoints());
        let output = command.output()?;
        if !output.status.success() {
            return Ok(None);
        }
        let text = String::from_utf8_lossy(&output.stdout);
        let value: Value = serde_json::from_str(&text)?;
        let line = value.get(0).unwrap_or(&value);
        let number = |name: &str| line.get(name).and_then(Value::as_i64).map(|number| number as i32);
        let protected = line.get("protected").and_then(Value::as_bool);
        match (number("pid"), protected) {
            (Some(pid), Some(protected)) => Ok(Some(Status {
                pid,
                protected,
                supervisor: number("supervisor"),
            })),
            _ => Err(Failure::new(format!(
                "status --json has no pid and protected: {}",
                text
            ))),
        }
    }

    /// Waits until the computation runs and is protected.
    pub fn wait_until_protected(&self) -> Result<Status> {
        wait_for("a protected computation", PATIENCE, || {
            Ok(self.status()?.filter(|status| status.protected))
        })
    }

    /// Images in the folder of the checkpoints, oldest first.
    pub fn images(&self) -> Result<Vec<PathBuf>> {
        let mut images = vec![];
        for entry in fs::read_dir(self.checkpoints())? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "rethaw") {
                images.push(path);
            }
        }
        images.sort();
        Ok(images)
    }
}
