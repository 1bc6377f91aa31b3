//! What the program does in the middle of a checkpoint: it is killed, executes a program, or ends by itself.
#![forbid(unsafe_code)]

use rethaw_harness::{Case, Finished, Outcome, PATIENCE, Random, Result, case, ensure, programs, wait_for};
use rustix::process::Signal;
use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Longest time in which rethaw must notice the end. The engine would wait some ten seconds for a lost thread.
const AT_ONCE: Duration = Duration::from_secs(5);

/// The program `ending`, see its source.
struct Ending {
    ready: PathBuf,
    words: Vec<OsString>,
}

impl Ending {
    fn new(case: &Case, mode: &str, rounds: usize, threads: usize) -> Result<Ending> {
        let ready = case.path("ready");
        let words = vec![
            programs::binary("ending")?.into(),
            mode.into(),
            ready.clone().into(),
            rounds.to_string().into(),
            threads.to_string().into(),
        ];
        Ok(Ending { ready, words })
    }

    fn command(&self) -> Vec<&std::ffi::OsStr> {
        self.words.iter().map(OsString::as_os_str).collect()
    }
}

/// Whether a process is being traced, as the kernel tells: it is frozen, or about to be.
fn is_traced(pid: i32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/status")).is_ok_and(|status| {
        let tracer = status.lines().find_map(|line| line.strip_prefix("TracerPid:"));
        tracer.is_some_and(|tracer| tracer.trim() != "0")
    })
}

/// Waits without sleeping, for up to two seconds.
fn spin_until(mut there: impl FnMut() -> bool) -> bool {
    let begin = Instant::now();
    while !there() {
        if begin.elapsed() > Duration::from_secs(2) {
            return false;
        }
    }
    true
}

/// No half image, no panic, no lie.
fn ensure_clean(case: &Case, finished: &Finished) -> Outcome {
    for entry in fs::read_dir(case.checkpoints())? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        ensure!(
            !name.contains("part") && !name.contains("tmp"),
            "left in the folder: {name}"
        );
    }
    for bad in ["panicked", "No such process", "does not stop"] {
        ensure!(!finished.err.contains(bad), "`{bad}` in: {}", finished.err);
    }
    if !case.images()?.is_empty() {
        let mut verify = case.rethaw(["verify"])?;
        verify.arg(case.checkpoints());
        case.run("verify", verify)?.success()?;
    }
    case.ensure_nothing_runs()
}

/// SIGKILL at some moment after the first thread has been seized.
fn killed_in_the_pause(name: &str, options: &[&str], longest: Duration) -> Outcome {
    let mut random = Random::from_environment();
    let mut in_the_pause = 0;
    for round in 0..12 {
        case(name, |case| {
            let program = Ending::new(case, "wait", 600, 150)?;
            let mut options = options.to_vec();
            options.extend(["-i", "never"]);
            let mut job = case.run_again(&options, &program.command())?;
            case.wait_for_file(&program.ready, PATIENCE)?;
            let pid = case.wait_until_protected()?.pid;
            let mut checkpoint = case.rethaw(["checkpoint"])?;
            checkpoint.arg(case.checkpoints());
            let mut checkpoint = case.start("checkpoint", checkpoint)?;
            // On a busy machine it may be over before this thread looks.
            spin_until(|| is_traced(pid));
            std::thread::sleep(random.moment(longest));
            in_the_pause += usize::from(is_traced(pid));
            rethaw_harness::processes::signal(pid, Signal::KILL);
            let finished = job.wait(AT_ONCE)?.signalled(Signal::KILL)?;
            let asked = checkpoint.wait(PATIENCE)?;
            if !asked.status.success() {
                let said = "was not completed: the program ended meanwhile";
                ensure!(
                    finished.err.contains(said),
                    "round {round}: not said: {}",
                    finished.err
                );
                asked.refused(&["the computation has ended"])?;
                ensure!(case.images()?.is_empty(), "an image of a checkpoint that failed");
            }
            ensure_clean(case, &finished)
        })?;
    }
    ensure!(
        in_the_pause >= 4,
        "only {in_the_pause} of 12 kills were in the pause"
    );
    Ok(())
}

#[test]
fn killed_while_it_is_frozen() -> Outcome {
    killed_in_the_pause("pause-killed", &[], Duration::from_millis(25))
}

#[test]
fn killed_while_it_stands_still_until_all_is_written() -> Outcome {
    let stop = &["--pause-method", "stop"];
    killed_in_the_pause("pause-killed-stopped", stop, Duration::from_millis(50))
}

#[test]
fn killed_while_it_is_frozen_in_namespaces() -> Outcome {
    killed_in_the_pause("pause-killed-isolated", &["--isolate"], Duration::from_millis(25))
}

/// Runs the program to its end, with one checkpoint after the other, and gives how many were taken.
fn under_checkpoints(name: &str, mode: &str, rounds: usize, status: i32) -> Result<usize> {
    let mut taken = 0;
    case(name, |case| {
        let program = Ending::new(case, mode, rounds, 6)?;
        let mut job = case.run_again(&["-i", "0.02"], &program.command())?;
        let begin = Instant::now();
        let finished = job.wait(PATIENCE)?.exited(status)?;
        taken = finished
            .err
            .lines()
            .filter(|line| line.contains(" taken: "))
            .count();
        println!(
            "{name}: {taken} checkpoints in {:.1} s",
            begin.elapsed().as_secs_f64()
        );
        ensure_clean(case, &finished)
    })?;
    Ok(taken)
}

#[test]
fn thread_executes_the_program_anew() -> Outcome {
    let taken = under_checkpoints("pause-execve", "exec", 300, 7)?;
    ensure!(taken >= 10, "only {taken} checkpoints");
    Ok(())
}

#[test]
fn thread_ends_the_program() -> Outcome {
    for _ in 0..30 {
        under_checkpoints("pause-exit", "exit", 1, 42)?;
    }
    Ok(())
}

#[test]
fn children_end_between_two_looks() -> Outcome {
    let taken = under_checkpoints("pause-children", "children", 100, 7)?;
    ensure!(taken >= 3, "only {taken} checkpoints");
    Ok(())
}

/// What was checkpointed in the middle of all that goes on like any other.
#[test]
fn restarted_between_two_executions() -> Outcome {
    case("pause-execve-restarted", |case| {
        let program = Ending::new(case, "exec", 200, 6)?;
        let mut job = case.run_again(&["-i", "0.02"], &program.command())?;
        wait_for("two images", PATIENCE, || {
            Ok((case.checkpoints().is_dir() && case.images()?.len() == 2).then_some(()))
        })?;
        case.kill_all()?;
        job.wait(PATIENCE)?;
        let finished = case
            .run_again(&["-i", "0.02"], &program.command())?
            .wait(PATIENCE)?;
        ensure!(finished.err.contains("restarted from"), "{}", finished.err);
        ensure_clean(case, &finished.exited(7)?)
    })
}
