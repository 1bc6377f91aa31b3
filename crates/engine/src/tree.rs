//! The processes of a computation, seen from the agent.

use crate::checkpoint::release::release_late;
use crate::error::Context;
use crate::init::{Init, Request, find_keeper};
use crate::resource::thread::ContextProc;
use crate::{Error, Result};
use rethaw_sys::namespace::ClockOffsets;
use rethaw_sys::proc::{self, Pid, Tid};
use rethaw_sys::{spawn, task};
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::os::fd::{AsFd, OwnedFd};
use std::process::Command;
use std::time::{Duration, Instant};

/// A computation that runs on this node under this agent.
///
/// All methods must be called from the thread that made it: ptrace requests are bound to a thread.
#[derive(Debug)]
pub struct Tree {
    main: Pid,
    /// The main process's number as it sees it itself.
    main_inside: i32,
    /// None when it had ended before this agent came.
    pidfd: Option<OwnedFd>,
    /// Our side of the init that this agent made.
    init: Option<Init>,
    /// pid 1 of the computation's namespace, whoever made it.
    namespace_init: Option<Pid>,
    /// The init's keeper.
    keeper: Option<Pid>,
    origin: Origin,
    ended: Option<Ended>,
    /// Processes of ours among the computation's: copy-on-write children that are still being written.
    pub(crate) snapshots: BTreeSet<Pid>,
    /// Children that this process had before: a shell may start something and then exec rethaw.
    strangers: BTreeSet<Pid>,
    /// Threads that were asked to stop for a checkpoint that failed, and had not stopped when it did.
    pub(crate) stragglers: Vec<(Pid, Tid)>,
    /// Timed calls in which threads were interrupted by earlier checkpoints: from then on the kernel shows
    /// restart_syscall(2) instead of the call's own number.
    pub(crate) interrupted: HashMap<Tid, InterruptedBefore>,
}

/// What is remembered of an interrupted call from one checkpoint to the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct InterruptedBefore {
    pub number: u64,
    pub ip: u64,
    /// When the call is to end, in nanoseconds of our CLOCK_MONOTONIC, if that could be found out.
    pub deadline: Option<i64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Origin {
    /// Our child: every child of this process belongs to the computation.
    Launched,
    /// Somebody else's child.
    Attached,
    /// In namespaces that this agent made.
    Isolated,
}

/// How the main process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// exit(2) with this status.
    Exited(i32),
    /// Killed by this signal.
    Signalled(i32),
    /// Ended, but this kernel does not tell a process that is not its parent how.
    Unknown,
}

impl Ended {
    /// What stands in a record for [`Ended::Unknown`].
    const UNKNOWN: i32 = -1;

    /// From a raw wait status.
    pub(crate) fn from_status(status: i32) -> Ended {
        if status == Ended::UNKNOWN {
            Ended::Unknown
        } else if libc::WIFSIGNALED(status) {
            Ended::Signalled(libc::WTERMSIG(status))
        } else {
            Ended::Exited(libc::WEXITSTATUS(status))
        }
    }

    /// As a raw wait status.
    pub(crate) fn status(self) -> i32 {
        match self {
            Ended::Exited(status) => status << 8,
            Ended::Signalled(signal) => signal,
            Ended::Unknown => Ended::UNKNOWN,
        }
    }
}

impl Tree {
    fn new(main: Pid, init: Option<Init>, origin: Origin, strangers: BTreeSet<Pid>) -> Result<Tree> {
        let pidfd = task::pidfd_open(main).context(|| format!("cannot watch process {main}"))?;
        let namespace_init = init.as_ref().map(Init::pid).or_else(|| find_init(main));
        let inside = proc::Status::read(main)
            .ok()
            .and_then(|s| s.ns_pids.last().copied());
        Ok(Tree {
            main,
            main_inside: inside.unwrap_or(main.0),
            pidfd: Some(pidfd),
            namespace_init,
            keeper: namespace_init.and_then(find_keeper),
            init,
            origin,
            ended: None,
            snapshots: BTreeSet::new(),
            strangers,
            stragglers: Vec::new(),
            interrupted: HashMap::new(),
        })
    }

