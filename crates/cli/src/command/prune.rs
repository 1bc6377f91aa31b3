//! `rethaw prune`: removes old checkpoints.

use super::existing_folder;
use crate::failure::Result;
use crate::message;
use crate::options::PruneArgs;
use crate::sink::OwnedFolder;
use crate::start::checkpoint_folder;
use std::process::ExitCode;

/// See the module. Also removes what writers that died have left; a living one keeps the folder locked.
pub fn prune(args: &PruneArgs) -> Result<ExitCode> {
    let path = checkpoint_folder(args.dir.as_deref());
    let before = existing_folder(&path)?.generations()?.len();
    let keep = args.keep.max(1);
    let owned = OwnedFolder::open(&path, keep)?;
    if args.all {
        owned.folder.clear()?;
    } else {
        owned.folder.prune(keep as usize)?;
    }
    let after = owned.folder.generations()?.len();
    message::note(format!(
        "removed {} checkpoint(s), kept {after}",
        before.saturating_sub(after)
    ));
    Ok(ExitCode::SUCCESS)
}
