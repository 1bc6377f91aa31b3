//! Connections to programs outside of the computation: `--external`; system logs and name services. More of Unix sockets is in
//! tests/sockets.rs.
#![forbid(unsafe_code)]

use rethaw_harness::{
    Case, Job, Outcome, PATIENCE, REFUSED, Result, STOPPED, case, ensure, ensure_equal, places, programs,
};
use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::Command;

const NEVER: [&str; 2] = ["-i", "never"];

/// A program with a connection to this process, which has sent something that it has not read.
struct Client {
    base: PathBuf,
    words: Vec<OsString>,
    listener: TcpListener,
}

impl Client {
    fn new(case: &Case, end: &str) -> Result<Client> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let base = case.path("program");
        let port = listener.local_addr()?.port().to_string();
        let words = vec![
            programs::binary("outside")?.into(),
            base.clone().into(),
            port.into(),
            end.into(),
        ];
        Ok(Client {
            base,
            words,
            listener,
        })
    }

    fn command(&self) -> Vec<&OsStr> {
        self.words.iter().map(OsString::as_os_str).collect()
    }

    fn serve(&self, case: &Case) -> Result<TcpStream> {
        let mut server = self.listener.accept()?.0;
        server.write_all(b"hello")?;
        case.wait_for_file(&self.base.with_extension("ready"), PATIENCE)?;
        server.write_all(b"unread")?;
        case.wait_until_protected()?;
        Ok(server)
    }

    fn verdict(&self, case: &Case) -> Outcome {
        let result = case.wait_for_file(&self.base.with_extension("result"), PATIENCE)?;
        ensure_equal!(result.trim(), "PASS", "verdict");
        Ok(())
    }

    fn go(&self) -> Outcome {
        Ok(std::fs::write(self.base.with_extension("go"), "")?)
    }
}

#[test]
fn it_is_refused_by_its_address() -> Outcome {
    case("external-refused", |case| {
        let client = Client::new(case, "open")?;
        let mut job = case.launch(&["-i", "never"], &client.command())?;
        let _server = client.serve(case)?;
        let address = format!("{}", client.listener.local_addr()?);
        for word in [address.as_str(), "--external"] {
            case.try_checkpoint(&[])?.exited(REFUSED)?.refused(&[word])?;
        }
        client.go()?;
        client.verdict(case)?;
        job.wait(PATIENCE)?.exited(0)?;
        Ok(())
    })
}

fn comes_back(end: &str, policy: &str) -> Outcome {
    case(&format!("external-{policy}"), |case| {
        let client = Client::new(case, end)?;
        let arguments = ["-i", "never", "--external", policy];
        let mut job = case.launch(&arguments, &client.command())?;
        let server = client.serve(case)?;
        case.checkpoint(&["--stop"])?;
        job.wait(PATIENCE)?.exited(STOPPED)?;
        drop(server);
        client.go()?;
        let mut job = case.restart(&arguments)?;
        client.verdict(case)?;
        job.wait(PATIENCE)?.exited(0)?;
        Ok(())
    })
}

#[test]
fn it_is_closed_after_a_restart() -> Outcome {
    comes_back("closed", "close")
}

#[test]
fn it_is_reset_after_a_restart() -> Outcome {
    comes_back("reset", "reset")
}

/// Waits to be told, then tells what the last two lines of the script come to.
const WAITS: &str = r#"
import errno, os, socket, time
def told():
    open("ready", "w").close()
    while not os.path.exists("go"):
        time.sleep(0.01)
def outcome(call):
    try:
        return repr(call())
    except OSError as e:
        return errno.errorcode[e.errno]
"#;

fn has_python() -> bool {
    let works = Command::new("python3").arg("--version").output().is_ok();
    if !works {
        println!("SKIP: there is no python3");
    }
    works
}

fn launch(case: &Case, policy: &str, script: &str) -> Result<Job> {
    let script = format!("{WAITS}{script}");
    let options = ["-i", "never", "--external", policy];
    let job = case.launch(&options, &["python3", "-c", &script].map(OsStr::new))?;
    case.wait_for_file(&case.path("ready"), PATIENCE)?;
    case.wait_until_protected()?;
    Ok(job)
}

/// Ends it by a checkpoint and gives what the restarted program writes.
fn restarted(case: &Case, mut job: Job) -> Result<String> {
    case.checkpoint(&["--stop"])?;
    job.wait(PATIENCE)?.exited(STOPPED)?;
    std::fs::write(case.path("go"), "")?;
    Ok(case.restart(&NEVER)?.wait(PATIENCE)?.success()?.out)
}

const MESSAGES: &str = r#"
client = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
client.connect("socket")
told()
print(outcome(lambda: client.send(b"more")), flush=True)
"#;

