//! rethaw as a launcher: status, signals, terminal, pipes, what is in the folder.
#![forbid(unsafe_code)]

use rethaw_harness::{
    Case, Counter, Outcome, PATIENCE, Result, STOPPED, case, ensure, ensure_equal, processes, wait_for,
};
use rustix::process::Signal;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::Stdio;
use std::time::Duration;

const NEVER: &[&str] = &["-i", "never"];

fn shell(script: &str) -> [&OsStr; 3] {
    ["sh".as_ref(), "-c".as_ref(), script.as_ref()]
}

#[test]
fn exit_status_is_the_programs() -> Outcome {
    case("exit-status", |case| {
        for status in [0, 1, 37, 255] {
            case.run_again(&["--fresh"], &shell(&format!("exit {status}")))?
                .wait(PATIENCE)?
                .exited(status)?;
        }
        Ok(())
    })
}

#[test]
fn death_by_signal_is_the_programs() -> Outcome {
    case("death-by-signal", |case| {
        for signal in [Signal::KILL, Signal::TERM, Signal::USR1, Signal::PIPE] {
            let script = format!("kill -{} $$; sleep 10", signal.as_raw());
            case.run_again(&["--fresh"], &shell(&script))?
                .wait(PATIENCE)?
                .signalled(signal)?;
        }
        Ok(())
    })
}

#[test]
fn program_that_cannot_be_started() -> Outcome {
    case("not-started", |case| {
        case.launch(&[], &["no-such-program-anywhere".as_ref()])?
            .wait(PATIENCE)?
            .exited(127)?;
        let file = case.path("not-executable");
        fs::write(&file, "x")?;
        case.launch(&[], &[file.as_ref()])?.wait(PATIENCE)?.exited(126)?;
        Ok(())
    })
}

#[test]
fn signals_reach_the_program() -> Outcome {
    case("signals", |case| {
        let counter = Counter::new(case, 100_000, 0)?;
        let mut job = case.launch(NEVER, &counter.command())?;
        counter.wait_until_ready(case)?;
        for signal in [
            Signal::HUP,
            Signal::INT,
            Signal::TERM,
            Signal::USR1,
            Signal::USR2,
            Signal::WINCH,
        ] {
            job.signal(signal);
            wait_for(&format!("the program to get {signal:?}"), PATIENCE, || {
                Ok(job
                    .out()
                    .lines()
                    .any(|line| line == format!("signal {}", signal.as_raw()))
                    .then_some(()))
            })?;
        }
        job.signal(Signal::QUIT);
        job.wait(PATIENCE)?.exited(7)?;
        case.ensure_nothing_runs()
    })
}

#[test]
fn signals_reach_a_restarted_program() -> Outcome {
    case("signals-restarted", |case| {
        let counter = Counter::new(case, 100_000, 0)?;
        let mut job = case.launch(NEVER, &counter.command())?;
        counter.wait_until_ready(case)?;
        case.checkpoint(&["--stop"])?;
        job.wait(PATIENCE)?.exited(STOPPED)?;
        let mut job = case.restart(NEVER)?;
        case.wait_until_protected()?;
        job.signal(Signal::USR1);
        wait_for("the program to get USR1", PATIENCE, || {
            Ok(job.out().contains("signal 10\n").then_some(()))
        })?;
        job.signal(Signal::QUIT);
        job.wait(PATIENCE)?.exited(7)?;
        case.ensure_nothing_runs()
    })
}

#[test]
fn stop_and_continue_reach_the_program() -> Outcome {
    case("stop-continue", |case| {
        let counter = Counter::new(case, 100_000, 0)?;
        let mut command = case.rethaw(["launch", "--dir"])?;
        command
            .arg(case.checkpoints())
            .args(NEVER)
            .arg("--")
            .args(counter.command());
        // A group of its own under a parent in the same session: in an orphaned group, such as this test's may be,
        // the kernel discards SIGTSTP (signal(7)).
        command.process_group(0);
        let job = case.start("launch", command)?;
        counter.wait_until_ready(case)?;
        let pid = case.wait_until_protected()?.pid;
        job.signal(Signal::TSTP);
        wait_for("the program to be stopped", PATIENCE, || {
            Ok(processes::read(pid)
                .filter(|process| process.state == 'T')
                .map(|_| ()))
        })?;
        job.signal(Signal::CONT);
        counter.ensure_counting()
    })
}

