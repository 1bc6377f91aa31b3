//! `rethaw launch`: the program runs as under the shell, with periodic checkpoints.

use crate::detach::detach;
use crate::failure::{Failure, Result, status};
use crate::message;
use crate::options::LaunchArgs;
use crate::place::Seen;
use crate::sink::{OwnedFolder, Sink};
use crate::start::{Stage, own_folder};
use crate::state::State;
use std::process::ExitCode;

/// See the module.
pub fn launch(args: &LaunchArgs) -> Result<ExitCode> {
    if let Some(code) = detach(&args.protect)? {
        return Ok(code);
    }
    let stage = Stage::of(&args.protect)?;
    let folder = own_folder(&args.protect)?;
    make_room(&folder, args.fresh)?;
    Ok(stage.launch(&args.program, |_| Ok(Sink::Folder(folder)))?.exit())
}

/// A new computation needs a folder without another one's checkpoints.
pub(super) fn make_room(owned: &OwnedFolder, fresh: bool) -> Result<()> {
    let folder = &owned.folder;
    refuse_running(owned)?;
    let finished = folder.finished()?.is_some();
    let checkpoints = folder.generations()?.len();
    if checkpoints == 0 && !finished {
        return Ok(());
    }
    if !finished && !fresh {
        return Err(Failure::with_status(
            status::FOREIGN,
            format!(
                "{} holds {checkpoints} checkpoint(s) of another computation; go on with it by `rethaw run` or \
                 `rethaw restart`, forget it by --fresh, or choose another --dir",
                owned.path.display()
            ),
        ));
    }
    if finished && checkpoints > 0 {
        message::note(format!(
            "removing the checkpoints of a finished computation from {}",
            owned.path.display()
        ));
    }
    Ok(folder.clear()?)
}

/// Two computations must not write to one folder.
pub(super) fn refuse_running(owned: &OwnedFolder) -> Result<()> {
    match State::load(&owned.path)
        .and_then(|state| state.main)
        .filter(Seen::stays_here)
    {
        Some(main) => Err(Failure::with_status(
            status::RUNNING,
            format!(
                "the computation of {} is running (process {}) without protection; `rethaw run` protects it again",
                owned.path.display(),
                main.pid
            ),
        )),
        None => Ok(()),
    }
}
