//! Unix sockets whose other end is outside of the computation: here, in the test; servers under load, and at ports that the
//! kernel does not give again yet.
#![forbid(unsafe_code)]

use rethaw_harness::{Case, Job, Outcome, PATIENCE, Result, STOPPED, case, ensure, wait_for};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::net::UnixListener;
use std::process::Command;

const REFUSED: i32 = 3;
const NEVER: [&str; 2] = ["-i", "never"];

/// Connects to the socket, waits to be told, reads, and writes.
const CLIENT: &str = r#"
import os, socket, time
client = socket.socket(socket.AF_UNIX)
client.connect("socket")
open("ready", "w").close()
while not os.path.exists("go"):
    time.sleep(0.01)
def outcome(call):
    try:
        return repr(call())
    except OSError as e:
        return type(e).__name__
print(outcome(lambda: client.recv(9)), outcome(lambda: client.send(b"more")), flush=True)
"#;

/// Listens in a folder, is told to go on, and is found under its name.
const SERVER: &str = r#"
import os, socket, time
os.makedirs("scratch/folder", 0o710)
server = socket.socket(socket.AF_UNIX)
server.bind("scratch/folder/socket")
server.listen()
open("ready", "w").close()
while not os.path.exists("go"):
    time.sleep(0.01)
client = socket.socket(socket.AF_UNIX)
client.connect("scratch/folder/socket")
server.accept()[0].send(b"found")
print(client.recv(9), oct(os.stat("scratch/folder").st_mode & 0o777), flush=True)
"#;

#[test]
fn the_folder_of_a_socket_is_made_again() -> Outcome {
    if !has_python() {
        return Ok(());
    }
    case("sockets-folder-gone", |case| {
        let words = ["python3", "-c", SERVER].map(OsStr::new);
        let mut job = case.launch(&NEVER, &words)?;
        case.wait_for_file(&case.path("ready"), PATIENCE)?;
        case.checkpoint(&["--stop"])?;
        job.wait(PATIENCE)?.exited(STOPPED)?;
        fs::remove_dir_all(case.path("scratch"))?;
        fs::write(case.path("go"), "")?;
        let out = case.restart(&NEVER)?.wait(PATIENCE)?.success()?.out;
        ensure!(out == "b'found' 0o710\n", "the program saw {out:?}");
        Ok(())
    })
}

fn has_python() -> bool {
    let works = Command::new("python3").arg("--version").output().is_ok();
    if !works {
        println!("SKIP: there is no python3");
    }
    works
}

fn launch(case: &Case, options: &[&str]) -> Result<Job> {
    let words = ["python3", "-c", CLIENT].map(OsStr::new);
    let job = case.launch(&[&NEVER, options].concat(), &words)?;
    case.wait_for_file(&case.path("ready"), PATIENCE)?;
    Ok(job)
}

#[test]
fn a_connection_to_the_outside_is_refused() -> Outcome {
    if !has_python() {
        return Ok(());
    }
    case("sockets-outside-refused", |case| {
        let listener = UnixListener::bind(case.path("socket"))?;
        let mut job = launch(case, &[])?;
        let server = listener.accept()?;
        case.wait_until_protected()?;
        case.try_checkpoint(&[])?
            .exited(REFUSED)?
            .refused(&["outside of the computation", "--external"])?;
        fs::write(case.path("go"), "")?;
        drop(server);
        let out = job.wait(PATIENCE)?.success()?.out;
        ensure!(out.contains("b'' BrokenPipeError"), "the program saw {out:?}");
        Ok(())
    })
}