#[test]
fn pipes_on_both_sides() -> Outcome {
    case("pipes", |case| {
        let script = "printf 'b\\na\\n' | \"$0\" launch --dir ckpt -- sort | tr ab AB";
        let mut command = case.command("sh");
        command
            .args(["-c", script])
            .arg(rethaw_harness::places::rethaw()?);
        let finished = case.run("pipeline", command)?.success()?;
        ensure_equal!(finished.out, "A\nB\n", "what came through the pipes");
        Ok(())
    })
}

#[test]
fn output_of_a_restart_goes_to_its_own_launcher() -> Outcome {
    case("output-rebound", |case| {
        let counter = Counter::new(case, 600, 0)?;
        let mut job = case.launch(NEVER, &counter.command())?;
        counter.wait_until_ready(case)?;
        counter.ensure_counting()?;
        case.checkpoint(&["--stop"])?;
        let first = job.wait(PATIENCE)?;
        let second = case.restart(NEVER)?.wait(PATIENCE)?.success()?;
        let next = Counter::first_line(&second.out)?;
        let last = first.out.lines().last().unwrap_or_default().to_string();
        ensure_equal!(last, format!("line {}", next - 1), "last line before line {next}");
        ensure!(
            second.out.ends_with("final 600\n"),
            "the second output is not complete"
        );
        counter.ensure_complete()
    })
}

#[test]
fn under_timeout() -> Outcome {
    case("under-timeout", |case| {
        let mut command = case.command("timeout");
        command.arg("1").arg(rethaw_harness::places::rethaw()?);
        command.args(["launch", "--dir", "ckpt", "--", "sleep", "100"]);
        case.run("timeout", command)?.exited(124)?;
        case.ensure_nothing_runs()
    })
}

/// Runs a command line on a new terminal and types this once the counter counts.
fn on_a_terminal(case: &Case, counter: &Counter, keys: &[u8]) -> Result<rethaw_harness::Finished> {
    let mut line = format!(
        "exec '{}' launch --dir ckpt -i never --",
        rethaw_harness::places::rethaw()?.display()
    );
    for word in counter.command() {
        line += &format!(" '{}'", word.to_string_lossy());
    }
    let mut command = case.command("script");
    command
        .args(["--quiet", "--return", "--command", &line, "/dev/null"])
        .stdin(Stdio::piped());
    let mut job = case.start("terminal", command)?;
    counter.wait_until_ready(case)?;
    counter.ensure_counting()?;
    let mut keyboard = job.take_stdin()?;
    keyboard.write_all(keys)?;
    keyboard.flush()?;
    job.wait(PATIENCE)
}

#[test]
fn control_c_on_a_terminal_comes_once() -> Outcome {
    case("control-c", |case| {
        let counter = Counter::new(case, 300, 0)?;
        let finished = on_a_terminal(case, &counter, b"\x03")?.success()?;
        let times = finished
            .out
            .lines()
            .filter(|line| line.trim().ends_with("signal 2"))
            .count();
        ensure_equal!(times, 1, "how often SIGINT came");
        counter.ensure_complete()
    })
}

#[test]
fn control_backslash_on_a_terminal_ends_the_program() -> Outcome {
    case("control-backslash", |case| {
        let counter = Counter::new(case, 100_000, 0)?;
        on_a_terminal(case, &counter, b"\x1c")?.exited(7)?;
        case.ensure_nothing_runs()
    })
}

#[test]
fn checkpoint_on_a_signal() -> Outcome {
    case("checkpoint-on-signal", |case| {
        let counter = Counter::new(case, 100_000, 0)?;
        let mut job = case.launch(
            &["-i", "never", "--checkpoint-on", "USR1", "--stop-on", "TERM"],
            &counter.command(),
        )?;
        counter.wait_until_ready(case)?;
        case.wait_until_protected()?;
        job.signal(Signal::USR1);
        wait_for("an image", PATIENCE, || {
            Ok((case.images()?.len() == 1).then_some(()))
        })?;
        counter.ensure_counting()?;
        job.signal(Signal::TERM);
        let finished = job.wait(PATIENCE)?.exited(STOPPED)?;
        ensure_equal!(case.images()?.len(), 2, "images");
        ensure!(
            !finished.out.contains("signal"),
            "the program got a signal that was not for it"
        );
        case.ensure_nothing_runs()
    })
}

