//! The names `dmtcp_launch`, `dmtcp_restart`, `dmtcp_command`, `dmtcp_coordinator`, with the options, files
//! and environment variables of those programs, so that existing job scripts run unchanged.
//!
//! There is no coordinator process that everything hangs on: each computation has its own rethaw. A port is
//! only a number by which `dmtcp_command` finds the computations that were launched with it.

mod command;
mod coordinator;
pub mod image;
mod launch;
mod options;
mod port;
mod restart;
mod words;

use crate::failure::{Failure, Result};
use crate::message;
use clap::{CommandFactory, Parser};
use std::ffi::OsString;
use std::process::ExitCode;

/// Under which name rethaw was called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Name {
    /// dmtcp_launch
    Launch,
    /// dmtcp_restart
    Restart,
    /// dmtcp_command
    Command,
    /// dmtcp_coordinator
    Coordinator,
}

impl Name {
    fn parse(name: &str) -> Option<Name> {
        Some(match name {
            "dmtcp_launch" => Name::Launch,
            "dmtcp_restart" => Name::Restart,
            "dmtcp_command" => Name::Command,
            "dmtcp_coordinator" => Name::Coordinator,
            _ => return None,
        })
    }

    /// The name and the words of the command line from it on: `dmtcp_launch …`, or `rethaw dmtcp_launch …`.
    pub fn of(words: &[OsString]) -> Option<(Name, Vec<OsString>)> {
        (0..words.len().min(2)).find_map(|at| {
            let name = if at == 0 {
                crate::base_name(&words[0])
            } else {
                words[1].to_string_lossy().into_owned()
            };
            Some((Name::parse(&name)?, words[at..].to_vec()))
        })
    }
}

/// Does what the command line asks for.
pub fn execute(name: Name, words: Vec<OsString>) -> ExitCode {
    let get = |name: &str| std::env::var(name).ok();
    let fail_status = options::fail_status(get);
    let done = match name {
        Name::Launch => parse(words, fail_status).map(|args| launch::launch(&args)),
        Name::Restart => parse(words, fail_status).map(|args| restart::restart(&args)),
        Name::Command => Ok(Ok(command::command(words))),
        Name::Coordinator => parse(words, 1).map(|args| coordinator::coordinator(&args)),
    };
    match done {
        Ok(Ok(code)) | Err(code) => code,
        Ok(Err(failure)) => {
            message::fail(&failure);
            ExitCode::from(status_of(&failure, fail_status))
        }
    }
}

/// DMTCP's own failures have a status of their own; a program that cannot be executed keeps the shell's.
fn status_of(failure: &Failure, fail_status: u8) -> u8 {
    use crate::failure::status::{CANNOT_EXECUTE, NOT_FOUND};
    match failure.status() {
        status @ (CANNOT_EXECUTE | NOT_FOUND) => status,
        _ => fail_status,
    }
}

/// The options, or what to exit with after help, version, or a complaint.
fn parse<T: Parser>(words: Vec<OsString>, usage_status: u8) -> Result<T, ExitCode> {
    T::try_parse_from(words).map_err(|answer| {
        let _ = answer.print();
        ExitCode::from(if answer.use_stderr() { usage_status } else { 0 })
    })
}

/// Says what was accepted without effect.
fn note_ignored(ignored: &[&str]) {
    for option in ignored {
        message::note(format!("{option} has no meaning here and is ignored"));
    }
}

/// The definitions of the command lines, for man pages.
pub fn definitions() -> Vec<(&'static str, clap::Command)> {
    vec![
        ("dmtcp_launch", options::Launch::command()),
        ("dmtcp_restart", options::Restart::command()),
        ("dmtcp_command", options::Command::command()),
        ("dmtcp_coordinator", options::Coordinator::command()),
    ]
}
