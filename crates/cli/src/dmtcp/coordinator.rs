//! `dmtcp_coordinator`: keeps a port and an interval for computations that are launched with it, and takes
//! DMTCP's one-letter commands. Computations do not need it.

use super::command::{computations, list};
use super::options::{Coordinator, DEFAULT_PORT};
use super::port::{Record, choose, from_environment, write_port};
use crate::control::{Reply, Request, ask};
use crate::duration::Interval;
use crate::failure::{Context, Failure, Result};
use crate::message;
use crate::place::Seen;
use crate::state::replace_file;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::net::TcpListener;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

/// Hidden environment variable of the process that `--daemon` starts; it runs no program of the user's.
const DAEMON: &str = "RETHAW_COORDINATOR_DAEMON";

/// See the module.
pub fn coordinator(args: &Coordinator) -> Result<ExitCode> {
    message::set_quiet(args.quiet > 0);
    let daemon = std::env::var_os(DAEMON).is_some();
    if args.daemon && !daemon {
        return start_daemon();
    }
    if daemon {
        let _ = rustix::process::setsid();
    }
    let (record, reservation) = open(args)?;
    record.publish()?;
    write_files(args, &record)?;
    message::note(format!(
        "coordinator with port {}; computations do not need it",
        record.port
    ));
    if daemon {
        tell_ready();
    }
    let code = serve(args, &record, daemon);
    drop(reservation);
    record.withdraw();
    Ok(code)
}

/// Waits until it has its port, so that what follows in a script finds it.
fn start_daemon() -> Result<ExitCode> {
    let myself = std::env::current_exe().context(|| "find the rethaw binary".to_string())?;
    let mut command = Command::new(myself);
    command
        .arg("dmtcp_coordinator")
        .args(options_of_this_process())
        .env(DAEMON, "1");
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = command
        .spawn()
        .context(|| "start in the background".to_string())?;
    let mut said = [0u8; 1];
    let ready = child
        .stdout
        .take()
        .map(|mut pipe| std::io::Read::read(&mut pipe, &mut said));
    if matches!(ready, Some(Ok(1))) {
        return Ok(ExitCode::SUCCESS);
    }
    let status = child.wait().ok().and_then(|status| status.code()).unwrap_or(1);
    Ok(ExitCode::from(status as u8))
}

fn options_of_this_process() -> Vec<std::ffi::OsString> {
    let words: Vec<_> = std::env::args_os().collect();
    super::Name::of(&words)
        .map(|(_, words)| words[1..].to_vec())
        .unwrap_or_default()
}

fn tell_ready() {
    message::print("\n");
    if let Ok(nothing) = std::fs::File::options().write(true).open("/dev/null") {
        let _ = rustix::stdio::dup2_stdout(&nothing);
        let _ = rustix::stdio::dup2_stderr(&nothing);
    }
}

fn open(args: &Coordinator) -> Result<(Record, Option<TcpListener>)> {
    let environment = from_environment(|name| std::env::var(name).ok());
    let asked = args
        .coord_port
        .or(args.port)
        .or(environment)
        .unwrap_or(DEFAULT_PORT);
    let (port, reservation) = match asked {
        0 => choose().map(|(port, listener)| (port, Some(listener)))?,
        port => (port, TcpListener::bind(("127.0.0.1", port)).ok()),
    };
    if let Some(other) = Record::of(port) {
        let pid = other.process.pid;
        return Err(Failure::said(format!(
            "port {port} belongs to another coordinator already (process {pid})"
        )));
    }
    let process = Seen::myself().ok_or_else(|| Failure::said("cannot read /proc/self/stat"))?;
    let interval = super::launch::interval(args.interval, None)?;
    let ckptdir = args
        .ckptdir
        .clone()
        .or_else(|| super::launch::environment_path("DMTCP_CHECKPOINT_DIR"));
    let ckptdir = ckptdir
        .map(|folder| super::launch::existing_folder(&folder))
        .transpose()?;
    let kill_after_ckpt = args.kill_after_ckpt;
    let record = Record {
        port,
        process,
        interval_seconds: interval.seconds(),
        ckptdir,
        kill_after_ckpt,
    };
    Ok((record, reservation))
}

fn write_files(args: &Coordinator, record: &Record) -> Result<()> {
    if let Some(file) = &args.port_file {
        write_port(file, record.port)?;
    }
    if let Some(file) = &args.status_file {
        let (host, port, pid) = (&record.process.machine.host, record.port, record.process.pid);
        let interval = record.interval_seconds.ceil();
        let text =
            format!("Status...\nHost: {host}\nPort: {port}\nPid: {pid}\nCheckpoint Interval: {interval}\n");
        replace_file(file, text.as_bytes(), 0o644)?;
    }
    Ok(())
}

/// When it ends by itself.
struct Patience {
    started: Instant,
    last_busy: Instant,
    had_any: bool,
}

