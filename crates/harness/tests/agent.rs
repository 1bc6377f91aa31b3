//! The program does not depend on rethaw: it lives on when rethaw is killed, and can be taken up again.
#![forbid(unsafe_code)]

use rethaw_harness::{
    Case, Counter, Job, Outcome, PATIENCE, Random, Result, STOPPED, case, ensure, ensure_equal, processes,
    wait_for,
};
use std::fs;
use std::time::Duration;

const NEVER: &[&str] = &["-i", "never"];

/// Waits for the end of a program whose first rethaw was killed: its status may be beyond reach then.
fn wait_for_adopted(job: &mut Job) -> Result<()> {
    let finished = job.wait(PATIENCE)?;
    ensure!(
        matches!(finished.status.code(), Some(0 | 125)),
        "`{}`: {} instead of 0 (or 125 where the kernel does not tell)",
        finished.label,
        finished.status
    );
    Ok(())
}

fn wait_until_unprotected(case: &Case, pid: i32) -> Result<()> {
    let status = wait_for(
        "status to say that the computation is unprotected",
        PATIENCE,
        || Ok(case.status()?.filter(|status| !status.protected)),
    )?;
    ensure_equal!(status.pid, pid, "process in status");
    Ok(())
}

#[test]
fn killed_rethaw_leaves_the_program_running_and_run_takes_it_up() -> Outcome {
    case("agent-killed", |case| {
        let counter = Counter::new(case, 600, 2)?;
        let mut job = case.run_again(NEVER, &counter.command())?;
        counter.wait_until_ready(case)?;
        let before = case.wait_until_protected()?;
        case.checkpoint(&[])?;
        job.kill()?;
        counter.ensure_counting()?;
        wait_until_unprotected(case, before.pid)?;
        let mut second = case.run_again(NEVER, &counter.command())?;
        let after = case.wait_until_protected()?;
        ensure_equal!(after.pid, before.pid, "process taken up");
        ensure_equal!(
            fs::read_to_string(counter.log.with_extension("ready")).is_ok(),
            true,
            "ready"
        );
        case.checkpoint(&[])?;
        ensure!(case.images()?.len() == 2, "no second image");
        wait_for_adopted(&mut second)?;
        counter.ensure_complete()?;
        case.ensure_nothing_runs()
    })
}

#[test]
fn computation_taken_up_again_can_be_stopped_and_restarted() -> Outcome {
    case("agent-killed-restarted", |case| {
        let counter = Counter::new(case, 500, 2)?;
        let mut job = case.run_again(NEVER, &counter.command())?;
        counter.wait_until_ready(case)?;
        case.wait_until_protected()?;
        job.kill()?;
        let mut second = case.run_again(NEVER, &counter.command())?;
        case.wait_until_protected()?;
        case.checkpoint(&["--stop"])?;
        second.wait(PATIENCE)?.exited(STOPPED)?;
        case.ensure_nothing_runs()?;
        case.run_again(NEVER, &counter.command())?
            .wait(PATIENCE)?
            .success()?;
        counter.ensure_complete()
    })
}

#[test]
fn restarted_computation_outlives_its_rethaw() -> Outcome {
    case("agent-killed-after-restart", |case| {
        let counter = Counter::new(case, 700, 2)?;
        let mut job = case.run_again(NEVER, &counter.command())?;
        counter.wait_until_ready(case)?;
        case.checkpoint(&["--stop"])?;
        job.wait(PATIENCE)?.exited(STOPPED)?;
        let mut second = case.run_again(NEVER, &counter.command())?;
        let before = case.wait_until_protected()?;
        second.kill()?;
        counter.ensure_counting()?;
        wait_until_unprotected(case, before.pid)?;
        let mut third = case.run_again(NEVER, &counter.command())?;
        let after = case.wait_until_protected()?;
        ensure_equal!(after.pid, before.pid, "process taken up");
        case.checkpoint(&[])?;
        wait_for_adopted(&mut third)?;
        counter.ensure_complete()?;
        case.ensure_nothing_runs()
    })
}

