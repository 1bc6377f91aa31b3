//! Computations on several nodes. The nodes are network namespaces that scripts/nodes-up.sh makes, which needs root; this
//! runs in the first of them.
#![forbid(unsafe_code)]

use rethaw_harness::interrupted::kills;
use rethaw_harness::{
    Case, Finished, Job, Outcome, PATIENCE, Result, case, ensure, ensure_equal, places, wait_for,
};
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

/// Configuration of ssh by which the nodes are reached; none where there are no nodes.
fn ssh() -> Option<PathBuf> {
    let state = std::env::var_os("RETHAW_NODES_STATE")?;
    let file = PathBuf::from(state).join("ssh_config");
    (file.exists() && std::env::var_os("RETHAW_TEST_NODES").is_some()).then_some(file)
}

fn on_nodes(name: &str, body: impl FnOnce(&Case) -> Outcome) -> Outcome {
    if ssh().is_none() {
        println!("SKIP: there are no nodes; scripts/test.sh makes some when root runs it");
        return Ok(());
    }
    case(name, |case| {
        let outcome = body(case);
        for node in ["node2", "node3"] {
            clear(node);
        }
        outcome
    })
}

/// Ends everything of this user's on a node, as a power failure would.
fn clear(node: &str) {
    let Some(config) = ssh() else { return };
    let mut command = Command::new("ssh");
    command.arg("-F").arg(config).args([node, "kill -9 -1"]);
    let _ = command.stdin(Stdio::null()).stderr(Stdio::null()).status();
}

fn storm(rounds: u32) -> Vec<OsString> {
    let script = places::source().join("tests/nodes/storm.py");
    let rounds = rounds.to_string();
    vec![
        "/usr/bin/python3".into(),
        "-u".into(),
        script.into(),
        rounds.into(),
        "node2".into(),
    ]
}

fn run(case: &Case, label: &str, options: &[&str], program: &[OsString]) -> Result<Job> {
    let mut words: Vec<OsString> = vec!["run".into(), "--dir".into(), case.checkpoints().into()];
    words.extend(options.iter().map(OsString::from));
    words.push("--".into());
    words.extend(program.iter().cloned());
    let mut command = case.rethaw(words)?;
    if let Some(config) = ssh() {
        command.env("RETHAW_RSH", format!("ssh -F {}", config.display()));
    }
    case.start(label, command)
}

/// Lines of the program's output that do not depend on when it was killed.
fn finals(text: &str) -> Vec<&str> {
    let mut lines: Vec<&str> = text.lines().filter(|line| line.starts_with("FINAL")).collect();
    lines.sort_unstable();
    lines
}

/// Without rethaw the same comes out: the storm checks itself.
const EXPECTED: usize = 2;

fn wait_for_checkpoint(case: &Case, job: &mut Job, number: u64) -> Outcome {
    let manifest = case.checkpoints().join(format!("ckpt-{number:08}.manifest"));
    wait_for(&format!("checkpoint {number}"), PATIENCE, || {
        ensure!(job.ended()?.is_none(), "it ended early: {}", job.err());
        Ok(manifest.exists().then_some(()))
    })
}

/// Runs the storm once more, to its end, at which it has checked itself.
fn comes_to_its_end(case: &Case, label: &str, options: &[&str], program: &[OsString]) -> Result<Finished> {
    let mut job = run(case, label, options, program)?;
    let finished = job.wait(Duration::from_secs(120))?.exited(0)?;
    ensure_equal!(finals(&finished.out).len(), EXPECTED, "final lines");
    Ok(finished)
}

