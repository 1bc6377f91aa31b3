//! `rethaw restart`: goes on from the newest complete checkpoint, or from a given image.

use super::existing_folder;
use super::launch::refuse_running;
use crate::cluster::lead::Lead;
use crate::detach::detach;
use crate::failure::{Failure, Result, status};
use crate::message;
use crate::options::{ComeBackArgs, ProtectArgs, RestartArgs};
use crate::place::Life;
use crate::sink::{OwnedFolder, Sink};
use crate::start::{Saved, Stage, checkpoint_folder};
use crate::state::State;
use crate::supervise::Outcome;
use rethaw_engine::tree::Tree;
use rethaw_image::{Folder, Generation, ImageFile};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// See the module.
pub fn restart(args: &RestartArgs) -> Result<ExitCode> {
    if let Some(code) = detach(&args.protect)? {
        return Ok(code);
    }
    let stage = Stage::of(&args.protect)?;
    let from = args
        .from
        .clone()
        .unwrap_or_else(|| checkpoint_folder(args.protect.dir.as_deref()));
    let outcome = if from.is_dir() || args.from.is_none() {
        let candidates = candidates(&existing_folder(&from)?)?;
        let folder = destination(&args.protect, &from)?;
        guard(&folder, &computation_of(&candidates), args.take_over)?;
        from_newest(stage, folder, candidates, &args.come_back)?
    } else {
        let image = Saved::read(&from)?;
        let folder = destination(&args.protect, &parent(&from))?;
        guard(&folder, &image.identity.computation, args.take_over)?;
        stage.restart(&image, &args.come_back, Sink::Folder(folder))?
    };
    Ok(outcome.exit())
}

fn computation_of(candidates: &[Generation]) -> String {
    candidates
        .first()
        .map(|newest| newest.computation.clone())
        .unwrap_or_default()
}

fn parent(image: &Path) -> PathBuf {
    match image.parent() {
        Some(parent) if parent.as_os_str().is_empty() => ".".into(),
        Some(parent) => parent.to_path_buf(),
        None => ".".into(),
    }
}

/// A folder is of one computation, and that must not be running.
fn guard(folder: &OwnedFolder, computation: &str, take_over: bool) -> Result<()> {
    let other = folder
        .folder
        .generations()?
        .into_iter()
        .find(|one| one.computation != computation);
    if other.is_some() {
        return Err(Failure::with_status(
            status::FOREIGN,
            format!(
                "{} holds checkpoints of another computation; choose another --dir for new ones",
                folder.path.display()
            ),
        ));
    }
    if take_over {
        return Ok(());
    }
    refuse_running(folder)?;
    warn_of_another(folder);
    Ok(())
}

/// Whoever says `restart` knows best, but a second copy would be a nasty surprise.
fn warn_of_another(folder: &OwnedFolder) {
    let main = State::load(&folder.path).and_then(|state| state.main);
    if let Some(main) = main.filter(|main| main.life() == Life::Unknown) {
        message::warn(format!(
            "the computation was last seen running on {}, and nothing says that it has ended: take care that it \
             does not run twice",
            main.machine.described()
        ));
    }
}

/// Where new checkpoints go: `--dir`, else where the old ones are, else (read-only there) the default.
fn destination(args: &ProtectArgs, from: &Path) -> Result<OwnedFolder> {
    if args.dir.is_some() {
        return OwnedFolder::open(&checkpoint_folder(args.dir.as_deref()), args.keep);
    }
    if rustix::fs::access(from, rustix::fs::Access::WRITE_OK).is_ok() {
        return OwnedFolder::open(from, args.keep);
    }
    let default = checkpoint_folder(None);
    message::warn(format!(
        "{} cannot be written to; new checkpoints go to {}",
        from.display(),
        std::path::absolute(&default).unwrap_or(default.clone()).display()
    ));
    OwnedFolder::open(&default, args.keep)
}

/// Complete checkpoints, newest first; damaged ones are named.
fn candidates(folder: &Folder) -> Result<Vec<Generation>> {
    let survey = folder.survey()?;
    for (generation, error) in &survey.damaged {
        message::warn(format!("checkpoint {generation} is not whole any more: {error}"));
    }
    if survey.complete.is_empty() {
        let path = folder.path().display();
        return Err(Failure::said(format!(
            "there is no complete checkpoint in {path}"
        )));
    }
    Ok(survey.complete)
}

/// From the newest checkpoint of the folder itself.
pub fn restart_newest(stage: Stage, folder: OwnedFolder, come_back: &ComeBackArgs) -> Result<Outcome> {
    let candidates = candidates(&folder.folder)?;
    from_newest(stage, folder, candidates, come_back)
}

/// A damaged image falls back to the checkpoint before it. Any other failure would befall that one too.
fn from_newest(
    stage: Stage,
    folder: OwnedFolder,
    candidates: Vec<Generation>,
    come_back: &ComeBackArgs,
) -> Result<Outcome> {
    let mut last = None;
    for candidate in candidates {
        match rebuild(&stage, &candidate, come_back, &folder) {
            Ok((tree, lead, image)) => return stage.go_on(tree, lead, &image, Sink::Folder(folder)),
            Err(failure) if failure.is_of_image() => {
                message::warn(format!(
                    "checkpoint {} cannot be used: {failure}",
                    candidate.number
                ));
                last = Some(failure);
            }
            Err(failure) => return Err(failure),
        }
    }
    Err(last.unwrap_or_else(|| Failure::said("there is no usable checkpoint")))
}

fn rebuild(
    stage: &Stage,
    candidate: &Generation,
    come_back: &ComeBackArgs,
    folder: &OwnedFolder,
) -> Result<(Tree, Option<Lead>, Saved)> {
    let mut images = open(candidate)?;
    if images.len() > 1 {
        let (tree, lead) = stage.rebuild_all(&images, come_back, folder)?;
        return Ok((tree, Some(lead), images.swap_remove(0)));
    }
    let none = || Failure::said(format!("checkpoint {} has no image", candidate.number));
    let image = images.pop().ok_or_else(none)?;
    Ok((stage.rebuild(&image, come_back)?, None, image))
}

fn open(candidate: &Generation) -> Result<Vec<Saved>> {
    let open = |image: &ImageFile| {
        image.open()?;
        Saved::read(&image.path)
    };
    candidate.images.iter().map(open).collect()
}
