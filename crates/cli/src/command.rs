//! The commands, one module each.

mod attach;
mod check;
mod checkpoint;
mod doctor;
mod generate;
mod inspect;
mod kill;
mod launch;
mod list;
mod prune;
pub mod restart;
mod run;
mod status;
mod verify;

use crate::failure::{Failure, Result};
use crate::options::Command;
use rethaw_image::Folder;
use std::path::Path;
use std::process::ExitCode;

/// Does what the command line asks for.
pub fn execute(command: Command) -> Result<ExitCode> {
    match command {
        Command::Run(args) => run::run(&args),
        Command::Launch(args) => launch::launch(&args),
        Command::Attach(args) => attach::attach(&args),
        Command::Restart(args) => restart::restart(&args),
        Command::Checkpoint(args) => checkpoint::checkpoint(&args),
        Command::Check(args) => check::check(&args),
        Command::Status(args) => status::status(&args),
        Command::List(args) => list::list(&args),
        Command::Inspect(args) => inspect::inspect(&args),
        Command::Verify(args) => verify::verify(&args),
        Command::Prune(args) => prune::prune(&args),
        Command::Kill(args) => kill::kill(&args),
        Command::Doctor(args) => doctor::doctor(&args),
        Command::Completions(args) => Ok(generate::completions(&args)),
        Command::Man(args) => generate::man(&args),
    }
}

/// A checkpoint folder that must be there.
fn existing_folder(path: &Path) -> Result<Folder> {
    if path.exists() {
        return Ok(Folder::open(path)?);
    }
    Err(Failure::said(format!(
        "there is no {}; go to the folder in which the computation was started, or name its checkpoint folder",
        path.display()
    )))
}