/// Runs `program` again and again, each time killing everything on both nodes some time (`from`, and up to `spread`
/// milliseconds more) after it began or came back, until this was done `kills` times or it has come to its end.
/// Gives its last output and how often it came back.
fn survive(
    case: &Case,
    program: &[OsString],
    kills: usize,
    from: u64,
    spread: u64,
) -> Result<(String, usize)> {
    let mut restarts = 0;
    for number in 0..kills {
        let mut job = run(case, &format!("run.{number}"), &["-i", "1"], program)?;
        // The kernel remembers connections for a minute that the program itself has closed before its first checkpoint.
        let deadline = std::time::Instant::now() + Duration::from_secs(90);
        while number > 0 && job.ended()?.is_none() && !job.err().contains("restarted from") {
            let fresh = !job.err().contains("goes to node2") && job.err().contains("node2 takes part");
            if fresh || std::time::Instant::now() > deadline {
                break;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        std::thread::sleep(Duration::from_millis(from + (number as u64 * 7919) % spread));
        restarts += usize::from(job.err().contains("restarted from"));
        if job.ended()?.is_some() {
            let finished = job.wait(PATIENCE)?.exited(0)?;
            return Ok((finished.out, restarts));
        }
        case.kill_all()?;
        clear("node2");
    }
    let mut job = run(case, "run.last", &["-i", "5"], program)?;
    let finished = job.wait(Duration::from_secs(240))?.exited(0)?;
    restarts += usize::from(finished.err.contains("restarted from"));
    Ok((finished.out, restarts))
}

#[test]
fn killed_at_random_moments_on_all_nodes() -> Outcome {
    on_nodes("nodes-storm", |case| {
        let (out, restarts) = survive(case, &storm(300), kills().clamp(3, 12), 1500, 2500)?;
        ensure!(restarts > 1, "it was restarted {restarts} times");
        ensure_equal!(finals(&out).len(), EXPECTED, "final lines");
        println!("{restarts} restarts, {}", finals(&out).join(", "));
        Ok(())
    })
}

#[test]
fn images_go_to_other_nodes_with_other_addresses() -> Outcome {
    on_nodes("nodes-moved", |case| {
        let program = storm(200);
        let mut job = run(case, "run.first", &["-i", "1"], &program)?;
        wait_for_checkpoint(case, &mut job, 2)?;
        case.kill_all()?;
        clear("node2");
        let options = ["-i", "1", "--hosts", "node1,node3"];
        let finished = comes_to_its_end(case, "run.moved", &options, &program)?;
        ensure!(finished.err.contains("goes to node3"), "{}", finished.err);
        Ok(())
    })
}

#[test]
fn a_lost_node_ends_the_computation_which_goes_on_from_the_last_checkpoint() -> Outcome {
    on_nodes("nodes-lost", |case| {
        let program = storm(200);
        let mut job = run(case, "run.first", &["-i", "1"], &program)?;
        wait_for_checkpoint(case, &mut job, 2)?;
        clear("node2");
        let finished = job.wait(Duration::from_secs(60))?.exited(125)?;
        for words in ["node2 was lost", "run it again to go on from checkpoint"] {
            ensure!(
                finished.err.contains(words),
                "no \"{words}\" in: {}",
                finished.err
            );
        }
        case.ensure_nothing_runs()?;
        comes_to_its_end(case, "run.again", &["-i", "1"], &program)?;
        Ok(())
    })
}

#[test]
fn killed_rethaw_is_replaced_and_the_other_node_joins_again() -> Outcome {
    on_nodes("nodes-taken-over", |case| {
        let program = storm(300);
        let mut job = run(case, "run.first", &["-i", "1"], &program)?;
        wait_for_checkpoint(case, &mut job, 1)?;
        job.kill()?;
        let mut job = run(case, "run.again", &["-i", "1"], &program)?;
        wait_for("a checkpoint of both nodes", PATIENCE, || {
            ensure!(job.ended()?.is_none(), "it ended: {}", job.err());
            let err = job.err();
            Ok((err.contains("node2 takes part") && err.contains("taken: pause")).then_some(()))
        })?;
        case.kill_all()?;
        clear("node2");
        let finished = comes_to_its_end(case, "run.last", &["-i", "5"], &program)?;
        ensure!(finished.err.contains("image 1 of 2"), "{}", finished.err);
        ensure!(!finished.out.contains("FAIL"), "{}", finished.out);
        Ok(())
    })
}

#[test]
fn a_checkpoint_on_request_that_ends_it_on_all_nodes() -> Outcome {
    on_nodes("nodes-stop", |case| {
        let program = storm(200);
        let mut job = run(case, "run.first", &["-i", "1"], &program)?;
        wait_for_checkpoint(case, &mut job, 1)?;
        let mut command = case.rethaw(["checkpoint", "--stop"])?;
        command.arg(case.checkpoints());
        case.run("checkpoint", command)?.success()?;
        job.wait(PATIENCE)?.exited(75)?;
        case.ensure_nothing_runs()?;
        comes_to_its_end(case, "run.again", &["-i", "1"], &program)?;
        Ok(())
    })
}

#[test]
fn open_mpi_over_two_nodes() -> Outcome {
    on_nodes("nodes-open-mpi", |case| {
        if !std::path::Path::new("/usr/bin/mpicc.openmpi").exists() {
            println!("SKIP: no Open MPI (scripts/install-test-deps.sh installs it)");
            return Ok(());
        }
        let program = case.path("ring");
        let source = places::source().join("tests/nodes/ring.c");
        let mut compiler = Command::new("mpicc.openmpi");
        compiler.args(["-O2", "-o"]).arg(&program).arg(source);
        case.run("compile", compiler)?.success()?;
        let mut words: Vec<OsString> = ["mpirun.openmpi", "--host", "node1:2,node2:2", "-n", "4"]
            .map(OsString::from)
            .to_vec();
        words.extend(
            [
                "--mca",
                "btl_tcp_if_include",
                "eth0",
                "--mca",
                "oob_tcp_if_include",
                "eth0",
            ]
            .map(OsString::from),
        );
        words.extend([program.into(), "400".into()]);
        let (out, restarts) = survive(case, &words, kills().clamp(2, 6), 3000, 1500)?;
        ensure_equal!(finals(&out), ["FINAL 4 ranks 400 steps PASS"], "final line");
        ensure!(restarts > 1, "it was restarted {restarts} times");
        println!("{restarts} restarts on two nodes");
        Ok(())
    })
}