    /// Starts `command` as the shell would, in the caller's session and process group, without namespaces.
    pub fn launch(mut command: Command) -> Result<Tree> {
        task::become_subreaper().context(|| "cannot become the reaper of orphans".to_owned())?;
        let name = command.get_program().to_string_lossy().into_owned();
        let strangers = own_children();
        spawn::as_from_the_shell(&mut command);
        let child = command.spawn().context(|| format!("cannot execute {name}"))?;
        Tree::new(Pid(child.id().cast_signed()), None, Origin::Launched, strangers)
    }

    /// Starts one more program beside those that run.
    ///
    /// # Errors
    /// In namespaces of its own, the computation makes its processes itself.
    pub fn launch_another(&mut self, mut command: Command) -> Result<()> {
        let name = command.get_program().to_string_lossy().into_owned();
        if self.origin != Origin::Launched {
            let what = "programs cannot be added to a computation that was restarted or attached to";
            return Err(Error::Elsewhere(format!("cannot execute {name}: {what}")));
        }
        spawn::as_from_the_shell(&mut command);
        command
            .spawn()
            .map(drop)
            .context(|| format!("cannot execute {name}"))
    }

    /// A child of this process that does not belong to the computation.
    pub fn add_stranger(&mut self, pid: i32) {
        self.strangers.insert(Pid(pid));
    }

    /// Starts `command` in namespaces of its own: small pids, private System V IPC, and everything ends with
    /// the init.
    pub fn launch_isolated(command: Command) -> Result<Tree> {
        task::become_subreaper().context(|| "cannot become the reaper of orphans".to_owned())?;
        let request = Request {
            foothold: 0x10_0000_0000,
            keeper: 0,
            clocks: Some(ClockOffsets::default()),
        };
        let (init, main) = Init::launch(request, &command)?;
        Tree::new(main, Some(init), Origin::Isolated, own_children())
    }

    /// Takes a running process and its descendants under protection.
    ///
    /// # Errors
    /// When it does not exist, belongs to another user, or is traced by another program.
    pub fn attach(pid: i32) -> Result<Tree> {
        let main = Pid(pid);
        let status = proc::Status::read(main).map_err(|_| Error::NoProcess { pid })?;
        if status.tracer != 0 {
            return Err(Error::Traced {
                pid,
                tracer: status.tracer,
            });
        }
        task::become_subreaper().context(|| "cannot become the reaper of orphans".to_owned())?;
        Tree::new(main, None, Origin::Attached, own_children())
    }

    /// A computation that was just rebuilt in `init`'s namespaces.
    pub(crate) fn rebuilt(
        main: Main,
        init: Init,
        interrupted: HashMap<Tid, InterruptedBefore>,
    ) -> Result<Tree> {
        let strangers = own_children();
        let tree = match main {
            Main::Lives(pid) => Tree::new(pid, Some(init), Origin::Isolated, strangers)?,
            Main::Ended { inside, ended } => Tree {
                main: Pid(0),
                main_inside: inside,
                pidfd: None,
                namespace_init: Some(init.pid()),
                keeper: init.keeper(),
                init: Some(init),
                origin: Origin::Isolated,
                ended: Some(ended),
                snapshots: BTreeSet::new(),
                strangers,
                stragglers: Vec::new(),
                interrupted: HashMap::new(),
            },
        };
        Ok(Tree { interrupted, ..tree })
    }

    /// Main process, as seen from this process; once it has ended, another one that has not.
    pub fn main(&self) -> i32 {
        match self.ended {
            None => self.main.0,
            Some(_) => {
                self.members()
                    .ok()
                    .and_then(|all| all.first().copied())
                    .unwrap_or(self.main)
                    .0
            }
        }
    }

    /// The main process's number as the program sees it.
    pub(crate) fn main_inside(&self) -> i32 {
        self.main_inside
    }

    /// Whether it ran already when this agent came.
    pub fn is_attached(&self) -> bool {
        self.origin == Origin::Attached
    }

    /// How the main process ended, as far as it is known to have.
    pub fn ended(&self) -> Option<Ended> {
        self.ended
    }

    /// pid 1 of the computation's namespaces, as seen from this process; none for a native launch.
    pub fn init(&self) -> Option<i32> {
        self.namespace_init.map(|pid| pid.0)
    }