impl Patience {
    fn is_over(&mut self, args: &Coordinator, running: usize) -> bool {
        let seconds = |given: Option<i64>, default: i64| u64::try_from(given.unwrap_or(default)).ok();
        if running > 0 {
            self.had_any = true;
            self.last_busy = Instant::now();
        }
        let timeout = seconds(args.timeout, -1).map(Duration::from_secs);
        let stale = seconds(args.stale_timeout, 8 * 3600).map(Duration::from_secs);
        timeout.is_some_and(|timeout| self.started.elapsed() >= timeout)
            || stale.is_some_and(|stale| running == 0 && self.last_busy.elapsed() >= stale)
            || (args.exit_on_last && self.had_any && running == 0)
    }
}

fn serve(args: &Coordinator, record: &Record, daemon: bool) -> ExitCode {
    let now = Instant::now();
    let mut patience = Patience {
        started: now,
        last_busy: now,
        had_any: false,
    };
    let mut input = (!daemon).then(Input::new);
    loop {
        if patience.is_over(args, computations(record.port).len()) {
            return ExitCode::SUCCESS;
        }
        // `dmtcp_command --quit` withdraws the record.
        if Record::of(record.port).is_none_or(|known| known.process != record.process) {
            return ExitCode::SUCCESS;
        }
        match input.as_mut().map(|input| input.line(Duration::from_millis(300))) {
            Some(Typed::Line(line)) => {
                if obey(record, line.trim()) {
                    return ExitCode::SUCCESS;
                }
            }
            Some(Typed::End) => input = None,
            Some(Typed::Nothing) => {}
            None => std::thread::sleep(Duration::from_millis(300)),
        }
    }
}

enum Typed {
    Line(String),
    Nothing,
    End,
}

/// Lines from stdin, with a time limit.
struct Input {
    rest: Vec<u8>,
}

impl Input {
    fn new() -> Input {
        Input { rest: Vec::new() }
    }

    fn line(&mut self, patience: Duration) -> Typed {
        if let Some(end) = self.rest.iter().position(|&byte| byte == b'\n') {
            let line = self.rest.drain(..=end).collect::<Vec<u8>>();
            return Typed::Line(String::from_utf8_lossy(&line).into_owned());
        }
        let stdin = std::io::stdin();
        let timeout = Timespec::try_from(patience).ok();
        let ready = poll(&mut [PollFd::new(&stdin, PollFlags::IN)], timeout.as_ref());
        if !matches!(ready, Ok(1..)) {
            return Typed::Nothing;
        }
        let mut buffer = [0u8; 256];
        match rustix::io::read(&stdin, &mut buffer[..]) {
            Ok(0) | Err(_) => Typed::End,
            Ok(count) => {
                self.rest.extend_from_slice(&buffer[..count]);
                Typed::Nothing
            }
        }
    }
}

/// One command; true when the coordinator is to end.
fn obey(record: &Record, line: &str) -> bool {
    match line {
        "" => {}
        "s" => show_status(record),
        "l" | "t" => message::print(&list(&statuses(record))),
        "c" => tell(
            record,
            Request::Checkpoint {
                stop: false,
                wait: false,
            },
        ),
        "ck" | "kc" => tell(
            record,
            Request::Checkpoint {
                stop: true,
                wait: false,
            },
        ),
        "k" => tell(record, Request::Kill),
        "i" => message::print(&format!("checkpoint interval: {}\n", show_interval(record))),
        "q" => {
            tell(record, Request::Kill);
            return true;
        }
        _ => message::print(
            "l: list  s: status  c: checkpoint  kc: checkpoint, then kill  i: interval  k: kill  q: kill and quit\n",
        ),
    }
    false
}

fn statuses(record: &Record) -> Vec<crate::control::Status> {
    let ask = |one: &crate::registry::Found| match ask(&one.socket(), Request::Status) {
        Ok(Reply::Status(status)) => Some(*status),
        _ => None,
    };
    computations(record.port).iter().filter_map(ask).collect()
}

fn show_status(record: &Record) {
    let statuses = statuses(record);
    let peers: usize = statuses.iter().map(|status| status.processes.len()).sum();
    let running = if peers > 0 { "yes" } else { "no" };
    message::print(&format!(
        "Status...\nHost: {}\nPort: {}\nCheckpoint Interval: {}\nNUM_PEERS={peers}\nRUNNING={running}\n",
        record.process.machine.host,
        record.port,
        show_interval(record)
    ));
}

fn show_interval(record: &Record) -> String {
    let interval = Record::of(record.port).map_or(record.interval_seconds, |now| now.interval_seconds);
    match Interval::from_seconds(interval) {
        Interval::Never => "disabled (checkpoint manually instead)".to_string(),
        Interval::Every(every) => format!("{} seconds", every.as_secs_f64()),
    }
}

fn tell(record: &Record, request: Request) {
    for one in computations(record.port) {
        match ask(&one.socket(), request.clone()) {
            Ok(Reply::Failed { sentence, .. }) => message::warn(sentence),
            Ok(_) => {}
            Err(failure) => message::warn(failure),
        }
    }
}
