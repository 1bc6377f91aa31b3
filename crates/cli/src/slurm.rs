//! The batch system: which job this is, when it ends, whether another one still runs, requeueing.
//!
//! Slurm's own commands are asked, with a time-out, and waited for before anything else happens, so that
//! they never count as processes of the computation. No answer is no reason to fail.

use crate::failure::{Failure, Result};
use crate::message::unix_seconds;
use crate::state::JobSeen;
use std::io::Read;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// The job that this process runs in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// SLURM_JOB_ID.
    pub id: String,
    /// SLURM_RESTART_COUNT: how often it was requeued.
    pub restarts: u32,
    /// SLURM_JOB_END_TIME, in seconds since the epoch, where Slurm sets it.
    end: Option<i64>,
}

/// What Slurm says of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JobState {
    /// Its processes are gone.
    Over,
    /// It runs, or is being ended.
    Alive {
        /// How often it was requeued.
        restarts: u32,
    },
    /// It waits in the queue.
    Pending,
    /// Slurm gave no answer.
    Unknown,
}

const TIMEOUT: Duration = Duration::from_secs(5);

impl Job {
    /// From the environment.
    pub fn current() -> Option<Job> {
        Job::from_environment(|name| std::env::var(name).ok())
    }

    fn from_environment(get: impl Fn(&str) -> Option<String>) -> Option<Job> {
        let id = get("SLURM_JOB_ID")
            .or_else(|| get("SLURM_JOBID"))
            .filter(|id| is_job_id(id))?;
        let restarts = get("SLURM_RESTART_COUNT")
            .and_then(|text| text.parse().ok())
            .unwrap_or(0);
        let end = get("SLURM_JOB_END_TIME").and_then(|text| text.parse().ok());
        Some(Job { id, restarts, end })
    }

    /// Seconds until the job's time limit. Slurm is asked first, because the limit may have been changed
    /// since the job's environment was made.
    pub fn seconds_left(&self) -> Option<u64> {
        let asked = || {
            let text = ask("scontrol", &["show", "job", "-o", &self.id]).ok()?;
            parse_moment(field(&text, "EndTime")?)
        };
        let queue = || parse_moment(ask("squeue", &["-h", "-o", "%e", "-j", &self.id]).ok()?.trim());
        let end = asked().or_else(queue).or(self.end)?;
        Some(u64::try_from(end - unix_seconds()).unwrap_or(0))
    }

    /// Puts the job back in the queue; Slurm then ends what is left of it.
    pub fn requeue(&self) -> Result<()> {
        match ask("scontrol", &["requeue", &self.id]) {
            Ok(_) => Ok(()),
            Err(error) => Err(Failure::said(format!(
                "cannot put job {} back in the queue: {error}",
                self.id
            ))),
        }
    }
}

/// Host names of the job's nodes (SLURM_JOB_NODELIST), as Slurm knows them.
pub fn nodes() -> Option<Vec<String>> {
    let list = std::env::var("SLURM_JOB_NODELIST").ok()?;
    let said = ask("scontrol", &["show", "hostnames", &list]).ok()?;
    let nodes: Vec<String> = said.split_ascii_whitespace().map(str::to_owned).collect();
    (!nodes.is_empty()).then_some(nodes)
}

/// Job ids are numbers, in arrays with suffixes; nothing else goes onto a command line.
fn is_job_id(text: &str) -> bool {
    !text.is_empty()
        && text.len() < 64
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '+')
}

/// Name of the default checkpoint folder: in a job array each element has its own.
pub fn folder_name(get: impl Fn(&str) -> Option<String>) -> String {
    let index = get("SLURM_ARRAY_TASK_ID").filter(|text| text.parse::<u32>().is_ok());
    match index {
        Some(index) => format!("rethaw-checkpoints-{index}"),
        None => "rethaw-checkpoints".to_string(),
    }
}

