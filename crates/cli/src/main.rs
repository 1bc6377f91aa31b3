//! `rethaw`: checkpoints running Linux computations and restarts them later.
#![forbid(unsafe_code)]

mod cluster;
mod command;
mod control;
mod decide;
mod detach;
mod dmtcp;
mod duration;
mod failure;
mod message;
mod mpi;
mod options;
mod place;
mod registry;
mod sink;
mod slurm;
mod start;
mod state;
mod supervise;

use clap::Parser;
use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let words: Vec<OsString> = std::env::args_os().collect();
    if words
        .get(1)
        .is_some_and(|word| word == rethaw_engine::init::SUBCOMMAND)
    {
        // The init of a computation's namespaces: before anything that could start a thread.
        return ExitCode::from(rethaw_engine::init::main(&words[2..]) as u8);
    }
    if words
        .get(1)
        .is_some_and(|word| word == rethaw_engine::look::SUBCOMMAND)
    {
        return ExitCode::from(rethaw_engine::look::main(&words[2..]) as u8);
    }
    if let Some(outcome) = of_the_computation(&words) {
        return outcome.unwrap_or_else(|failure| {
            message::fail(&failure);
            ExitCode::from(failure.status())
        });
    }
    if words
        .get(1)
        .is_some_and(|word| word == rethaw_engine::queue_look::SUBCOMMAND)
    {
        return ExitCode::from(rethaw_engine::queue_look::main(&words[2..]) as u8);
    }
    if let Some((name, words)) = dmtcp::Name::of(&words) {
        return dmtcp::execute(name, words);
    }
    rethaw(words).unwrap_or_else(|failure| {
        message::fail(&failure);
        ExitCode::from(failure.status())
    })
}

/// What a computation on several nodes starts of rethaw's.
fn of_the_computation(words: &[OsString]) -> Option<failure::Result<ExitCode>> {
    use cluster::{agent, rsh};
    let (name, rest) = words.split_first()?;
    if base_name(name) == rsh::NAME {
        return Some(rsh::rsh(rest));
    }
    let (word, rest) = rest.split_first()?;
    match word.to_str()? {
        "rsh" => Some(rsh::rsh(rest)),
        rsh::REMOTE => Some(rsh::remote(rest)),
        agent::SUBCOMMAND => Some(agent::agent(rest)),
        _ => None,
    }
}

fn rethaw(words: Vec<OsString>) -> failure::Result<ExitCode> {
    match options::Cli::try_parse_from(words) {
        Ok(cli) => {
            message::set_quiet(cli.quiet);
            command::execute(cli.command)
        }
        Err(answer) => Ok(explain(&answer)),
    }
}

/// Help, version, or what is wrong with the command line. Nobody reading it is no error.
fn explain(answer: &clap::Error) -> ExitCode {
    let _ = answer.print();
    ExitCode::from(if answer.use_stderr() {
        failure::status::USAGE
    } else {
        0
    })
}

/// File name of a path, for people.
fn base_name(path: &OsString) -> String {
    Path::new(path)
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}