#[test]
fn run_launches_then_restarts_then_says_that_it_is_finished() -> Outcome {
    case("run-three-times", |case| {
        let counter = Counter::new(case, 400, 0)?;
        let mut job = case.run_again(NEVER, &counter.command())?;
        counter.wait_until_ready(case)?;
        counter.ensure_counting()?;
        case.checkpoint(&["--stop"])?;
        job.wait(PATIENCE)?.exited(STOPPED)?;
        let second = case
            .run_again(NEVER, &counter.command())?
            .wait(PATIENCE)?
            .success()?;
        ensure!(
            Counter::first_line(&second.out)? > 0,
            "`run` began again instead of going on"
        );
        counter.ensure_complete()?;
        let third = case
            .run_again(NEVER, &counter.command())?
            .wait(PATIENCE)?
            .success()?;
        ensure_equal!(third.out, "", "output of a `run` of what is finished");
        ensure!(
            third.err.contains("finished"),
            "it does not say that it is finished: {}",
            third.err
        );
        let fresh = case
            .run_again(&["-i", "never", "--fresh"], &counter.command())?
            .wait(PATIENCE)?
            .success()?;
        ensure_equal!(Counter::first_line(&fresh.out)?, 0, "first line after --fresh");
        counter.ensure_complete()
    })
}

#[test]
fn run_refuses_the_folder_of_another_command() -> Outcome {
    case("run-other-command", |case| {
        let counter = Counter::new(case, 100_000, 0)?;
        let mut job = case.run_again(NEVER, &counter.command())?;
        counter.wait_until_ready(case)?;
        case.checkpoint(&["--stop"])?;
        job.wait(PATIENCE)?;
        let images = case.images()?;
        let other = case
            .run_again(NEVER, &["echo".as_ref(), "other".as_ref()])?
            .wait(PATIENCE)?;
        let other = other.refused(&["another", "other"])?;
        ensure_equal!(other.out, "", "output of the other command");
        ensure_equal!(case.images()?, images, "images afterwards");
        Ok(())
    })
}

#[test]
fn what_the_program_left_behind_is_ended() -> Outcome {
    case("left-behind", |case| {
        let finished = case
            .launch(&[], &shell("sleep 1000 & exit 3"))?
            .wait(PATIENCE)?
            .exited(3)?;
        ensure!(
            finished.err.contains("ended") || finished.err.contains("background"),
            "no word: {}",
            finished.err
        );
        case.ensure_nothing_runs()
    })
}

/// `exec > >(tee log); exec rethaw run …` in a job script: the tee is then a child of rethaw.
#[test]
fn older_children_of_the_launcher_are_not_touched() -> Outcome {
    case("older-children", |case| {
        let counter = Counter::new(case, 300, 1)?;
        let script =
            r#"exec > >(tee copy; echo done >tee-ended); exec "$0" launch -i never --dir ckpt -- "$@""#;
        let mut command = case.command("bash");
        command
            .args(["-c", script])
            .arg(rethaw_harness::places::rethaw()?)
            .args(counter.command());
        let mut job = case.start("script", command)?;
        counter.wait_until_ready(case)?;
        case.checkpoint(&[])?;
        let finished = job.wait(PATIENCE)?.success()?;
        ensure!(
            !finished.err.contains("tee"),
            "rethaw speaks of the tee: {}",
            finished.err
        );
        case.wait_for_file(&case.path("tee-ended"), PATIENCE)?;
        let copy = fs::read_to_string(case.path("copy"))?;
        ensure!(
            copy.ends_with("final 300\n"),
            "the tee did not get all of the output"
        );
        counter.ensure_complete()
    })
}

