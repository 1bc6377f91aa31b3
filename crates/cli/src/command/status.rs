//! `rethaw status`: the running computations of this user on this machine.

use crate::control::{Reply, Request, Status, ask};
use crate::duration::{Interval, show_bytes, show_duration};
use crate::failure::Result;
use crate::message;
use crate::options::StatusArgs;
use crate::registry::{self, Entry, Found};
use crate::state::{Text, show_command};
use serde::Serialize;
use std::process::ExitCode;
use std::time::Duration;

#[derive(Serialize)]
struct Line {
    computation: String,
    name: String,
    command: Vec<Text>,
    #[serde(serialize_with = "crate::state::path_as_text::serialize")]
    checkpoints: std::path::PathBuf,
    pid: i32,
    since: i64,
    protected: bool,
    supervisor: Option<i32>,
    details: Option<Status>,
}

/// See the module.
pub fn status(args: &StatusArgs) -> Result<ExitCode> {
    let found = match &args.id {
        Some(id) => vec![registry::find(Some(id))?],
        None => registry::all(),
    };
    let lines: Vec<Line> = found.into_iter().map(look).collect();
    if args.json {
        message::print_json(&lines);
    } else if lines.is_empty() {
        message::print("no computation runs under rethaw\n");
    } else {
        message::print(&lines.iter().map(show).collect::<String>());
    }
    Ok(ExitCode::SUCCESS)
}

fn look(found: Found) -> Line {
    let protected = found.is_protected();
    let details = match protected.then(|| ask(&found.socket(), Request::Status)) {
        Some(Ok(Reply::Status(status))) => Some(*status),
        _ => None,
    };
    let Entry {
        computation,
        name,
        command,
        checkpoints,
        supervisor,
        main,
        since,
        ..
    } = found.entry;
    let supervisor = protected.then_some(supervisor.pid);
    Line {
        computation,
        name,
        command,
        checkpoints,
        pid: main.pid,
        since,
        protected,
        supervisor,
        details,
    }
}

fn show(line: &Line) -> String {
    let mut text = format!("{}  {}\n", line.name, show_command(&line.command));
    text += &format!(
        "  process {}, since {}\n",
        line.pid,
        message::show_time(line.since)
    );
    text += &format!("  checkpoints in {}\n", line.checkpoints.display());
    text += &match (&line.details, line.protected) {
        (Some(status), _) => show_details(status),
        (None, true) => "  protected; its rethaw does not answer\n".to_string(),
        (None, false) => {
            "  UNPROTECTED: its rethaw is gone; `rethaw run` or `rethaw attach` protects it again\n"
                .to_string()
        }
    };
    text
}

fn show_details(status: &Status) -> String {
    let seconds = |seconds: f64| show_duration(Duration::from_secs_f64(seconds.max(0.0)));
    let every = match Interval::from_seconds(status.interval_seconds) {
        Interval::Never => "checkpoints only on request".to_string(),
        Interval::Every(every) => format!("a checkpoint every {}", show_duration(every)),
    };
    let next = match (status.writing, status.next_in_seconds) {
        (Some(number), _) => format!(", writing number {number}"),
        (None, Some(next)) => format!(", the next in {}", seconds(next)),
        (None, None) => String::new(),
    };
    let last = match &status.last {
        Some(last) => format!(
            "last: number {} at {}, {} in {}",
            last.generation,
            message::show_time(last.unix_seconds),
            show_bytes(last.bytes),
            seconds(last.durable_ms / 1e3)
        ),
        None => "no checkpoint yet".to_string(),
    };
    let job = status
        .job_ends_in_seconds
        .map(|left| format!("  the batch job ends in {}\n", seconds(left)));
    format!(
        "  protected: {every}{next}; {last}\n  {} process(es), {} resident\n{}",
        status.processes.len(),
        show_bytes(status.resident_bytes),
        job.unwrap_or_default()
    )
}
