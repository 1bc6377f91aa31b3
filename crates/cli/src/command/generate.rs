//! `rethaw completions` and `rethaw man`, from the definitions of the command line.

use crate::failure::{Context, Result};
use crate::message;
use crate::options::{Cli, CompletionsArgs, ManArgs};
use clap::CommandFactory;
use std::path::Path;
use std::process::ExitCode;

/// Prints a completion script.
pub fn completions(args: &CompletionsArgs) -> ExitCode {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "rethaw", &mut script);
    message::print(&String::from_utf8_lossy(&script));
    ExitCode::SUCCESS
}

/// Writes man pages: of rethaw, of each command, of the DMTCP names.
pub fn man(args: &ManArgs) -> Result<ExitCode> {
    let Some(folder) = &args.dir else {
        message::print(&String::from_utf8_lossy(&page(Cli::command())?));
        return Ok(ExitCode::SUCCESS);
    };
    std::fs::create_dir_all(folder).context(|| format!("make {}", folder.display()))?;
    let mut rethaw = Cli::command();
    rethaw.build();
    for command in rethaw
        .get_subcommands()
        .filter(|command| command.get_name() != "help")
    {
        let name: &'static str = format!("rethaw-{}", command.get_name()).leak();
        write(folder, name, command.clone().name(name))?;
    }
    write(folder, "rethaw", Cli::command())?;
    for (name, command) in crate::dmtcp::definitions() {
        write(folder, name, command)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn write(folder: &Path, name: &str, command: clap::Command) -> Result<()> {
    let path = folder.join(format!("{name}.1"));
    std::fs::write(&path, page(command)?).context(|| format!("write {}", path.display()))
}

fn page(command: clap::Command) -> Result<Vec<u8>> {
    let mut page = Vec::new();
    clap_mangen::Man::new(command)
        .render(&mut page)
        .context(|| "make a man page".to_string())?;
    Ok(page)
}
