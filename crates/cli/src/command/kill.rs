//! `rethaw kill`: ends a running computation without a checkpoint.

use crate::control::{Request, demand};
use crate::failure::{Failure, Result};
use crate::message;
use crate::options::KillArgs;
use crate::registry::{self, Found};
use rethaw_engine::tree::Tree;
use std::process::ExitCode;

/// See the module.
pub fn kill(args: &KillArgs) -> Result<ExitCode> {
    let found = match (&args.id, args.all) {
        (_, true) => registry::all(),
        (Some(id), _) => vec![registry::find(Some(id))?],
        (None, _) => vec![registry::find_here()?],
    };
    if found.is_empty() {
        message::note("no computation runs under rethaw");
    }
    // One that cannot be ended does not save the others.
    let outcomes: Vec<_> = found.iter().map(kill_one).collect();
    outcomes.into_iter().collect::<Result<()>>()?;
    Ok(ExitCode::SUCCESS)
}

fn kill_one(found: &Found) -> Result<()> {
    if found.is_protected() {
        demand(&found.socket(), Request::Kill)?;
    } else {
        kill_unprotected(found.entry.main.pid)?;
    }
    message::note(format!("killed computation {}", found.entry.name));
    Ok(())
}

fn kill_unprotected(pid: i32) -> Result<()> {
    match Tree::attach(pid).and_then(|mut tree| tree.kill()) {
        Ok(()) | Err(rethaw_engine::Error::Ended) => Ok(()),
        Err(error) => Err(Failure::Engine(error)),
    }
}
