//! Programs that hold what cannot be checkpointed: it is refused by a sentence that says what it is, where, and what to
//! do; `rethaw check` says the same; and the program runs on unharmed.

use super::{Start, Trial};
use crate::commands::REFUSED;
use crate::{Case, Job, Outcome, PATIENCE, Result, case, ensure, places, programs, wait_for};
use rustix::fs::{CWD, FileType, Mode, OFlags, mknodat};
use serde_json::Value;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::net::TcpStream;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};

/// What a program holds that cannot be checkpointed.
#[derive(Debug, Clone, Copy)]
pub struct Refusal {
    /// Of the test.
    pub name: &'static str,
    /// The program.
    pub program: &'static str,
    /// What it is told to hold; nothing for a program that knows only one thing.
    pub kind: &'static str,
    /// How it is called.
    pub what: &'static str,
    /// Where it is: how that begins. Nothing for a sentence of another form.
    pub place: &'static str,
    /// Something else is refused before it, so that only `rethaw check` tells of it.
    pub second: bool,
}

/// What the test does from outside of the computation.
enum Outside {
    Nothing,
    /// Both ends of it.
    Pipe(File),
    Tcp {
        _stream: TcpStream,
    },
    Unix {
        _stream: UnixStream,
    },
    Process(Job),
}

impl Refusal {
    /// Tests it.
    pub fn is_told(&self) -> Outcome {
        case(&format!("refused-{}", self.name), |case| self.run(case))
    }

    fn run(&self, case: &Case) -> Result<()> {
        let trial = Trial::new(case, self.program)?;
        let fifo = self
            .kind
            .starts_with("pipe-")
            .then(|| open_fifo(case))
            .transpose()?;
        let Start::Ready(job) = trial.ready(self.launch(case)?)? else {
            return Ok(());
        };
        let mut outside = match fifo {
            Some(file) => Outside::Pipe(file),
            None => self.act_from_outside(case)?,
        };
        case.wait_until_protected()?;
        if self.program == "socket_empty" {
            // The first look is the last one at empty messages.
            case.run("look", check_command(case)?)?.exited(0)?;
        }
        let sentence = self.checkpoint(case)?;
        // Where there are several, which comes first may depend on the order in which processes are found.
        let told = self.check(case)?;
        ensure!(
            told.contains(&sentence),
            "a check tells {told:#?}, but a checkpoint {sentence}"
        );
        self.ensure_told(case, &told)?;
        self.checkpoint(case)?;
        ensure_nothing_left(case)?;
        match &mut outside {
            Outside::Pipe(file) if self.kind == "pipe-from-outside" => file.write_all(b"text")?,
            Outside::Process(job) => job.kill()?,
            _ => {}
        }
        trial.pass(job)
    }

    fn launch(&self, case: &Case) -> Result<Job> {
        let mut command = match self.kind {
            // What is mounted is only seen by those in the same place.
            "covered" => {
                let mut command = case.command("unshare");
                command.args(["--user", "--map-current-user", "--keep-caps", "--mount"]);
                command.arg(places::rethaw()?).args(["launch", "--dir"]);
                command
            }
            _ => case.rethaw(["launch", "--dir"])?,
        };
        command.arg(case.checkpoints()).arg("--");
        command.arg(programs::binary(self.program)?).arg(case.path("p"));
        command.args([self.kind, &key()].iter().filter(|_| !self.kind.is_empty()));
        if self.kind == "epoll-of-closed" {
            command.stdin(Stdio::piped());
        }
        case.start("launch", command)
    }

