//! `rethaw doctor`: what this machine and user allow, and what follows for the user.

use crate::failure::{Context, Result, status};
use crate::message;
use crate::options::DoctorArgs;
use crate::slurm;
use crate::start::checkpoint_folder;
use rethaw_sys::probe::{Finding, Level, Probe};
use serde::Serialize;
use std::process::ExitCode;

#[derive(Serialize)]
struct Line {
    name: &'static str,
    level: &'static str,
    found: String,
    consequence: String,
}

/// See the module. Exit status 1 when something that rethaw is for does not work.
pub fn doctor(args: &DoctorArgs) -> Result<ExitCode> {
    let folder = checkpoint_folder(args.dir.as_deref());
    let probe = Probe::run(&folder).context(|| "try what this machine allows".to_string())?;
    let mut findings = probe.findings();
    findings.push(batch_system());
    let bad = findings.iter().any(|finding| finding.level == Level::Bad);
    if args.json {
        message::print_json(&findings.into_iter().map(line).collect::<Vec<_>>());
    } else {
        message::print(&findings.iter().map(show).collect::<String>());
    }
    Ok(if bad {
        ExitCode::from(status::BAD)
    } else {
        ExitCode::SUCCESS
    })
}

fn line(finding: Finding) -> Line {
    let Finding {
        name,
        level,
        found,
        consequence,
    } = finding;
    let level = match level {
        Level::Ok => "ok",
        Level::Warn => "warn",
        Level::Bad => "bad",
    };
    Line {
        name,
        level,
        found,
        consequence,
    }
}

fn show(finding: &Finding) -> String {
    let mark = match finding.level {
        Level::Ok => "ok  ",
        Level::Warn => "note",
        Level::Bad => "BAD ",
    };
    format!(
        "{mark}  {}: {}\n      {}\n",
        finding.name, finding.found, finding.consequence
    )
}

fn batch_system() -> Finding {
    let (found, consequence) = match slurm::Job::current().map(|job| (job.seconds_left(), job)) {
        None => (
            "not in a Slurm job".to_string(),
            "Checkpoints are taken at the interval alone.",
        ),
        Some((Some(left), job)) => (
            format!("Slurm job {}, which ends in {left} s", job.id),
            "A last checkpoint is taken early enough before the end.",
        ),
        Some((None, job)) => (
            format!("Slurm job {} without a known end", job.id),
            "Checkpoints are taken at the interval alone.",
        ),
    };
    Finding {
        name: "batch system",
        level: Level::Ok,
        found,
        consequence: consequence.to_string(),
    }
}
