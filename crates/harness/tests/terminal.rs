//! A program that fills the screen goes on on another terminal.
#![forbid(unsafe_code)]

use rethaw_harness::{Case, Job, Outcome, PATIENCE, Result, case, ensure, ensure_equal};
use std::process::Stdio;

/// A line of the shell on a new terminal of this size.
fn shell_on_a_terminal(case: &Case, label: &str, rows: u32, line: &str) -> Result<Job> {
    let mut command = case.command("script");
    let line = format!("stty rows {rows} cols 80; {line}");
    command
        .args(["--quiet", "--return", "--command", &line, "/dev/null"])
        .stdin(Stdio::piped());
    case.start(label, command)
}

#[test]
fn a_full_screen_comes_back_on_another_terminal() -> Outcome {
    case("full-screen", |case| {
        let base = case.path("screen");
        let rethaw = rethaw_harness::places::rethaw()?;
        let rethaw = rethaw.display();
        let screen = rethaw_harness::programs::binary("screen")?;
        let launch = format!(
            "'{rethaw}' launch --dir ckpt -i never -- '{}' '{}'; echo ended $?; stty -a",
            screen.display(),
            base.display()
        );
        let mut first = shell_on_a_terminal(case, "first", 24, &launch)?;
        let keyboard = first.take_stdin()?;
        case.wait_for_file(&base.with_extension("ready"), PATIENCE)?;
        case.checkpoint(&["--stop"])?;
        let finished = first.wait(PATIENCE)?;
        drop(keyboard);
        ensure!(
            finished.out.contains("ended 75"),
            "how it ended: {}",
            finished.out
        );
        ensure!(
            finished.out.contains(" icanon"),
            "the first terminal: {}",
            finished.out
        );
        std::fs::write(base.with_extension("go"), "")?;
        let restart = format!("'{rethaw}' restart -i never ckpt; echo ended $?; stty -a");
        let mut second = shell_on_a_terminal(case, "second", 33, &restart)?;
        let keyboard = second.take_stdin()?;
        let finished = second.wait(PATIENCE)?;
        drop(keyboard);
        let verdict = std::fs::read_to_string(base.with_extension("result"))?;
        ensure_equal!(verdict.trim(), "PASS", "what the program found");
        ensure!(finished.out.contains("33 rows"), "the new size: {}", finished.out);
        ensure!(finished.out.contains("ended 0"), "how it ended: {}", finished.out);
        ensure!(
            finished.out.contains(" icanon"),
            "the second terminal: {}",
            finished.out
        );
        case.ensure_nothing_runs()
    })
}
