//! `rethaw attach PID`: protects a running process that rethaw did not start.

use super::launch::{make_room, refuse_running};
use crate::detach::detach;
use crate::failure::{Failure, Result, status};
use crate::options::AttachArgs;
use crate::registry;
use crate::sink::Sink;
use crate::start::{Stage, own_folder};
use crate::state::State;
use rethaw_sys::proc::{Pid, Stat};
use std::process::ExitCode;

/// See the module.
pub fn attach(args: &AttachArgs) -> Result<ExitCode> {
    if !std::path::Path::new(&format!("/proc/{}", args.pid)).exists() {
        return Err(Failure::said(format!("there is no process {}", args.pid)));
    }
    refuse_ancestor(args.pid)?;
    refuse_protected(args.pid)?;
    if let Some(code) = detach(&args.protect)? {
        return Ok(code);
    }
    let stage = Stage::of(&args.protect)?;
    let folder = own_folder(&args.protect)?;
    let known = State::load(&folder.path).filter(|state| {
        state
            .main
            .as_ref()
            .is_some_and(|main| main.pid == args.pid && main.runs_here())
    });
    if known.is_none() {
        refuse_running(&folder)?;
        make_room(&folder, args.fresh)?;
    }
    Ok(stage.attach(args.pid, known, Sink::Folder(folder))?.exit())
}

/// With its descendants, a process above this one would have to freeze this rethaw too.
pub(super) fn refuse_ancestor(pid: i32) -> Result<()> {
    let mut ancestor = Pid::own();
    while ancestor.0 > 0 {
        if ancestor.0 == pid {
            return Err(Failure::said(format!(
                "this rethaw was started from process {pid}; attach to it from another terminal"
            )));
        }
        match Stat::read(ancestor) {
            Ok(stat) => ancestor = stat.ppid,
            Err(_) => break,
        }
    }
    Ok(())
}

fn refuse_protected(pid: i32) -> Result<()> {
    let holder = registry::all()
        .into_iter()
        .find(|one| one.entry.main.pid == pid && one.is_protected());
    match holder {
        Some(one) => Err(Failure::with_status(
            status::RUNNING,
            format!(
                "process {pid} is protected already, by process {}",
                one.entry.supervisor.pid
            ),
        )),
        None => Ok(()),
    }
}
