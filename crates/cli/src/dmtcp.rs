//! The names `dmtcp_launch`, `dmtcp_restart`, `dmtcp_command`, `dmtcp_coordinator`, with the options, files
//! and environment variables of those programs, so that existing job scripts run unchanged.

pub mod image;

use crate::failure::{Failure, Result};
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
            let name = if at == 0 { crate::base_name(&words[0]) } else { words[1].to_string_lossy().into_owned() };
            Some((Name::parse(&name)?, words[at..].to_vec()))
        })
    }
}

/// Does what the command line asks for.
pub fn execute(_name: Name, _words: Vec<OsString>) -> Result<ExitCode> {
    Err(Failure::said("not there yet"))
}

/// The definitions of the command lines, for man pages.
pub fn definitions() -> Vec<(&'static str, clap::Command)> {
    vec![]
}