/// Whether the job in which a computation was last seen can still be running it. `Some` says why not.
pub fn is_over(seen: &JobSeen, mine: Option<&Job>) -> Option<String> {
    if let Some(mine) = mine
        && mine.id == seen.id
        && mine.restarts > seen.restarts
    {
        return Some(format!("job {} was requeued since", seen.id));
    }
    let same_job = mine.is_some_and(|mine| mine.id == seen.id);
    match state(&seen.id) {
        JobState::Over => Some(format!("Slurm says that job {} is over", seen.id)),
        JobState::Pending => Some(format!("job {} is back in the queue", seen.id)),
        JobState::Alive { restarts } if restarts > seen.restarts && !same_job => {
            Some(format!("job {} was requeued since", seen.id))
        }
        JobState::Alive { .. } | JobState::Unknown => None,
    }
}

fn state(id: &str) -> JobState {
    if !is_job_id(id) {
        return JobState::Unknown;
    }
    match ask("scontrol", &["show", "job", "-o", id]) {
        Ok(text) => parse_state(&text),
        Err(error) if error.contains("Invalid job id specified") => JobState::Over,
        Err(_) => JobState::Unknown,
    }
}

fn parse_state(text: &str) -> JobState {
    const OVER: [&str; 10] = [
        "COMPLETED",
        "FAILED",
        "TIMEOUT",
        "CANCELLED",
        "NODE_FAIL",
        "PREEMPTED",
        "OUT_OF_MEMORY",
        "BOOT_FAIL",
        "DEADLINE",
        "REVOKED",
    ];
    const PENDING: [&str; 4] = ["PENDING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED"];
    let Some(state) = field(text, "JobState") else {
        return JobState::Unknown;
    };
    let restarts = field(text, "Restarts")
        .and_then(|text| text.parse().ok())
        .unwrap_or(0);
    if OVER.contains(&state) {
        JobState::Over
    } else if PENDING.contains(&state) {
        JobState::Pending
    } else {
        JobState::Alive { restarts }
    }
}

/// `Name=value` of `scontrol show -o`. Only whole words count: `TimeLimit` is not `Limit`.
fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.split_ascii_whitespace()
        .find_map(|word| word.strip_prefix(name)?.strip_prefix('='))
}

/// A time as Slurm prints it, in local time without a zone. `Unknown`, `NONE` and `N/A` are none.
fn parse_moment(text: &str) -> Option<i64> {
    let local: jiff::civil::DateTime = text.parse().ok()?;
    Some(
        local
            .to_zoned(jiff::tz::TimeZone::system())
            .ok()?
            .timestamp()
            .as_second(),
    )
}

/// Runs a command of Slurm's and returns what it says, or why not.
fn ask(program: &str, arguments: &[&str]) -> Result<String, String> {
    ask_within(TIMEOUT, program, arguments)
}

fn ask_within(timeout: Duration, program: &str, arguments: &[&str]) -> Result<String, String> {
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env("LC_ALL", "C")
        .env_remove("SLURM_TIME_FORMAT");
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|error| format!("{program}: {error}"))?;
    let started = Instant::now();
    let ended = loop {
        match child.try_wait() {
            Ok(Some(ended)) => break ended,
            Ok(None) if started.elapsed() < timeout => std::thread::sleep(Duration::from_millis(10)),
            _ => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(format!("{program} did not answer"));
            }
        }
    };
    let said = read_up_to_a_pipe(child.stdout.take());
    if ended.success() {
        return Ok(said);
    }
    Err(format!(
        "{program}: {}",
        read_up_to_a_pipe(child.stderr.take()).trim()
    ))
}

