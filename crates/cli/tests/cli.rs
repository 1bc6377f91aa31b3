//! The `rethaw` binary as a user meets it: exit statuses, signals, folders, the DMTCP names. What a
//! checkpoint holds is tested elsewhere.
#![allow(clippy::expect_used)]

use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// A folder of its own for each test, and a registry of its own.
struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    fn new() -> Place {
        Place {
            folder: tempfile::tempdir().expect("a folder"),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// `rethaw` (or what follows it) with the words of a line, then further words as they are.
    fn rethaw(&self, line: &str, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rethaw"));
        command
            .args(line.split_ascii_whitespace())
            .args(words)
            .current_dir(self.folder.path());
        command
            .env("XDG_RUNTIME_DIR", self.folder.path())
            .stdin(Stdio::null());
        for name in [
            "SLURM_JOB_ID",
            "SLURM_JOBID",
            "SLURM_ARRAY_TASK_ID",
            "DMTCP_COORD_PORT",
        ] {
            command.env_remove(name);
        }
        command
    }

    fn output(&self, line: &str, words: &[&str]) -> Output {
        self.rethaw(line, words).output().expect("rethaw runs")
    }

    fn shell(&self, line: &str, script: &str) -> Output {
        self.output(line, &["--", "sh", "-c", script])
    }

    fn start(&self, line: &str, script: &str) -> Running {
        let mut command = self.rethaw(line, &["--", "sh", "-c", script]);
        let child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("rethaw runs");
        Running { child }
    }

    fn wait_for(&self, name: &str) {
        let path = self.path(name);
        eventually(&format!("{} appears", path.display()), || path.exists());
    }

    /// A program runs a moment before others can find it.
    fn wait_until_found(&self, id: &str) {
        eventually("it is found", || self.output("status", &[id]).status.success());
    }

    fn checkpoints(&self) -> usize {
        count(&self.path("rethaw-checkpoints"), ".manifest")
    }
}

struct Running {
    child: Child,
}

impl Running {
    fn signal(&self, name: &str) {
        let status = Command::new("kill")
            .args(["-s", name, &self.child.id().to_string()])
            .status();
        assert!(status.expect("kill runs").success());
    }

    fn end(self) -> Output {
        self.child.wait_with_output().expect("rethaw ends")
    }
}

fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !holds() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn count(folder: &Path, suffix: &str) -> usize {
    let Ok(files) = std::fs::read_dir(folder) else {
        return 0;
    };
    files
        .flatten()
        .filter(|file| file.file_name().to_string_lossy().ends_with(suffix))
        .count()
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A shell that touches `ready` and runs until `end` is there.
const UNTIL_END: &str = "touch ready; until [ -e end ]; do sleep 0.05; done";

#[test]
fn status_and_output_are_the_programs() {
    let place = Place::new();
    let output = place.shell("launch", "echo out; echo err >&2; exit 3");
    assert_eq!(
        (output.status.code(), stdout(&output)),
        (Some(3), "out\n".to_string())
    );
    assert_eq!(stderr(&output), "err\n");
    for (signal, number) in [("TERM", 15), ("USR1", 10), ("KILL", 9), ("SEGV", 11)] {
        let output = place.shell("launch", &format!("kill -s {signal} $$"));
        assert_eq!(
            output.status.signal(),
            Some(number),
            "{signal}: {}",
            stderr(&output)
        );
        assert!(!output.status.core_dumped());
    }
}

#[test]
fn what_cannot_be_executed_has_the_shells_status() {
    let place = Place::new();
    let missing = place.output("launch", &["./no-such-program"]);
    assert_eq!(missing.status.code(), Some(127), "{}", stderr(&missing));
    let forbidden = place.output("launch", &["/etc/passwd"]);
    assert_eq!(forbidden.status.code(), Some(126), "{}", stderr(&forbidden));
    assert_eq!(place.output("launch --bogus", &["true"]).status.code(), Some(2));
}

#[test]
fn the_rest_is_ended_or_waited_for() {
    let place = Place::new();
    let output = place.shell("launch", "sleep 1000 & exit 4");
    assert_eq!(output.status.code(), Some(4));
    assert!(
        stderr(&output).contains("ending the 1 process(es) that it left"),
        "{}",
        stderr(&output)
    );
    let output = place.shell("launch --wait-all", "(sleep 0.5; touch late) & exit 4");
    assert_eq!(output.status.code(), Some(4));
    assert!(place.path("late").exists());
}

#[test]
fn signals_reach_the_program_once() {
    let place = Place::new();
    let names = ["USR1", "USR2", "HUP", "INT", "QUIT", "TERM", "CONT", "WINCH"];
    let traps: String = names
        .iter()
        .map(|name| format!("trap 'echo {name}' {name}; "))
        .collect();
    let running = place.start("launch", &(traps + UNTIL_END));
    place.wait_for("ready");
    for name in names {
        running.signal(name);
        std::thread::sleep(Duration::from_millis(150));
    }
    std::fs::write(place.path("end"), "").expect("written");
    let output = running.end();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(
        stdout(&output).split_ascii_whitespace().collect::<Vec<_>>(),
        names
    );
}

#[test]
fn a_chosen_signal_takes_a_checkpoint_and_another_stops() {
    let place = Place::new();
    let running = place.start("launch -i never --checkpoint-on USR1 --stop-on TERM", UNTIL_END);
    place.wait_for("ready");
    running.signal("USR1");
    eventually("a checkpoint is taken", || place.checkpoints() == 1);
    running.signal("TERM");
    let output = running.end();
    assert_eq!(output.status.code(), Some(75), "{}", stderr(&output));
    assert_eq!(place.checkpoints(), 2);
}

#[test]
fn checkpoints_come_at_the_interval_and_the_last_two_stay() {
    let place = Place::new();
    let output = place.shell("launch -i 0.2", "sleep 1.5");
    assert_eq!(output.status.code(), Some(0));
    assert!(
        stderr(&output).contains("checkpoint 3 taken: pause "),
        "{}",
        stderr(&output)
    );
    assert_eq!(place.checkpoints(), 2);
    let silent = place.shell("launch -q -i 0.2", "sleep 0.7");
    assert_eq!(stderr(&silent), "");
}

#[test]
fn run_goes_by_what_the_folder_holds() {
    let place = Place::new();
    assert_eq!(
        place.shell("run -i never", "echo once; exit 0").status.code(),
        Some(0)
    );
    let again = place.shell("run -i never", "echo once; exit 0");
    assert_eq!((again.status.code(), stdout(&again)), (Some(0), String::new()));
    assert!(
        stderr(&again).contains("has finished already"),
        "{}",
        stderr(&again)
    );
    let other = place.shell("run -i never", "echo other");
    assert_eq!(other.status.code(), Some(122), "{}", stderr(&other));
    let fresh = place.shell("run -i never --fresh", "echo other");
    assert_eq!(
        (fresh.status.code(), stdout(&fresh)),
        (Some(0), "other\n".to_string())
    );
}

#[test]
fn one_folder_serves_one_rethaw() {
    let place = Place::new();
    let running = place.start("run -i never", UNTIL_END);
    place.wait_for("ready");
    for line in ["run", "launch", "restart"] {
        let words: &[&str] = if line == "restart" { &[] } else { &["true"] };
        let second = place.output(line, words);
        let expected = if line == "restart" { 125 } else { 121 };
        assert_eq!(
            second.status.code(),
            Some(expected),
            "{line}: {}",
            stderr(&second)
        );
    }
    std::fs::write(place.path("end"), "").expect("written");
    assert_eq!(running.end().status.code(), Some(0));
}

#[test]
fn a_program_outlives_rethaw_and_is_protected_again() {
    let place = Place::new();
    let mut command = place.rethaw("run -i never", &["--", "sh", "-c", UNTIL_END]);
    let mut first = command
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("rethaw runs");
    place.wait_for("ready");
    place.wait_for("rethaw-checkpoints/state.json");
    first.kill().expect("killed");
    first.wait().expect("ended");
    let status = place.output("status", &["rethaw-checkpoints"]);
    assert!(
        stdout(&status).contains("UNPROTECTED"),
        "{}{}",
        stdout(&status),
        stderr(&status)
    );
    std::fs::remove_file(place.path("ready")).expect("removed");
    let running = place.start("run -i 0.2", UNTIL_END);
    eventually("it is protected again", || place.checkpoints() > 0);
    assert!(!place.path("ready").exists(), "a second copy was started");
    std::fs::write(place.path("end"), "").expect("written");
    let output = running.end();
    assert!(
        stderr(&output).contains("protecting process"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn detach_returns_and_the_computation_is_found() {
    let place = Place::new();
    let output = place.shell("launch --detach -i never", &format!("echo hello; {UNTIL_END}"));
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    place.wait_for("ready");
    let id = "rethaw-checkpoints";
    let status = place.output("status --json", &[id]);
    let status: serde_json::Value = serde_json::from_slice(&status.stdout).expect("JSON");
    assert_eq!(status[0]["protected"], true);
    let checkpoint = place.output("checkpoint --json", &[id]);
    let checkpoint: serde_json::Value = serde_json::from_slice(&checkpoint.stdout).expect("JSON");
    assert_eq!(checkpoint["generation"], 1);
    assert_eq!(place.output("kill", &[id]).status.code(), Some(0));
    assert!(!place.output("status", &[id]).status.success());
    let failed = place.output("launch --detach --fresh", &["./no-such-program"]);
    assert_eq!(failed.status.code(), Some(127), "{}", stderr(&failed));
}

#[test]
fn kill_ends_what_is_named_or_of_this_folder() {
    let place = Place::new();
    let running = place.start("launch -i never --dir a", UNTIL_END);
    place.wait_for("ready");
    place.wait_until_found("a");
    std::fs::create_dir(place.path("elsewhere")).expect("made");
    let mut elsewhere = place.rethaw("kill", &[]);
    let refused = elsewhere
        .current_dir(place.path("elsewhere"))
        .output()
        .expect("rethaw runs");
    assert_eq!(refused.status.code(), Some(125), "{}", stderr(&refused));
    assert!(stderr(&refused).contains("name one that"), "{}", stderr(&refused));
    let other = place.start("launch -i never --dir b", UNTIL_END);
    place.wait_until_found("b");
    let several = place.output("kill", &[]);
    assert_eq!(several.status.code(), Some(125), "{}", stderr(&several));
    assert_eq!(place.output("kill b", &[]).status.code(), Some(0));
    assert_eq!(other.end().status.signal(), Some(9));
    let here = place.output("kill", &[]);
    assert_eq!(here.status.code(), Some(0), "{}", stderr(&here));
    assert_eq!(running.end().status.signal(), Some(9));
    let third = place.start("launch -i never --dir c", UNTIL_END);
    place.wait_until_found("c");
    let mut all = place.rethaw("kill --all", &[]);
    let all = all
        .current_dir(place.path("elsewhere"))
        .output()
        .expect("rethaw runs");
    assert_eq!(all.status.code(), Some(0), "{}", stderr(&all));
    assert_eq!(third.end().status.signal(), Some(9));
    assert_eq!(place.output("kill --all", &[]).status.code(), Some(0));
}

#[test]
fn check_tells_what_would_stop_a_checkpoint() {
    let place = Place::new();
    let running = place.start("launch -i never", UNTIL_END);
    place.wait_for("ready");
    place.wait_until_found("rethaw-checkpoints");
    let checked = place.output("check", &[]);
    assert_eq!(checked.status.code(), Some(0), "{}", stderr(&checked));
    let verdict = stdout(&checked);
    assert!(
        verdict.starts_with("nothing stops a checkpoint: ") && verdict.contains(" descriptors, "),
        "{verdict}"
    );
    let json = place.output("check --json rethaw-checkpoints", &[]);
    let json: serde_json::Value = serde_json::from_slice(&json.stdout).expect("JSON");
    assert_eq!(json["refusals"].as_array().map(Vec::len), Some(0), "{json}");
    assert_eq!(place.checkpoints(), 0);
    std::fs::write(place.path("end"), "").expect("written");
    assert_eq!(running.end().status.code(), Some(0));
    let missing = place.output("check", &[]);
    assert_eq!(missing.status.code(), Some(125), "{}", stderr(&missing));
}

#[test]
fn check_runs_a_program_for_a_while() {
    let place = Place::new();
    let checked = place.shell("check --after 0.3", "echo hello; exec sleep 1000");
    assert_eq!(checked.status.code(), Some(0), "{}", stderr(&checked));
    let out = stdout(&checked);
    assert!(
        out.starts_with("hello\nnothing stops a checkpoint: 1 process, "),
        "{out}"
    );
    assert!(!place.path("rethaw-checkpoints").exists());
    let json = place.shell(
        "check --json --isolate --after 0.3",
        "echo hello; exec sleep 1000",
    );
    assert!(stderr(&json).contains("hello"), "{}", stderr(&json));
    let json: serde_json::Value = serde_json::from_slice(&json.stdout).expect("JSON");
    assert_eq!(json["processes"], 1, "{json}");
    let rest = place.shell("check --wait-all --after 0.5", "sleep 1000 & exit 4");
    assert_eq!(rest.status.code(), Some(0), "{}", stderr(&rest));
    let ended = place.shell("check", "exit 4");
    assert_eq!(ended.status.code(), Some(125));
    assert!(
        stderr(&ended).contains("exited with status 4 after") && stderr(&ended).contains("--after TIME"),
        "{}",
        stderr(&ended)
    );
    let missing = place.output("check", &["--", "./no-such-program"]);
    assert_eq!(missing.status.code(), Some(127), "{}", stderr(&missing));
    for wrong in ["check --after 1", "check --isolate x", "check x y"] {
        assert_eq!(place.output(wrong, &[]).status.code(), Some(2), "{wrong}");
    }
}

#[test]
fn a_checkpoint_that_stops_ends_the_computation() {
    let place = Place::new();
    let running = place.start("launch -i never", UNTIL_END);
    place.wait_for("ready");
    place.wait_until_found("rethaw-checkpoints");
    let stopped = place.output("checkpoint --stop", &["rethaw-checkpoints"]);
    assert_eq!(stopped.status.code(), Some(0), "{}", stderr(&stopped));
    // At once: whoever waits for the end may start it again.
    let again = place.output("run -i never", &["--", "sh", "-c", "another"]);
    assert_eq!(again.status.code(), Some(122), "{}", stderr(&again));
    assert_eq!(running.end().status.code(), Some(75));
    for line in [
        "list --json",
        "verify --json",
        "inspect --json rethaw-checkpoints",
    ] {
        let output = place.output(line, &[]);
        assert_eq!(output.status.code(), Some(0), "{line}: {}", stderr(&output));
        serde_json::from_slice::<serde_json::Value>(&output.stdout).expect(line);
    }
    assert_eq!(place.output("prune --all", &[]).status.code(), Some(0));
    assert_eq!(place.checkpoints(), 0);
}

#[test]
fn a_limit_on_file_sizes_fails_the_checkpoint_alone() {
    let place = Place::new();
    let line = format!(
        "ulimit -f 20; exec {} launch -i 0.2 -- sh -c 'grep SigIgn /proc/self/status; sleep 0.7'",
        env!("CARGO_BIN_EXE_rethaw")
    );
    let mut command = Command::new("sh");
    command.args(["-c", &line]).current_dir(place.folder.path());
    let output = command
        .env("XDG_RUNTIME_DIR", place.folder.path())
        .output()
        .expect("sh runs");
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(stderr(&output).contains("File too large"), "{}", stderr(&output));
    let ignored = stdout(&output)
        .split_ascii_whitespace()
        .last()
        .map(|set| u64::from_str_radix(set, 16));
    let ignored = ignored.expect("a set").expect("hexadecimal");
    assert_eq!(
        ignored >> (25 - 1) & 1,
        0,
        "the program ignores SIGXFSZ: {ignored:x}"
    );
}

#[test]
fn a_signal_to_the_whole_group_ends_it_once() {
    use std::os::unix::process::CommandExt;
    let place = Place::new();
    let mut command = place.rethaw("launch -i never", &["--", "sh", "-c", UNTIL_END]);
    let child = command
        .process_group(0)
        .stderr(Stdio::piped())
        .spawn()
        .expect("rethaw runs");
    place.wait_for("ready");
    let group = format!("-{}", child.id());
    let status = Command::new("kill").args(["-TERM", "--", &group]).status();
    assert!(status.expect("kill runs").success());
    let output = child.wait_with_output().expect("rethaw ends");
    assert_eq!(output.status.signal(), Some(15), "{}", stderr(&output));
    assert!(!stderr(&output).contains("cannot pass"), "{}", stderr(&output));
}

#[test]
fn a_signal_during_a_restart_leaves_nothing_running() {
    let place = Place::new();
    let running = place.start("launch -i never", UNTIL_END);
    place.wait_for("ready");
    place.wait_until_found("rethaw-checkpoints");
    assert_eq!(
        place
            .output("checkpoint --stop", &["rethaw-checkpoints"])
            .status
            .code(),
        Some(0)
    );
    running.end();
    for milliseconds in [2, 5, 10, 15, 20, 30, 50] {
        let mut command = place.rethaw("restart", &[]);
        let child = command
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("rethaw runs");
        std::thread::sleep(Duration::from_millis(milliseconds));
        let again = Running { child };
        again.signal("TERM");
        let output = again.end();
        assert_eq!(
            output.status.signal(),
            Some(15),
            "{milliseconds}: {}",
            stderr(&output)
        );
        let status = place.output("status", &["rethaw-checkpoints"]);
        assert_eq!(
            status.status.code(),
            Some(125),
            "{milliseconds}: {}",
            stdout(&status)
        );
    }
}

#[test]
fn a_folder_that_vanishes_does_not_disturb_the_program() {
    let place = Place::new();
    let running = place.start("launch -i 0.2 --dir a/b", UNTIL_END);
    place.wait_for("ready");
    std::fs::remove_dir_all(place.path("a")).expect("removed");
    std::thread::sleep(Duration::from_millis(700));
    std::fs::write(place.path("end"), "").expect("written");
    let output = running.end();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(stderr(&output).contains("failed: "), "{}", stderr(&output));
    assert!(
        stderr(&output).contains("the program runs on"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn nonsense_is_answered_with_a_sentence() {
    let place = Place::new();
    std::fs::write(place.path("nonsense"), [b'x'; 100]).expect("written");
    for line in [
        "inspect nonsense",
        "restart nonsense",
        "restart",
        "list",
        "checkpoint zzzz",
        "attach 4194305",
        "verify missing",
        "prune missing",
        "inspect missing",
    ] {
        let output = place.output(line, &[]);
        assert_eq!(output.status.code(), Some(125), "{line}: {}", stderr(&output));
        assert_eq!(stderr(&output).lines().count(), 1, "{line}: {}", stderr(&output));
    }
    let verified = place.output("verify nonsense", &[]);
    assert_eq!(verified.status.code(), Some(1));
}

/// As in a terminal: a removed folder is still the current one.
#[test]
fn a_removed_current_folder_is_said() {
    let place = Place::new();
    let mut command = Command::new("sh");
    command
        .args([
            "-c",
            r#"mkdir gone && cd gone && rmdir ../gone && exec "$0" run -- true"#,
        ])
        .arg(env!("CARGO_BIN_EXE_rethaw"))
        .current_dir(place.folder.path());
    let output = command.output().expect("sh runs");
    assert_eq!(output.status.code(), Some(125));
    assert_eq!(
        stderr(&output),
        "rethaw: the current folder has been removed; change to one that exists\n"
    );
}

#[test]
fn odd_names_are_found_and_shown() {
    use std::os::unix::ffi::OsStrExt;
    let place = Place::new();
    let name = std::ffi::OsStr::from_bytes(b"a \n\xff'\x1b[2J");
    let folder = place.path("").join(name);
    let mut command = place.rethaw("run -i never --dir", &[]);
    let child = command
        .arg(&folder)
        .args(["--", "sh", "-c", "sleep 60", "\x1b[2J\n"])
        .stderr(Stdio::piped())
        .spawn()
        .expect("rethaw runs");
    let job = Running { child };
    let ask = |line: &str| {
        let output = place
            .rethaw(line, &[])
            .arg(&folder)
            .output()
            .expect("rethaw runs");
        (output.status.code(), stdout(&output))
    };
    eventually("it is found", || ask("status").0 == Some(0));
    let (code, _) = ask("checkpoint");
    assert_eq!(code, Some(0));
    for line in ["status", "list", "inspect", "verify"] {
        let (code, shown) = ask(line);
        assert_eq!(code, Some(0), "{line}");
        assert!(!shown.contains('\x1b'), "{line}: {shown:?}");
    }
    for line in ["status --json", "list --json", "inspect --json", "verify --json"] {
        let (code, shown) = ask(line);
        assert_eq!(code, Some(0), "{line}");
        let told: Result<serde_json::Value, _> = serde_json::from_str(&shown);
        assert!(told.is_ok(), "{line}: {shown}");
    }
    assert_eq!(ask("kill").0, Some(0));
    assert_eq!(job.end().status.signal(), Some(9));
}

/// Of a restored computation only its init knows how it ended, and that is killed with it.
#[test]
fn a_killed_computation_died_of_it() {
    let place = Place::new();
    let job = place.start("run -i never", "echo > ready; sleep 60");
    place.wait_for("ready");
    place.wait_until_found("rethaw-checkpoints");
    assert!(
        place
            .output("checkpoint --stop rethaw-checkpoints", &[])
            .status
            .success()
    );
    assert_eq!(job.end().status.code(), Some(75));
    let job = place.start("run -i never", "echo > ready; sleep 60");
    place.wait_until_found("rethaw-checkpoints");
    assert!(place.output("kill rethaw-checkpoints", &[]).status.success());
    let output = job.end();
    assert_eq!(output.status.signal(), Some(9), "{}", stderr(&output));
}

/// Its checkpoint would have to freeze the rethaw that takes it.
#[test]
fn rethaw_does_not_attach_to_the_shell_that_it_was_started_from() {
    let place = Place::new();
    let mut command = Command::new("sh");
    command
        .args(["-c", r#""$0" attach $$; exit $?"#])
        .arg(env!("CARGO_BIN_EXE_rethaw"))
        .env("XDG_RUNTIME_DIR", place.folder.path())
        .current_dir(place.folder.path());
    let output = command.output().expect("sh runs");
    assert_eq!(output.status.code(), Some(125));
    assert!(
        stderr(&output).contains("another terminal"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn completions_and_man_pages_come_from_the_definitions() {
    let place = Place::new();
    for shell in ["bash", "zsh", "fish"] {
        assert!(stdout(&place.output("completions", &[shell])).contains("checkpoint"));
    }
    assert_eq!(place.output("man man1", &[]).status.code(), Some(0));
    for page in ["rethaw.1", "rethaw-run.1", "dmtcp_launch.1", "dmtcp_command.1"] {
        assert!(place.path("man1").join(page).exists(), "{page}");
    }
    // Nobody reads it: no complaint, no panic.
    let mut child = place
        .rethaw("completions bash", &[])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    drop(child.as_mut().expect("rethaw runs").stdout.take());
    let output = child.expect("rethaw runs").wait_with_output().expect("ended");
    assert_eq!((output.status.code(), stderr(&output)), (Some(0), String::new()));
}

#[test]
fn the_dmtcp_names_leave_dmtcps_files() {
    let place = Place::new();
    let running = place.start("dmtcp_launch -i 0 -p 0 --port-file port --no-gzip", UNTIL_END);
    place.wait_for("ready");
    let port = std::fs::read_to_string(place.path("port")).expect("a port file");
    let command = format!("dmtcp_command -p {}", port.trim());
    eventually("it is found", || {
        stdout(&place.output(&command, &["--status"])).contains("RUNNING=yes")
    });
    for _ in 0..2 {
        assert_eq!(place.output(&command, &["-bc"]).status.code(), Some(0));
        assert_eq!(count(place.folder.path(), ".dmtcp"), 1);
    }
    assert!(place.path("dmtcp_restart_script.sh").exists());
    let json = place.output(&command, &["--json", "--kcheckpoint"]);
    let json: serde_json::Value = serde_json::from_slice(&json.stdout).expect("JSON");
    assert_eq!(json["command_status"], "DMT_COORD_SUCCESS");
    running.end();
    assert_eq!(place.output(&command, &["--status"]).status.code(), Some(2));
    assert_eq!(
        place.output("dmtcp_launch --bogus", &["true"]).status.code(),
        Some(99)
    );
}