/// Kills rethaw alone again and again while it takes one checkpoint after the other.
fn killed_during_checkpoints(name: &str, options: &[&str]) -> Outcome {
    case(name, |case| {
        let kills = std::env::var("RETHAW_TEST_KILLS")
            .ok()
            .and_then(|text| text.parse().ok())
            .unwrap_or(20);
        let mut random = Random::from_environment();
        let counter = Counter::new(case, 200 + kills * 250, 48)?;
        let mut options = options.to_vec();
        options.extend(["-i", "0.2"]);
        let mut job = case.run_again(&options, &counter.command())?;
        counter.wait_until_ready(case)?;
        let pid = case.wait_until_protected()?.pid;
        for kill in 0..kills {
            std::thread::sleep(random.moment(Duration::from_millis(900)));
            if job.ended()?.is_some() {
                break;
            }
            job.kill()?;
            let place = format!("kill {kill} of {kills}");
            counter
                .ensure_counting()
                .map_err(|failure| failure.within(&place))?;
            let state = processes::read(pid).map(|process| process.state);
            ensure!(
                matches!(state, Some('S' | 'R' | 'D')),
                "{place}: the program's state is {state:?}"
            );
            job = case.run_again(&options[options.len() - 2..], &counter.command())?;
            let after = case
                .wait_until_protected()
                .map_err(|failure| failure.within(&place))?;
            ensure_equal!(after.pid, pid, "{place}: process taken up");
        }
        wait_for_adopted(&mut job)?;
        counter.ensure_complete()?;
        let leftovers: Vec<String> = fs::read_dir(case.checkpoints())?
            .flatten()
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .filter(|name| name.contains("part") || name.contains("tmp"))
            .collect();
        ensure!(leftovers.is_empty(), "left in the folder: {leftovers:?}");
        case.ensure_nothing_runs()
    })
}

#[test]
fn rethaw_killed_at_random_moments_of_its_checkpoints() -> Outcome {
    killed_during_checkpoints("agent-killed-often", &[])
}

#[test]
fn rethaw_killed_at_random_moments_with_the_program_isolated() -> Outcome {
    killed_during_checkpoints("agent-killed-often-isolated", &["--isolate"])
}

#[test]
fn attached_program_is_checkpointed_killed_and_restarted() -> Outcome {
    case("attach", |case| {
        let scope = fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope").unwrap_or_default();
        if !matches!(scope.trim(), "" | "0") {
            println!(
                "SKIP: Yama lets nobody attach to a program that is no descendant (ptrace_scope {})",
                scope.trim()
            );
            return Ok(());
        }
        let counter = Counter::new(case, 500, 2)?;
        let mut command = case.command(counter.command()[0]);
        command.args(&counter.command()[1..]);
        let mut by_hand = case.start("by-hand", command)?;
        counter.wait_until_ready(case)?;
        let mut attach = case.rethaw(["attach", "-i", "never", "--dir"])?;
        attach.arg(case.checkpoints()).arg(by_hand.pid().to_string());
        let mut attach = case.start("attach", attach)?;
        ensure_equal!(
            case.wait_until_protected()?.pid,
            by_hand.pid(),
            "process in status"
        );
        case.checkpoint(&[])?;
        counter.ensure_counting()?;
        case.kill_all()?;
        attach.wait(PATIENCE)?;
        by_hand.wait(PATIENCE)?;
        case.restart(NEVER)?.wait(PATIENCE)?.success()?;
        counter.ensure_complete()
    })
}

#[test]
fn second_start_in_the_same_folder_is_refused() -> Outcome {
    case("second-start", |case| {
        let counter = Counter::new(case, 100_000, 0)?;
        let _job = case.run_again(NEVER, &counter.command())?;
        counter.wait_until_ready(case)?;
        let pid = case.wait_until_protected()?.pid;
        case.checkpoint(&[])?;
        case.run_again(NEVER, &counter.command())?
            .wait(PATIENCE)?
            .exited(121)?;
        case.launch(NEVER, &counter.command())?
            .wait(PATIENCE)?
            .exited(121)?;
        case.restart(NEVER)?.wait(PATIENCE)?.exited(121)?;
        let copies = case
            .processes()
            .into_iter()
            .filter(|process| process.name == "counter")
            .count();
        ensure_equal!(copies, 1, "copies of the program");
        ensure_equal!(case.wait_until_protected()?.pid, pid, "process in status");
        counter.ensure_counting()
    })
}