/// The command has ended: what it said fits in the pipe.
fn read_up_to_a_pipe(pipe: Option<impl Read>) -> String {
    let mut bytes = Vec::new();
    if let Some(pipe) = pipe {
        let _ = pipe.take(1 << 20).read_to_end(&mut bytes);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
#[allow(clippy::expect_used)]
mod tests {
    use super::*;

    const RUNNING: &str = "JobId=17 JobName=mm.sh UserId=alice(1000) GroupId=alice(1000) MCS_label=N/A \
        Priority=4294901757 Nice=0 Account=(null) QOS=(null) JobState=RUNNING Reason=None Dependency=(null) \
        Requeue=1 Restarts=2 BatchFlag=1 Reboot=0 ExitCode=0:0 RunTime=00:00:07 TimeLimit=00:04:00 \
        TimeMin=N/A SubmitTime=2026-11-22T23:10:00 EligibleTime=2026-11-22T23:10:00 \
        StartTime=2026-11-22T23:10:01 EndTime=2026-11-22T23:14:01 Deadline=N/A NodeList=node1";

    #[test]
    fn fields_of_scontrol() {
        assert_eq!(field(RUNNING, "EndTime"), Some("2026-11-22T23:14:01"));
        assert_eq!(field(RUNNING, "Time"), None);
        assert_eq!(field("", "EndTime"), None);
        assert_eq!(parse_state(RUNNING), JobState::Alive { restarts: 2 });
        assert_eq!(
            parse_state(&RUNNING.replace("RUNNING", "TIMEOUT")),
            JobState::Over
        );
        assert_eq!(
            parse_state(&RUNNING.replace("RUNNING", "PENDING")),
            JobState::Pending
        );
        assert_eq!(
            parse_state(&RUNNING.replace("RUNNING", "COMPLETING")),
            JobState::Alive { restarts: 2 }
        );
        assert_eq!(parse_state("gibberish"), JobState::Unknown);
    }

    #[test]
    fn moments_are_local_and_may_be_unknown() {
        let end = parse_moment("2026-11-22T23:14:01").expect("a moment");
        let start = parse_moment("2026-11-22T23:10:01").expect("a moment");
        assert_eq!(end - start, 240);
        for text in ["Unknown", "NONE", "N/A", "", "(null)"] {
            assert_eq!(parse_moment(text), None, "{text}");
        }
    }

    fn job(pairs: &'static [(&'static str, &'static str)]) -> Option<Job> {
        Job::from_environment(|name| {
            pairs
                .iter()
                .find(|(key, _)| *key == name)
                .map(|(_, value)| value.to_string())
        })
    }

    #[test]
    fn the_job_is_in_the_environment() {
        assert_eq!(job(&[]), None);
        assert_eq!(job(&[("SLURM_JOB_ID", "1; rm -rf /")]), None);
        let found = job(&[("SLURM_JOB_ID", "17"), ("SLURM_RESTART_COUNT", "2")]).expect("a job");
        assert_eq!((found.id.as_str(), found.restarts, found.end), ("17", 2, None));
    }

    #[test]
    fn the_end_in_the_environment_is_used() {
        let end = unix_seconds() + 100;
        let found = Job {
            id: "17".into(),
            restarts: 0,
            end: Some(end),
        };
        assert!(
            found
                .seconds_left()
                .is_some_and(|left| (98..=100).contains(&left))
        );
    }

    #[test]
    fn a_requeued_job_is_over() {
        let seen = JobSeen {
            id: "17".into(),
            restarts: 0,
        };
        let mine = Job {
            id: "17".into(),
            restarts: 1,
            end: None,
        };
        assert!(is_over(&seen, Some(&mine)).is_some());
    }

    #[test]
    fn array_elements_have_their_own_folder() {
        assert_eq!(folder_name(|_| None), "rethaw-checkpoints");
        assert_eq!(folder_name(|_| Some("7".into())), "rethaw-checkpoints-7");
        assert_eq!(folder_name(|_| Some("../x".into())), "rethaw-checkpoints");
    }

    #[test]
    fn a_command_that_hangs_or_is_missing_is_no_answer() {
        assert!(ask_within(Duration::from_millis(50), "sleep", &["10"]).is_err());
        assert!(ask("rethaw-no-such-command", &[]).is_err());
        assert_eq!(ask("echo", &["a"]), Ok("a\n".to_string()));
        assert!(ask("false", &[]).is_err());
    }
}
