//! Ports: numbers by which the DMTCP names find each other, recorded in the user's registry.

use super::options::{CoordinatorArgs, DEFAULT_PORT};
use crate::failure::{Context, Failure, Result};
use crate::message;
use crate::place::{Machine, Seen};
use crate::registry;
use crate::state::{read_json, replace_file, write_json};
use serde::{Deserialize, Serialize};
use std::net::TcpListener;
use std::path::{Path, PathBuf};

/// What a running dmtcp_coordinator offers to those that are launched with its port.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Its port.
    pub port: u16,
    /// Its process.
    pub process: Seen,
    /// Seconds between checkpoints; 0 for never.
    pub interval_seconds: f64,
    /// Folder of images.
    pub ckptdir: Option<PathBuf>,
    /// End computations after their first checkpoint.
    pub kill_after_ckpt: bool,
}

fn path(port: u16) -> Result<PathBuf> {
    Ok(registry::own_folder()?.join(format!("coordinator-{port}.coord")))
}

impl Record {
    /// The living coordinator of a port.
    pub fn of(port: u16) -> Option<Record> {
        let record: Record = read_json(&path(port).ok()?).ok().flatten()?;
        record.process.runs_here().then_some(record)
    }

    /// Makes it known, or changes what is known.
    pub fn publish(&self) -> Result<()> {
        write_json(&path(self.port)?, self)
    }

    /// Forgets it.
    pub fn withdraw(&self) {
        if let Ok(path) = path(self.port) {
            let _ = std::fs::remove_file(path);
        }
    }
}

/// Whether a coordinator or a computation has this port.
pub fn is_known(port: u16) -> bool {
    Record::of(port).is_some()
        || registry::all()
            .iter()
            .any(|one| one.entry.dmtcp_port == Some(port))
}

/// A port that nobody uses.
pub fn choose() -> Result<(u16, TcpListener)> {
    let listener = TcpListener::bind("127.0.0.1:0").context(|| "choose a port".to_string())?;
    let port = listener
        .local_addr()
        .context(|| "choose a port".to_string())?
        .port();
    Ok((port, listener))
}

/// How the coordinator was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Join,
    New,
    Any,
}

/// What follows for the port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Resolution {
    Use(u16),
    Choose,
    NobodyThere(u16),
    Taken(u16),
}

fn resolve(mode: Mode, asked: Option<u16>, is_known: impl Fn(u16) -> bool) -> Resolution {
    match (mode, asked) {
        (Mode::New, None) | (Mode::New | Mode::Any, Some(0)) => Resolution::Choose,
        (Mode::New, Some(port)) if is_known(port) => Resolution::Taken(port),
        (Mode::New | Mode::Any, Some(port)) => Resolution::Use(port),
        (Mode::Any, None) => Resolution::Use(DEFAULT_PORT),
        (Mode::Join, asked) => {
            let port = asked.unwrap_or(DEFAULT_PORT);
            if is_known(port) {
                Resolution::Use(port)
            } else {
                Resolution::NobodyThere(port)
            }
        }
    }
}

/// DMTCP_COORD_PORT, or its older name.
pub fn from_environment(get: impl Fn(&str) -> Option<String>) -> Option<u16> {
    get("DMTCP_COORD_PORT")
        .or_else(|| get("DMTCP_PORT"))
        .and_then(|text| text.trim().parse().ok())
}

/// The port for a new computation, written to `--port-file` too.
pub fn of_computation(args: &CoordinatorArgs) -> Result<u16> {
    note_other_host(
        args.coord_host
            .clone()
            .or_else(|| std::env::var("DMTCP_COORD_HOST").ok()),
    );
    let mode = match (args.join_coordinator, args.new_coordinator) {
        (true, _) => Mode::Join,
        (_, true) => Mode::New,
        _ => Mode::Any,
    };
    let asked = args
        .coord_port
        .or_else(|| from_environment(|name| std::env::var(name).ok()));
    let port = match resolve(mode, asked, is_known) {
        Resolution::Use(port) => port,
        Resolution::Choose => choose()?.0,
        Resolution::NobodyThere(port) => {
            return Err(Failure::said(format!(
                "there is no coordinator and no computation with port {port} to join"
            )));
        }
        Resolution::Taken(port) => {
            return Err(Failure::said(format!(
                "port {port} belongs to another coordinator or computation already"
            )));
        }
    };
    if let Some(file) = &args.port_file {
        write_port(file, port)?;
    }
    Ok(port)
}

/// Writes a port file at once and whole, for those that wait for it.
pub fn write_port(file: &Path, port: u16) -> Result<()> {
    replace_file(file, format!("{port}\n").as_bytes(), 0o644)
}

fn note_other_host(host: Option<String>) {
    if let Some(host) = host.filter(|host| !is_this_host(host)) {
        message::note(format!(
            "ignoring the coordinator's host {host}: each computation has its own coordinator here"
        ));
    }
}

fn is_this_host(host: &str) -> bool {
    let here = Machine::here().host;
    let short = here.split('.').next().unwrap_or_default();
    host.is_empty() || ["localhost", "127.0.0.1", "::1", here.as_str(), short].contains(&host)
}

#[cfg(test)]
#[allow(clippy::expect_used)]
mod tests {
    use super::*;

    #[test]
    fn ports_as_dmtcp_resolves_them() {
        let nobody = |_| false;
        let taken = |_| true;
        assert_eq!(resolve(Mode::Any, None, taken), Resolution::Use(DEFAULT_PORT));
        assert_eq!(resolve(Mode::Any, Some(0), nobody), Resolution::Choose);
        assert_eq!(resolve(Mode::Any, Some(7000), taken), Resolution::Use(7000));
        assert_eq!(resolve(Mode::New, None, nobody), Resolution::Choose);
        assert_eq!(resolve(Mode::New, Some(7000), nobody), Resolution::Use(7000));
        assert_eq!(resolve(Mode::New, Some(7000), taken), Resolution::Taken(7000));
        assert_eq!(
            resolve(Mode::Join, None, nobody),
            Resolution::NobodyThere(DEFAULT_PORT)
        );
        assert_eq!(resolve(Mode::Join, Some(7000), taken), Resolution::Use(7000));
    }

    #[test]
    fn the_environment_has_two_names() {
        assert_eq!(from_environment(|_| None), None);
        assert_eq!(
            from_environment(|name| (name == "DMTCP_PORT").then(|| "7000".into())),
            Some(7000)
        );
        assert_eq!(from_environment(|_| Some("x".into())), None);
    }

    #[test]
    fn this_host_has_several_names() {
        assert!(is_this_host("localhost"));
        assert!(is_this_host(&Machine::here().host));
        assert!(!is_this_host("elsewhere.example"));
    }
}
