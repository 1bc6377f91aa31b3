//! `rethaw doctor`: what this machine and user allow, and what follows for the user.

use crate::duration::show_bytes;
use crate::failure::Result;
use crate::message;
use crate::options::DoctorArgs;
use crate::slurm;
use serde::Serialize;
use std::path::Path;
use std::process::ExitCode;

#[derive(Serialize)]
struct Line {
    name: String,
    level: Level,
    found: String,
    consequence: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Level {
    Ok,
    Warn,
    Bad,
}

/// See the module.
pub fn doctor(args: &DoctorArgs) -> Result<ExitCode> {
    let folder = args.dir.as_deref().unwrap_or(Path::new("."));
    let lines = [free_space(folder), batch_system()];
    if args.json {
        message::print_json(&lines);
    } else {
        message::print(&lines.iter().map(show).collect::<String>());
    }
    Ok(ExitCode::SUCCESS)
}

fn show(line: &Line) -> String {
    let mark = match line.level {
        Level::Ok => "ok  ",
        Level::Warn => "note",
        Level::Bad => "BAD ",
    };
    format!("{mark}  {}: {}\n      {}\n", line.name, line.found, line.consequence)
}

fn free_space(folder: &Path) -> Line {
    let name = format!("free space in {}", std::path::absolute(folder).unwrap_or_default().display());
    let (level, found, consequence) = match rustix::fs::statvfs(folder) {
        Ok(fs) => {
            let free = fs.f_bavail.saturating_mul(fs.f_frsize);
            let level = if free < 1 << 30 { Level::Warn } else { Level::Ok };
            let consequence =
                "while one is written, the checkpoints kept (--keep) and one more lie there, each about as large as \
                 the memory in use";
            (level, show_bytes(free), consequence.to_string())
        }
        Err(error) => (Level::Bad, error.to_string(), "checkpoints cannot be written there".to_string()),
    };
    Line { name, level, found, consequence }
}

fn batch_system() -> Line {
    let name = "batch system".to_string();
    let (found, consequence) = match slurm::Job::current() {
        None => ("not in a Slurm job".to_string(), "checkpoints are taken at the interval alone".to_string()),
        Some(job) => match job.seconds_left() {
            Some(left) => (
                format!("Slurm job {}, which ends in {left} s", job.id),
                "a last checkpoint is taken early enough before the end".to_string(),
            ),
            None => (
                format!("Slurm job {} without a known end", job.id),
                "checkpoints are taken at the interval alone".to_string(),
            ),
        },
    };
    Line { name, level: Level::Ok, found, consequence }
}
