//! `rethaw kill`: ends a running computation without a checkpoint.

use crate::control::{Request, demand};
use crate::failure::{Failure, Result};
use crate::message;
use crate::options::KillArgs;
use crate::registry;
use rethaw_engine::tree::Tree;
use std::process::ExitCode;

/// See the module.
pub fn kill(args: &KillArgs) -> Result<ExitCode> {
    let found = registry::find(args.id.as_deref())?;
    if found.is_protected() {
        demand(&found.socket(), Request::Kill)?;
    } else {
        kill_unprotected(found.entry.main.pid)?;
    }
    message::note(format!("killed computation {}", found.entry.name));
    Ok(ExitCode::SUCCESS)
}

fn kill_unprotected(pid: i32) -> Result<()> {
    match Tree::attach(pid).and_then(|mut tree| tree.kill()) {
        Ok(()) | Err(rethaw_engine::Error::Ended) => Ok(()),
        Err(error) => Err(Failure::Engine(error)),
    }
}
