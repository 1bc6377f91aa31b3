//! pid 1 of a computation's namespaces: reaps, and ends when its last process has. Nothing else, so that it
//! cannot fail.
//!
//! A program that was launched without namespaces knows its parent by a number that is not 1, and may compare it
//! with getppid(2) to see whether that lives. At a restart a *keeper* has that number: a child of the init that does
//! the same, and adopts orphans as rethaw did.
//!
//! It is this program again, started by the agent as `rethaw __init SOCKET ADDRESS KEEPER [MONOTONIC BOOTTIME]
//! [-- PROGRAM ARGUMENTS]`. Its first half makes the namespaces and then the init proper, which starts PROGRAM,
//! or which the agent uses as the parent of all that it rebuilds. Messages on the socket are lines of text:
//! `pid N` (the init's pid, from outside), `ready`, `warning …` or `error …` from the init; `go PID` from the
//! agent (the main process, from inside); and at its end `ended STATUS`.

use crate::error::Context;
use crate::{Error, Result};
use rethaw_sys::namespace::{self, ClockOffsets};
use rethaw_sys::proc::{self, Pid};
use rethaw_sys::{spawn, task};
use std::convert::Infallible;
use std::ffi::OsString;
use std::io::{self, BufRead, BufReader, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::time::{Duration, Instant};

/// Name of the hidden subcommand.
pub const SUBCOMMAND: &str = "__init";

/// Size of the foothold: the gadget's page, then scratch memory.
pub const FOOTHOLD_SIZE: u64 = 32 * 1024;

/// What the agent asks for.
#[derive(Debug, Clone, Copy)]
pub struct Request {
    /// Where the foothold is to be mapped.
    pub foothold: u64,
    /// The number of the keeper; none up to 1.
    pub keeper: i32,
    /// Clock offsets of the computation; `None` keeps the clocks as they are.
    pub clocks: Option<ClockOffsets>,
}

impl Request {
    /// Command-line arguments of the init.
    fn arguments(&self, socket: i32) -> Vec<String> {
        let mut arguments = vec![
            SUBCOMMAND.to_owned(),
            socket.to_string(),
            self.foothold.to_string(),
            self.keeper.to_string(),
        ];
        if let Some(clocks) = self.clocks {
            arguments.extend([clocks.monotonic_ns.to_string(), clocks.boottime_ns.to_string()]);
        }
        arguments
    }

    fn parse(arguments: &[OsString]) -> Option<(i32, Request)> {
        let number = |index: usize| arguments.get(index)?.to_str()?.parse::<i64>().ok();
        let clocks = match (number(3), number(4)) {
            (Some(monotonic_ns), Some(boottime_ns)) => Some(ClockOffsets {
                monotonic_ns,
                boottime_ns,
            }),
            _ => None,
        };
        Some((
            number(0)? as i32,
            Request {
                foothold: number(1)? as u64,
                keeper: number(2)? as i32,
                clocks,
            },
        ))
    }
}

/// The agent's side of an init.
#[derive(Debug)]
pub(crate) struct Init {
    pid: Pid,
    keeper: Option<Pid>,
    socket: BufReader<UnixStream>,
    /// Descriptor number of the other end in the init and in every process cloned from it.
    socket_inside: i32,
    /// What the user should know.
    pub warnings: Vec<String>,
    main_status: Option<i32>,
    pidfd: OwnedFd,
}

impl Init {
    /// Makes the namespaces and an init that waits for [`Init::go`].
    pub fn start(request: Request) -> Result<Init> {
        Init::spawn(request, None)
    }

    /// Makes the namespaces and starts `command` in them. Gives its pid as seen from here.
    pub fn launch(request: Request, command: &Command) -> Result<(Init, Pid)> {
        let init = Init::spawn(request, Some(command))?;
        match proc::children(init.pid).unwrap_or_default().first() {
            Some(main) => Ok((init, *main)),
            None => Err(Error::Ended),
        }
    }

    fn spawn(request: Request, command: Option<&Command>) -> Result<Init> {
        task::become_subreaper().context(|| "cannot become the reaper of orphans".to_owned())?;
        let (ours, theirs) = UnixStream::pair().context(|| "cannot make a socket pair".to_owned())?;
        rustix::io::fcntl_setfd(&theirs, rustix::io::FdFlags::empty())
            .context(|| "cannot pass a socket on".to_owned())?;
        let socket_inside = theirs.as_raw_fd();
        let mut first_half = Command::new("/proc/self/exe");
        first_half.args(request.arguments(socket_inside));
        if let Some(command) = command {
            first_half
                .arg("--")
                .arg(command.get_program())
                .args(command.get_args());
            let set = command
                .get_envs()
                .filter_map(|(name, value)| Some((name, value?)));
            first_half.envs(set);
            if let Some(folder) = command.get_current_dir() {
                first_half.current_dir(folder);
            }
        }
        spawn::as_from_the_shell(&mut first_half);
        let mut child = first_half
            .spawn()
            .context(|| "cannot start the init".to_owned())?;
        drop(theirs);
        let mut lines = Lines {
            socket: BufReader::new(ours),
            pid: None,
            warnings: Vec::new(),
        };
        let outcome = lines.until_ready();
        child.wait().context(|| "cannot wait for the init".to_owned())?;
        outcome?;
        let Some(pid) = lines.pid else {
            return Err(cannot("the init did not start"));
        };
        let pidfd = task::pidfd_open(pid).context(|| format!("cannot watch the init {pid}"))?;
        Ok(Init {
            pid,
            keeper: find_keeper(pid),
            socket: lines.socket,
            socket_inside,
            warnings: lines.warnings,
            main_status: None,
            pidfd,
        })
    }

    /// Its pid, as seen from here.
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// The keeper, as seen from here, if there is one.
    pub fn keeper(&self) -> Option<Pid> {
        self.keeper
    }

    /// Who makes and collects the processes of the computation that have no other parent.
    pub fn parent(&self) -> Pid {
        self.keeper.unwrap_or(self.pid)
    }

    /// Socket whose other end is descriptor [`Init::socket_inside`] of every process cloned from the init.
    pub fn socket(&self) -> &UnixStream {
        self.socket.get_ref()
    }

    /// See [`Init::socket`].
    pub fn socket_inside(&self) -> i32 {
        self.socket_inside
    }

    /// Everything is rebuilt: `main` (its pid inside) is the main process.
    pub fn go(&self, main: i32) -> Result<()> {
        writeln!(self.socket.get_ref(), "go {main}").context(|| "the init has ended".to_owned())
    }

    /// Raw wait status of the main process, once it has ended.
    pub fn main_status(&mut self) -> Option<i32> {
        if self.main_status.is_none() {
            let _ = self
                .socket
                .get_ref()
                .set_read_timeout(Some(Duration::from_secs(2)));
            let mut line = String::new();
            while self.socket.read_line(&mut line).is_ok_and(|n| n > 0) {
                if let Some(status) = line.trim().strip_prefix("ended ") {
                    self.main_status = status.parse().ok();
                    break;
                }
                line.clear();
            }
        }
        self.main_status
    }

    /// Waits until it has ended, and collects it.
    pub fn wait_end(&self, deadline: Instant) {
        crate::wait_readable(
            self.pidfd.as_fd(),
            deadline.saturating_duration_since(Instant::now()),
        );
        let _ = task::reap(self.pid);
    }
}

/// The keeper of an init: a child that has not executed another program.
pub(crate) fn find_keeper(init: Pid) -> Option<Pid> {
    let command = |pid: Pid| std::fs::read(format!("/proc/{pid}/cmdline")).ok();
    let own = command(init).filter(|own| !own.is_empty())?;
    let mut children = proc::children(init).ok()?.into_iter();
    children.find(|child| command(*child).as_ref() == Some(&own))
}

/// What the init says while it starts.
struct Lines {
    socket: BufReader<UnixStream>,
    pid: Option<Pid>,
    warnings: Vec<String>,
}

impl Lines {
    fn until_ready(&mut self) -> Result<()> {
        loop {
            let mut line = String::new();
            let read = self
                .socket
                .read_line(&mut line)
                .context(|| "the init does not answer".to_owned())?;
            let line = line.trim_end();
            match line.split_once(' ').unwrap_or((line, "")) {
                ("pid", number) => self.pid = number.parse().ok().map(Pid),
                ("warning", text) => self.warnings.push(text.to_owned()),
                ("error", text) => return Err(cannot(text)),
                ("ready", _) => return self.until_pid(),
                _ if read == 0 => return Err(cannot("the init ended at its start")),
                _ => {}
            }
        }
    }

    /// `pid` comes from the first half, `ready` from the init: in either order.
    fn until_pid(&mut self) -> Result<()> {
        while self.pid.is_none() {
            let mut line = String::new();
            let read = self
                .socket
                .read_line(&mut line)
                .context(|| "the init does not answer".to_owned())?;
            if read == 0 {
                return Err(cannot("the init ended at its start"));
            }
            self.pid = line
                .trim_end()
                .strip_prefix("pid ")
                .and_then(|number| number.parse().ok())
                .map(Pid);
        }
        Ok(())
    }
}

fn cannot(what: &str) -> Error {
    Error::CannotRestart {
        what: what.to_owned(),
        remedy: "`rethaw doctor` tells what this machine allows".to_owned(),
    }
}

/// Runs the init; `arguments` are those after the subcommand. Gives the exit status.
pub fn main(arguments: &[OsString]) -> i32 {
    let split = arguments
        .iter()
        .position(|a| a == "--")
        .unwrap_or(arguments.len());
    let (own, program) = arguments.split_at(split);
    let Some((socket, request)) = Request::parse(own) else {
        return 2;
    };
    let Ok(socket) = rethaw_sys::inherited_socket(socket) else {
        return 2;
    };
    match make_namespaces(&socket, request, program.get(1..).unwrap_or_default()) {
        Ok(()) => 0,
        Err(error) => {
            let _ = say(&socket, &format!("error {error}"));
            1
        }
    }
}

fn make_namespaces(socket: &UnixStream, request: Request, program: &[OsString]) -> io::Result<()> {
    let named = |what: &'static str| move |e: io::Error| io::Error::new(e.kind(), format!("{what}: {e}"));
    if !namespace::privileged() {
        namespace::enter_user().map_err(named("cannot make a user namespace"))?;
    }
    namespace::enter_pid_mount_ipc().map_err(named("cannot make pid, mount and IPC namespaces"))?;
    if let Some(clocks) = request.clocks
        && let Err(e) = namespace::enter_time(clocks)
    {
        say(
            socket,
            &format!("warning the clocks cannot go on, they jump: no time namespace ({e})"),
        )?;
    }
    let pid = namespace::fork(|| init(socket, request, program))?;
    say(socket, &format!("pid {pid}"))
}

/// The init proper.
fn init(socket: &UnixStream, request: Request, program: &[OsString]) -> Infallible {
    let prepared = match program {
        [] if request.keeper > 1 => mount_proc(socket).and_then(|()| start_keeper(socket, request)),
        [] => mount_proc(socket).and_then(|()| prepare(socket, request)),
        [name, arguments @ ..] => start_program(socket, name, arguments).map(Some),
    };
    serve(socket, prepared)
}

fn serve(socket: &UnixStream, prepared: io::Result<Option<i32>>) -> Infallible {
    match prepared {
        Ok(Some(main)) => reap(socket, main),
        Ok(None) => {}
        Err(error) => drop(say(socket, &format!("error {error}"))),
    }
    std::process::exit(0)
}

/// Leaves everything to the keeper. Gives no process as the main one: the keeper tells of that.
fn start_keeper(socket: &UnixStream, request: Request) -> io::Result<Option<i32>> {
    const NOBODY: i32 = 0;
    namespace::fork_with_number(request.keeper, || {
        let prepared = task::become_subreaper().and_then(|()| prepare(socket, request));
        serve(socket, prepared)
    })?;
    rethaw_sys::leave_stdio()?;
    Ok(Some(NOBODY))
}

/// Sends one line in one piece: both halves of the init write to the same socket.
fn say(mut socket: &UnixStream, line: &str) -> io::Result<()> {
    socket.write_all(format!("{line}\n").as_bytes())
}

fn mount_proc(socket: &UnixStream) -> io::Result<()> {
    if let Err(e) = namespace::mount_proc() {
        say(
            socket,
            &format!("warning the program sees the machine's /proc, not its own: cannot mount one ({e})"),
        )?;
    }
    Ok(())
}

/// Gives the pid of the main process once the agent has rebuilt everything, or `None` when the agent is gone.
fn prepare(socket: &UnixStream, request: Request) -> io::Result<Option<i32>> {
    rethaw_sys::leave_stdio()?;
    namespace::map_foothold(request.foothold, FOOTHOLD_SIZE as usize)?;
    say(socket, "ready")?;
    let mut line = String::new();
    BufReader::new(socket).read_line(&mut line)?;
    Ok(line.trim().strip_prefix("go ").and_then(|pid| pid.parse().ok()))
}

/// Starts the program of `launch --isolate`.
fn start_program(socket: &UnixStream, name: &OsString, arguments: &[OsString]) -> io::Result<i32> {
    mount_proc(socket)?;
    rustix::io::fcntl_setfd(socket, rustix::io::FdFlags::CLOEXEC)?;
    let child = Command::new(name).args(arguments).spawn().map_err(|e| {
        io::Error::new(
            e.kind(),
            format!("cannot execute {}: {e}", name.to_string_lossy()),
        )
    })?;
    rethaw_sys::leave_stdio()?;
    say(socket, "ready")?;
    Ok(child.id().cast_signed())
}

/// Waits for every process to end. What is left when this process ends, the kernel ends with it.
fn reap(socket: &UnixStream, main: i32) {
    while let Ok(Some((pid, status))) = namespace::wait_any() {
        if pid == main {
            // The agent may be gone; then nobody wants to know.
            let _ = say(socket, &format!("ended {status}"));
        }
    }
}