    /// Whether the computation has namespaces of its own (also when this agent did not make them).
    pub fn isolated(&self) -> bool {
        proc::Status::read(Pid(self.main())).is_ok_and(|status| status.ns_pids.len() > own_depth())
    }

    /// A pidfd of the main process: readable when it has ended. None when it had ended before the restart.
    pub fn main_pidfd(&self) -> Result<Option<OwnedFd>> {
        let copy = self.pidfd.as_ref().map(OwnedFd::try_clone);
        copy.transpose()
            .context(|| "cannot duplicate a descriptor".to_owned())
    }

    /// Notes that a wait for the main process gave its end.
    pub(crate) fn note_end(&mut self, pid: Pid, status: Option<i32>) {
        if pid == self.main {
            self.ended = self.ended.or(status.map(Ended::from_status));
        }
    }

    /// Reaps what has ended. `Some` once the main process has ended.
    pub fn reap(&mut self) -> Result<Option<Ended>> {
        self.reap_orphans();
        self.release_stragglers();
        if let (None, Some(pidfd)) = (self.ended, &self.pidfd)
            && crate::wait_readable(pidfd.as_fd(), Duration::ZERO)
        {
            self.ended = Some(self.find_end());
        }
        Ok(self.ended)
    }

    /// Lets go of stragglers that have stopped by now.
    fn release_stragglers(&mut self) {
        let stragglers = std::mem::take(&mut self.stragglers);
        let late = |straggler| release_late(straggler, &mut |pid, status| self.note_end(pid, status));
        let left = stragglers.into_iter().filter_map(late).collect();
        self.stragglers = left;
    }

    /// How the main process ended, from whoever knows: its parent (we or the init), else the kernel.
    fn find_end(&mut self) -> Ended {
        let status = match (self.origin, &mut self.init) {
            (Origin::Launched, _) => task::reap(self.main).ok().flatten(),
            // Killed, the init cannot tell any more, and the main process died with it.
            (_, Some(init)) => init.main_status().or_else(|| self.exit_status_from_kernel()),
            _ => self.exit_status_from_kernel(),
        };
        status.map_or(Ended::Unknown, Ended::from_status)
    }