    fn act_from_outside(&self, case: &Case) -> Result<Outside> {
        Ok(match self.kind {
            "tcp-from-outside" => {
                let port = fs::read_to_string(case.path("p.port"))?;
                let stream = TcpStream::connect(format!("127.0.0.1:{port}"))?;
                Outside::Tcp { _stream: stream }
            }
            "unix-from-outside" => Outside::Unix {
                _stream: UnixStream::connect(case.path("p.socket"))?,
            },
            "session-outside" => {
                let path = fs::read_to_string(case.path("p.terminal"))?;
                let without_taking_it = OFlags::NOCTTY.bits().cast_signed();
                let mut options = OpenOptions::new();
                options.read(true).write(true).custom_flags(without_taking_it);
                let mut command = case.command("setsid");
                command.args(["--ctty", "sh", "-c", "echo >led; exec sleep 1000"]);
                command.stdin(options.open(path)?);
                let job = case.start("session", command)?;
                case.wait_for_file(&case.path("led"), PATIENCE)?;
                Outside::Process(job)
            }
            "segment-outside" => {
                let mut command = case.command(programs::binary(self.program)?);
                command.arg(case.path("outside")).args([self.kind, &key()]);
                let job = case.start("outside", command)?;
                case.wait_for_file(&case.path("outside.ready"), PATIENCE)?;
                Outside::Process(job)
            }
            _ => Outside::Nothing,
        })
    }

    /// The sentence by which a checkpoint is refused.
    fn checkpoint(&self, case: &Case) -> Result<String> {
        let finished = case.try_checkpoint(&[])?.exited(REFUSED)?;
        let sentence = finished.err.trim_end().trim_start_matches("rethaw: ").to_string();
        if !self.second {
            self.ensure_told(case, std::slice::from_ref(&sentence))?;
        }
        Ok(sentence)
    }

    /// The sentences of a check.
    fn check(&self, case: &Case) -> Result<Vec<String>> {
        let finished = case.run("check", check_command(case)?)?.exited(REFUSED)?;
        let value: Value = serde_json::from_str(&finished.out)?;
        let sentences = value.get("refusals").and_then(Value::as_array);
        let texts = sentences.into_iter().flatten().filter_map(Value::as_str);
        Ok(texts.map(str::to_string).collect())
    }

    /// One of these names what it is, a process of the test, where it is there, and what to do.
    fn ensure_told(&self, case: &Case, sentences: &[String]) -> Result<()> {
        let Some(sentence) = sentences.iter().find(|sentence| sentence.contains(self.what)) else {
            ensure!(false, "`{}` is in none of {sentences:#?}", self.what);
            return Ok(());
        };
        if self.place.is_empty() {
            return Ok(());
        }
        let pids: Vec<i32> = case.processes().iter().map(|process| process.pid).collect();
        let names = |pid: &i32| sentence.contains(&format!("(process {pid}, {}", self.place));
        ensure!(
            pids.iter().any(names),
            "it does not name a process of {pids:?} and {}: {sentence}",
            self.place
        );
        let remedy = sentence.rsplit_once("); ").map_or("", |(_, remedy)| remedy);
        ensure!(!remedy.is_empty(), "it does not say what to do: {sentence}");
        Ok(())
    }
}

fn check_command(case: &Case) -> Result<Command> {
    let mut command = case.rethaw(["check", "--json"])?;
    command.arg(case.checkpoints());
    Ok(command)
}

/// A number of this run alone.
fn key() -> String {
    std::process::id().to_string()
}

/// Both ends of it.
fn open_fifo(case: &Case) -> Result<File> {
    let path = case.path("p.fifo");
    mknodat(CWD, &path, FileType::Fifo, Mode::from_raw_mode(0o600), 0)?;
    Ok(OpenOptions::new().read(true).write(true).open(path)?)
}

fn ensure_nothing_left(case: &Case) -> Result<()> {
    wait_for("that nothing is left of a checkpoint", PATIENCE, || {
        let names = fs::read_dir(case.checkpoints())?.flatten();
        let mut names = names.map(|entry| entry.file_name().to_string_lossy().into_owned());
        let left = names.find(|name| !["state.json", "lock"].contains(&name.as_str()));
        Ok(left.is_none().then_some(()))
    })
}
