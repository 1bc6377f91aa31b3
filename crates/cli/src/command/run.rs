//! `rethaw run`: restart if DIR holds a complete checkpoint of this computation, else launch.

use super::restart::restart_newest;
use crate::decide::{Decision, Facts, Refusal, Whereabouts, decide};
use crate::detach::detach;
use crate::failure::{Failure, Result, status};
use crate::message;
use crate::options::RunArgs;
use crate::place::Life;
use crate::sink::{OwnedFolder, Sink};
use crate::slurm;
use crate::start::{Saved, Stage, own_folder, texts};
use crate::state::{State, show_command};
use std::process::ExitCode;

/// See the module.
pub fn run(args: &RunArgs) -> Result<ExitCode> {
    if let Some(code) = detach(&args.protect)? {
        return Ok(code);
    }
    let stage = Stage::of(&args.protect)?;
    let folder = own_folder(&args.protect)?;
    let state = State::load(&folder.path);
    let facts = facts(args, &folder, state.as_ref())?;
    let outcome = match decide(&facts) {
        Decision::Refuse(refusal) => return Err(refuse(&refusal, &folder, state.as_ref(), facts.finished)),
        Decision::AlreadyFinished => return finished(&folder),
        Decision::Attach { pid } => stage.attach(pid, state, Sink::Folder(folder))?,
        Decision::Restart => restart_newest(stage, folder, &args.come_back)?,
        Decision::Launch { clear } => {
            if clear {
                folder.folder.clear()?;
            }
            stage.launch(&args.program, |_| Ok(Sink::Folder(folder)))?
        }
    };
    Ok(outcome.exit())
}

fn facts(args: &RunArgs, owned: &OwnedFolder, state: Option<&State>) -> Result<Facts> {
    let newest = owned.folder.generations()?.into_iter().next();
    let saved = || {
        let image = newest.as_ref()?.images.first()?;
        Saved::read(&image.path)
            .ok()
            .map(|saved| State::of_record(&saved.computation))
    };
    let command = state
        .map(|state| state.command.clone())
        .or_else(|| Some(saved()?.command));
    Ok(Facts {
        has_checkpoint: newest.is_some(),
        finished: owned.folder.finished()?.is_some(),
        same_command: command.map(|command| command == texts(&args.program.program)),
        whereabouts: state.map_or(Whereabouts::NotRunning, whereabouts),
        fresh: args.fresh,
        any_command: args.any_command,
        take_over: args.take_over,
    })
}

fn whereabouts(state: &State) -> Whereabouts {
    let Some(main) = &state.main else {
        return Whereabouts::NotRunning;
    };
    if main.stays_here() {
        return Whereabouts::Unprotected { pid: main.pid };
    }
    if main.life() == Life::Over {
        return Whereabouts::NotRunning;
    }
    let over = state
        .job
        .as_ref()
        .and_then(|seen| slurm::is_over(seen, slurm::Job::current().as_ref()));
    if let Some(why) = &over {
        message::note(format!("last seen on {}: {why}", main.machine.host));
    }
    Whereabouts::Elsewhere {
        host: main.machine.described(),
        over,
    }
}

fn finished(owned: &OwnedFolder) -> Result<ExitCode> {
    let how = owned.folder.finished()?.unwrap_or_default();
    message::note(format!(
        "the computation of {} has finished already ({}); --fresh starts it afresh",
        owned.path.display(),
        how.trim()
    ));
    Ok(ExitCode::SUCCESS)
}

fn refuse(refusal: &Refusal, owned: &OwnedFolder, state: Option<&State>, finished: bool) -> Failure {
    let dir = owned.path.display();
    match refusal {
        Refusal::OtherCommand => {
            let saved = state
                .map(|state| show_command(&state.command))
                .unwrap_or_default();
            if finished {
                let sentence = format!(
                    "{dir} holds another computation, which has finished: {saved}; forget it by --fresh, or choose \
                     another --dir"
                );
                return Failure::with_status(status::FOREIGN, sentence);
            }
            let sentence = format!(
                "{dir} holds another computation: {saved}; go on with that one by --any-command, forget it by \
                 --fresh, or choose another --dir"
            );
            Failure::with_status(status::FOREIGN, sentence)
        }
        Refusal::RunsHere { pid } => {
            let sentence = format!(
                "the computation of {dir} is running (process {pid}); it must end before it can be started afresh"
            );
            Failure::with_status(status::RUNNING, sentence)
        }
        Refusal::MayRunElsewhere { host } => {
            let sentence = format!(
                "the computation of {dir} was last seen running on {host}, and nothing says that it has ended; \
                 run this there, or, if you know that it has, use --take-over"
            );
            Failure::with_status(status::RUNNING, sentence)
        }
    }
}