/// With `--external`, the program finds it as the user has said.
fn cut_off(policy: &str, found: &str) -> Outcome {
    if !has_python() {
        return Ok(());
    }
    case(&format!("sockets-outside-{policy}"), |case| {
        let listener = UnixListener::bind(case.path("socket"))?;
        let mut job = launch(case, &["--external", policy])?;
        let _server = listener.accept()?;
        case.checkpoint(&["--stop"])?;
        job.wait(PATIENCE)?.exited(STOPPED)?;
        fs::write(case.path("go"), "")?;
        let out = case.restart(&NEVER)?.wait(PATIENCE)?.success()?.out;
        ensure!(out.contains(found), "the program saw {out:?}, not {found:?}");
        Ok(())
    })
}

#[test]
fn a_connection_to_the_outside_comes_back_closed() -> Outcome {
    cut_off("close", "b'' BrokenPipeError")
}

#[test]
fn a_connection_to_the_outside_comes_back_cut_off() -> Outcome {
    cut_off("reset", "ConnectionResetError BrokenPipeError")
}

/// Who restarts a server whose port the kernel remembers (TIME_WAIT) is told what is waited for.
#[test]
fn a_wait_for_old_connections_is_told() -> Outcome {
    const SERVER: &str = r#"
import socket, time
server = socket.socket()
server.bind(("127.0.0.1", 0))
server.listen(5)
client = socket.create_connection(server.getsockname())
server.accept()[0].close()
client.close()
open("ready", "w").close()
while True:
    time.sleep(1)
"#;
    if !has_python() {
        return Ok(());
    }
    case("sockets-remembered", |case| {
        let mut job = case.launch(&NEVER, &["python3", "-c", SERVER].map(OsStr::new))?;
        case.wait_for_file(&case.path("ready"), PATIENCE)?;
        case.checkpoint(&[])?;
        case.kill_all()?;
        job.wait(PATIENCE)?;
        let mut restarted = case.restart(&NEVER)?;
        wait_for("word of what is waited for", PATIENCE, || {
            ensure!(
                restarted.ended()?.is_none(),
                "the restart ended: {}",
                restarted.err()
            );
            Ok(restarted
                .err()
                .contains("has forgotten old connections at 127.0.0.1:")
                .then_some(()))
        })?;
        restarted.signal(rustix::process::Signal::TERM);
        restarted.wait(PATIENCE)?;
        case.ensure_nothing_runs()
    })
}

/// A client that has sent its request already is waited for, because a server accepts it in a moment.
#[test]
fn a_server_under_load_can_be_checkpointed() -> Outcome {
    const SERVER: &str = r#"
import os, socket, time
server = socket.socket(socket.AF_UNIX)
server.bind("socket")
server.listen(5)
if os.fork() == 0:
    count = 0
    while not os.path.exists("go"):
        client = socket.socket(socket.AF_UNIX)
        client.connect("socket")
        client.send(b"request")
        assert client.recv(20) == b"answer", "no answer"
        count += 1
        if count == 20:
            open("ready", "w").close()
    client = socket.socket(socket.AF_UNIX)
    client.connect("socket")
    client.send(b"end")
    os._exit(0)
while True:
    time.sleep(0.002)
    client = server.accept()[0]
    request = client.recv(20)
    if request == b"end":
        break
    client.send(b"answer")
print(os.waitstatus_to_exitcode(os.wait()[1]), flush=True)
"#;
    if !has_python() {
        return Ok(());
    }
    case("sockets-under-load", |case| {
        let mut job = case.launch(&NEVER, &["python3", "-c", SERVER].map(OsStr::new))?;
        case.wait_for_file(&case.path("ready"), PATIENCE)?;
        for _ in 0..5 {
            case.checkpoint(&[])?;
        }
        case.checkpoint(&["--stop"])?;
        job.wait(PATIENCE)?.exited(STOPPED)?;
        let mut restarted = case.restart(&NEVER)?;
        wait_for("the restarted program", PATIENCE, || Ok(case.status()?.map(drop)))?;
        fs::write(case.path("go"), "")?;
        let out = restarted.wait(PATIENCE)?.success()?.out;
        ensure!(out.trim_end().ends_with('0'), "the client ended with {out:?}");
        Ok(())
    })
}
