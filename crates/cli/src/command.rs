//! The commands, one module each.

mod attach;
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

use crate::failure::Result;
use crate::options::Command;
use std::process::ExitCode;

/// Does what the command line asks for.
pub fn execute(command: Command) -> Result<ExitCode> {
    match command {
        Command::Run(args) => run::run(&args),
        Command::Launch(args) => launch::launch(&args),
        Command::Attach(args) => attach::attach(&args),
        Command::Restart(args) => restart::restart(&args),
        Command::Checkpoint(args) => checkpoint::checkpoint(&args),
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