#[test]
fn messages_to_the_outside_are_refused() -> Outcome {
    if !has_python() {
        return Ok(());
    }
    case("external-messages-refuse", |case| {
        let server = UnixDatagram::bind(case.path("socket"))?;
        let mut job = launch(case, "refuse", MESSAGES)?;
        let refused = case.try_checkpoint(&[])?.exited(REFUSED)?;
        refused.refused(&["outside of the computation"])?;
        std::fs::write(case.path("go"), "")?;
        let out = job.wait(PATIENCE)?.success()?.out;
        ensure_equal!(out.trim(), "4", "what the program saw");
        ensure_equal!(server.recv(&mut [0; 8])?, 4, "length of a message");
        Ok(())
    })
}

/// A datagram socket whose other end is closed says so when something is sent.
#[test]
fn messages_to_the_outside_find_nobody_after_a_restart() -> Outcome {
    if !has_python() {
        return Ok(());
    }
    for policy in ["close", "reset"] {
        case(&format!("external-messages-{policy}"), |case| {
            let _server = UnixDatagram::bind(case.path("socket"))?;
            let job = launch(case, policy, MESSAGES)?;
            let out = restarted(case, job)?;
            ensure_equal!(out.trim(), "ECONNREFUSED", "what the program saw");
            Ok(())
        })?;
    }
    Ok(())
}

/// Clients from outside that were not accepted yet are gone; the server goes on.
#[test]
fn who_waits_outside_is_dropped_at_a_restart() -> Outcome {
    const SERVER: &str = r#"
server = socket.socket()
server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
server.bind(("127.0.0.1", 0))
server.listen(5)
open("port", "w").write(str(server.getsockname()[1]))
told()
server.setblocking(False)
print(outcome(server.accept), outcome(lambda: socket.create_connection(server.getsockname()) and 1), flush=True)
"#;
    if !has_python() {
        return Ok(());
    }
    for policy in ["close", "reset"] {
        case(&format!("external-waiting-{policy}"), |case| {
            let job = launch(case, policy, SERVER)?;
            let port = std::fs::read_to_string(case.path("port"))?;
            let client = TcpStream::connect(format!("127.0.0.1:{port}"))?;
            case.checkpoint(&[])?;
            let out = restarted(case, job)?;
            drop(client);
            ensure_equal!(out.trim(), "EAGAIN 1", "what the program saw");
            Ok(())
        })?;
    }
    Ok(())
}

/// Run where /run is ours: a log and a name service outside of the computation, which uses both.
const SERVICES: &str = r#"
set -eu
rethaw=$1 checkpoints=$2
mount -t tmpfs tmpfs /run
mkdir -p /run/systemd/journal /run/nscd
python3 -c '
import socket, threading
log = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
log.bind("/run/systemd/journal/dev-log")
names = socket.socket(socket.AF_UNIX)
names.bind("/run/nscd/socket")
names.listen(5)
open("services", "w").close()
kept = names.accept()
while True:
    print("log:", log.recv(99).decode(), flush=True)
' &
services=$!
trap "kill $services" EXIT
until [ -e services ]; do sleep 0.01; done
program='
import os, socket, time
log = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
log.connect("/run/systemd/journal/dev-log")
names = socket.socket(socket.AF_UNIX)
names.connect("/run/nscd/socket")
log.send(b"before")
open("ready", "w").close()
while not os.path.exists("go"):
    time.sleep(0.01)
log.send(b"after")
print("names:", names.recv(9), flush=True)
'
"$rethaw" launch -i never --dir "$checkpoints" -- python3 -c "$program" &
until [ -e ready ]; do sleep 0.01; done
"$rethaw" check "$checkpoints"
"$rethaw" checkpoint --stop "$checkpoints"
wait $! || true
touch go
"$rethaw" restart "$checkpoints"
sleep 0.2
"#;

#[test]
fn a_log_is_connected_again_and_a_name_service_has_hung_up() -> Outcome {
    let namespace = ["--user", "--map-current-user", "--keep-caps", "--mount"];
    let allowed = Command::new("unshare").args(namespace).arg("true").status();
    if !has_python() || !allowed.is_ok_and(|status| status.success()) {
        println!("SKIP: unshare --user --mount is not allowed here");
        return Ok(());
    }
    case("external-services", |case| {
        let mut command = case.command("unshare");
        command.args(namespace).args(["sh", "-c", SERVICES, "sh"]);
        command.arg(places::rethaw()?).arg(case.checkpoints());
        let out = case.run("services", command)?.success()?.out;
        for line in [
            "log: before",
            "log: after",
            "names: b''",
            "warning: ",
            "nothing stops a checkpoint",
        ] {
            ensure!(out.contains(line), "`{line}` is missing in {out}");
        }
        Ok(())
    })
}