#[test]
fn wait_all_waits_for_what_the_program_left_behind() -> Outcome {
    case("wait-all", |case| {
        let script = shell("(sleep 1; echo late) & exit 3");
        let finished = case.launch(&["--wait-all"], &script)?.wait(PATIENCE)?.exited(3)?;
        ensure_equal!(finished.out, "late\n", "output");
        Ok(())
    })
}

#[test]
fn detached_computation_is_found_and_killed() -> Outcome {
    case("detached", |case| {
        let counter = Counter::new(case, 100_000, 0)?;
        case.launch(&["-i", "never", "--detach"], &counter.command())?
            .wait(PATIENCE)?
            .success()?;
        counter.wait_until_ready(case)?;
        let status = case.wait_until_protected()?;
        ensure!(
            processes::read(status.pid).is_some(),
            "status names process {}, which is not there",
            status.pid
        );
        case.checkpoint(&[])?;
        let mut command = case.rethaw(["kill"])?;
        command.arg(case.checkpoints());
        case.run("kill", command)?.success()?;
        case.ensure_nothing_runs()
    })
}

#[test]
fn images_are_for_their_owner_only_and_the_newest_are_kept() -> Outcome {
    case("images-kept", |case| {
        let counter = Counter::new(case, 100_000, 1)?;
        let _job = case.launch(&["-i", "never", "--keep", "3"], &counter.command())?;
        counter.wait_until_ready(case)?;
        for _ in 0..5 {
            case.checkpoint(&[])?;
        }
        let images = case.images()?;
        ensure_equal!(images.len(), 3, "images kept");
        for image in images {
            let mode = fs::metadata(&image)?.permissions().mode() & 0o7777;
            ensure_equal!(mode, 0o600, "mode of {}", image.display());
        }
        Ok(())
    })
}

#[test]
fn nothing_of_rethaw_is_in_the_program() -> Outcome {
    case("nothing-inside", |case| {
        let counter = Counter::new(case, 100_000, 0)?;
        let files = |pid: i32| -> Result<Vec<String>> {
            let maps = fs::read_to_string(format!("/proc/{pid}/maps"))?;
            let mut names: Vec<String> = maps
                .lines()
                .filter_map(|line| line.split_whitespace().nth(5))
                .map(String::from)
                .collect();
            names.dedup();
            Ok(names)
        };
        let mut alone = case.command(counter.command()[0]);
        alone.args(&counter.command()[1..]);
        let mut alone = case.start("alone", alone)?;
        counter.wait_until_ready(case)?;
        let wanted = files(alone.pid())?;
        alone.kill()?;
        fs::remove_file(counter.log.with_extension("ready"))?;
        let _job = case.launch(NEVER, &counter.command())?;
        counter.wait_until_ready(case)?;
        let pid = case.wait_until_protected()?.pid;
        ensure_equal!(files(pid)?, wanted, "mapped files");
        case.checkpoint(&[])?;
        ensure_equal!(files(pid)?, wanted, "mapped files after a checkpoint");
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        ensure!(
            status.contains("TracerPid:\t0\n"),
            "the program is traced between checkpoints"
        );
        Ok(())
    })
}

#[test]
fn interval_takes_checkpoints_by_itself() -> Outcome {
    case("interval", |case| {
        let counter = Counter::new(case, 400, 4)?;
        let finished = case
            .launch(&["-i", "0.3"], &counter.command())?
            .wait(PATIENCE)?
            .success()?;
        let taken = finished
            .err
            .lines()
            .filter(|line| line.contains("checkpoint"))
            .count();
        ensure!(
            taken >= 3,
            "only {taken} lines about checkpoints in two seconds: {}",
            finished.err
        );
        counter.ensure_complete()
    })
}

#[test]
fn standard_input_is_read_to_its_end_by_the_program() -> Outcome {
    case("stdin", |case| {
        fs::write(case.path("in"), "one\ntwo\n")?;
        let mut command = case.rethaw(["launch", "--dir", "ckpt", "--", "cat"])?;
        command.stdin(File::open(case.path("in"))?);
        let finished = case
            .run_within("cat", command, Duration::from_secs(20))?
            .success()?;
        ensure_equal!(finished.out, "one\ntwo\n", "what cat wrote");
        Ok(())
    })
}