    /// The kernel tells it once the process's parent has collected it, which may take a moment.
    fn exit_status_from_kernel(&self) -> Option<i32> {
        let deadline = Instant::now() + Duration::from_secs(1);
        while Instant::now() < deadline {
            let told = self
                .pidfd
                .as_ref()
                .and_then(|pidfd| task::exit_status(pidfd.as_fd()));
            if told.is_some() {
                return told;
            }
            // Its parent may be in no hurry to collect it.
            if let Ok(stat) = proc::Stat::read(self.main)
                && stat.is_zombie()
            {
                return Some(stat.exit_code);
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        None
    }

    /// Orphans of the computation become our children; those that have ended are collected. Their status is
    /// nobody's business any more.
    fn reap_orphans(&self) {
        for child in proc::children(Pid::own()).unwrap_or_default() {
            let ours = child == self.main || Some(child.0) == self.init() || self.is_other(child);
            if !ours && proc::Stat::read(child).is_ok_and(|stat| stat.is_zombie()) {
                let _ = task::reap(child);
            }
        }
    }

    /// Living processes of the computation (main process first), as seen from this process.
    pub fn processes(&self) -> Result<Vec<i32>> {
        Ok(self.members()?.into_iter().map(|pid| pid.0).collect())
    }

    /// Living processes, main first, parents before children.
    pub(crate) fn members(&self) -> Result<Vec<Pid>> {
        let mut waiting: VecDeque<Pid> = match (self.namespace_init, self.origin) {
            (None, Origin::Attached) => [self.main].into(),
            _ => self.without_parent()?.into(),
        };
        waiting
            .make_contiguous()
            .sort_by_key(|pid| (*pid != self.main, pid.0));
        let mut members = Vec::new();
        while let Some(pid) = waiting.pop_front() {
            if is_alive(pid)? && !members.contains(&pid) {
                members.push(pid);
            }
            waiting.extend(self.children_of(pid)?);
        }
        Ok(members)
    }

    /// Members whose parent is outside of the computation.
    fn without_parent(&self) -> Result<Vec<Pid>> {
        let mut found = Vec::new();
        for parent in [Some(self.namespace_init.unwrap_or(Pid::own())), self.keeper]
            .into_iter()
            .flatten()
        {
            found.extend(self.children_of(parent)?);
        }
        Ok(found)
    }

    /// The number by which members without a parent inside know theirs.
    pub(crate) fn parent_number(&self) -> i32 {
        let inside = |pid| {
            proc::Status::read(pid)
                .ok()
                .and_then(|status| status.ns_pids.last().copied())
        };
        match (self.namespace_init, self.ended) {
            (Some(init), _) => inside(self.keeper.unwrap_or(init)).unwrap_or(0),
            (None, None) => proc::Stat::read(self.main).map_or(0, |stat| stat.ppid.0),
            (None, Some(_)) => Pid::own().0,
        }
    }

    /// Children of a process without copies of ours; none when it is gone.
    fn children_of(&self, pid: Pid) -> Result<VecDeque<Pid>> {
        let children = match proc::children(pid) {
            Err(e) if e.is_gone() => Vec::new(),
            other => other.context_proc()?,
        };
        Ok(children
            .into_iter()
            .filter(|child| !self.is_other(*child))
            .collect())
    }

    /// Whether a process among the computation's relatives does not belong to it.
    fn is_other(&self, pid: Pid) -> bool {
        self.snapshots.contains(&pid) || self.strangers.contains(&pid) || self.keeper == Some(pid)
    }

    /// Sends `signal` to the main process; once that has ended, to those that it left.
    pub fn signal(&self, signal: i32) -> Result<()> {
        let receivers = match self.ended {
            None => vec![self.main],
            Some(_) => self.without_parent()?,
        };
        receivers.into_iter().try_for_each(|pid| {
            task::kill(pid, signal).context(|| format!("cannot send signal {signal} to process {pid}"))
        })
    }

    /// Kills (SIGKILL) every process of the computation and waits for their end.
    pub fn kill(&mut self) -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs(10);
        let ran = self.reap()?.is_none();
        if let Some(init) = self.namespace_init {
            // The kernel ends everything in a pid namespace with its init.
            let _ = task::kill(init, libc::SIGKILL);
        }
        loop {
            let members = self.members()?;
            for pid in &members {
                let _ = task::kill(*pid, libc::SIGKILL);
            }
            self.reap()?;
            if members.is_empty() || Instant::now() > deadline {
                break;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        if let Some(init) = &self.init {
            init.wait_end(deadline);
        }
        if ran && self.ended == Some(Ended::Unknown) {
            self.ended = Some(Ended::Signalled(libc::SIGKILL));
        }
        Ok(())
    }
}

/// The main process of a computation that was rebuilt.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Main {
    /// As seen from here.
    Lives(Pid),
    /// Before the checkpoint; `inside` is the number that it had.
    Ended { inside: i32, ended: Ended },
}

fn own_children() -> BTreeSet<Pid> {
    proc::children(Pid::own())
        .unwrap_or_default()
        .into_iter()
        .collect()
}

/// Whether anything of a process still runs: a main thread that has ended shows as a zombie while others live.
fn is_alive(pid: Pid) -> Result<bool> {
    match proc::Stat::read(pid) {
        Err(e) if e.is_gone() => Ok(false),
        stat => stat
            .context_proc()
            .map(|stat| !stat.is_zombie() || stat.num_threads > 1),
    }
}

/// The init of the pid namespace that a process is in, if that is below ours: its ancestor with number 1 there.
fn find_init(main: Pid) -> Option<Pid> {
    let depth = own_depth();
    let mut pid = main;
    loop {
        let status = proc::Status::read(pid).ok()?;
        if status.ns_pids.len() <= depth {
            return None;
        }
        if status.ns_pids.last() == Some(&1) {
            return Some(pid);
        }
        pid = Pid(status.ppid);
    }
}

/// How many pid namespaces deep this process is.
fn own_depth() -> usize {
    proc::Status::read(Pid::own()).map_or(1, |status| status.ns_pids.len())
}
