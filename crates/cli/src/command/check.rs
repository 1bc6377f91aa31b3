//! `rethaw check`: what would stop a checkpoint of a running computation, or of a program that is started for it.

use super::attach::refuse_ancestor;
use super::checkpoint::protected;
use crate::control::{Checked, Reply, Request, demand};
use crate::duration::{show_bytes, show_duration};
use crate::failure::{Context, Failure, Result, status};
use crate::message;
use crate::options::{CheckArgs, MpiEnv, ProgramArgs};
use crate::registry;
use crate::start::{Stage, check_options, check_settings};
use rethaw_engine::tree::Tree;
use std::ffi::OsStr;
use std::os::fd::AsFd;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// See the module.
pub fn check(args: &CheckArgs) -> Result<ExitCode> {
    let checked = match args.program.is_empty() {
        true => check_running(args.id.as_deref())?,
        false => check_program(args)?,
    };
    match args.json {
        true => message::print_json(&checked),
        false => message::print(&describe(&checked)),
    }
    Ok(ExitCode::from(match checked.refusals.is_empty() {
        true => 0,
        false => status::REFUSED,
    }))
}

/// A computation under rethaw is asked; any other process is looked at from here, as `attach` would.
fn check_running(id: Option<&OsStr>) -> Result<Checked> {
    let pid = id
        .and_then(|id| id.to_str()?.parse().ok())
        .filter(|pid: &i32| *pid > 0 && std::path::Path::new(&format!("/proc/{pid}")).exists());
    let found = match pid {
        Some(pid) if registry::find(id).is_err() => return check_process(pid),
        _ => protected(id)?,
    };
    match demand(&found.socket(), Request::Check)? {
        Reply::Checked(checked) => Ok(checked),
        _ => Err(Failure::said("the computation gave another answer")),
    }
}

fn check_process(pid: i32) -> Result<Checked> {
    refuse_ancestor(pid)?;
    let mut tree = Tree::attach(pid)?;
    Ok(rethaw_engine::checkpoint::check(&mut tree, &check_options(pid))?.into())
}

/// Starts it, lets it run for a while, and ends it.
fn check_program(args: &CheckArgs) -> Result<Checked> {
    let stage = Stage::set(check_settings(args))?;
    let stdout = args.json.then(own_stdout).transpose()?;
    let program = ProgramArgs {
        isolate: args.isolate,
        mpi_env: MpiEnv::Auto,
        program: args.program.clone(),
    };
    let started = Instant::now();
    let (outcome, checked) = stage.launch_to_check(&program)?;
    if let Some(stdout) = stdout {
        rustix::stdio::dup2_stdout(stdout).context(|| "put stdout back".to_string())?;
    }
    checked.ok_or_else(|| {
        Failure::said(format!(
            "the program {} after {}, before it was checked; check it sooner by --after TIME",
            outcome.describe(),
            show_duration(started.elapsed())
        ))
    })
}

/// Keeps stdout for the result; what the program writes there goes to stderr.
fn own_stdout() -> Result<std::os::fd::OwnedFd> {
    let kept = rustix::io::fcntl_dupfd_cloexec(std::io::stdout().as_fd(), 3)
        .context(|| "keep stdout for the result".to_string())?;
    rustix::stdio::dup2_stdout(std::io::stderr().as_fd())
        .context(|| "replace stdout for the program".to_string())?;
    Ok(kept)
}

fn describe(checked: &Checked) -> String {
    let mut text = String::new();
    for refusal in &checked.refusals {
        text += &format!("{refusal}\n");
    }
    for warning in &checked.warnings {
        text += &format!("warning: {warning}\n");
    }
    let verdict = match checked.refusals.len() {
        0 => "nothing stops a checkpoint".to_string(),
        1 => "1 thing stops a checkpoint".to_string(),
        many => format!("{many} things stop a checkpoint"),
    };
    text + &format!("{verdict}: {}\n", counts(checked))
}

fn counts(checked: &Checked) -> String {
    let several = |count: usize, one: &str, more: &str| match count {
        1 => format!("1 {one}"),
        count => format!("{count} {more}"),
    };
    let pause = Duration::from_secs_f64(checked.pause_ms / 1e3);
    [
        several(checked.processes, "process", "processes"),
        several(checked.threads, "thread", "threads"),
        several(checked.descriptors, "descriptor", "descriptors"),
        format!("{} to save", show_bytes(checked.memory)),
        format!("stood still for {}", show_duration(pause)),
    ]
    .join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_found_is_told() {
        let mut checked = Checked {
            refusals: vec![],
            warnings: vec!["x changes".to_string()],
            processes: 1,
            threads: 2,
            descriptors: 3,
            memory: 1 << 20,
            pause_ms: 12.0,
        };
        assert_eq!(
            describe(&checked),
            "warning: x changes\nnothing stops a checkpoint: 1 process, 2 threads, 3 descriptors, 1.0 MiB to save, \
             stood still for 12 ms\n"
        );
        checked.refusals = vec!["cannot checkpoint: y".to_string(); 2];
        let text = describe(&checked);
        assert!(text.starts_with("cannot checkpoint: y\ncannot checkpoint: y\nwarning: x"));
        assert!(text.contains("\n2 things stop a checkpoint: "));
    }
}
