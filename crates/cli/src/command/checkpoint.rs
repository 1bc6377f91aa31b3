//! `rethaw checkpoint`: asks a running computation for a checkpoint.

use crate::control::{Reply, Request, demand};
use crate::duration::{show_bytes, show_duration};
use crate::failure::{Failure, Result, status};
use crate::message;
use crate::options::CheckpointArgs;
use crate::registry::{self, Found};
use crate::state::LastCheckpoint;
use std::process::ExitCode;
use std::time::Duration;

/// See the module.
pub fn checkpoint(args: &CheckpointArgs) -> Result<ExitCode> {
    let found = protected(args.id.as_deref())?;
    let request = Request::Checkpoint {
        stop: args.stop,
        wait: !args.no_wait,
    };
    match demand(&found.socket(), request)? {
        Reply::Checkpoint(last) if args.json => message::print_json(&last),
        Reply::Checkpoint(last) => message::note(describe(&last, args.stop)),
        _ => message::note("asked for a checkpoint"),
    }
    Ok(ExitCode::SUCCESS)
}

fn describe(last: &LastCheckpoint, stopped: bool) -> String {
    let took = show_duration(Duration::from_secs_f64(last.durable_ms / 1e3));
    let ended = if stopped { ", computation ended" } else { "" };
    format!(
        "checkpoint {} is durable: {} in {took}{ended}",
        last.generation,
        show_bytes(last.bytes)
    )
}

/// A running computation that can be asked.
pub(super) fn protected(id: Option<&std::ffi::OsStr>) -> Result<Found> {
    let found = registry::find(id)?;
    if found.is_protected() {
        return Ok(found);
    }
    Err(Failure::with_status(
        status::FAILED,
        format!(
            "computation {} runs (process {}), but its rethaw is gone; `rethaw run` or `rethaw attach` protects it again",
            found.entry.name, found.entry.main.pid
        ),
    ))
}
