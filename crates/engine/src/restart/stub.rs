//! A process that is being rebuilt: a clone of the init, under ptrace, with its old pid.

use crate::Result;
use crate::error::{Context, Error};
use crate::init::FOOTHOLD_SIZE;
use crate::resource::thread::ContextProc;
use rethaw_image::record::{ProcessV1, ThreadV1};
use rethaw_sys::arch::TASK_SIZE;
use rethaw_sys::proc::{self, Pid, Stat};
use rethaw_sys::ptrace::{Running, Stop, Stopped, Wait, kill_and_reap};
use rethaw_sys::remote::{Foothold, Remote};
use rethaw_sys::task;
use std::io;
use std::ops::Range;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::{Duration, Instant};

/// One process, with as many threads as it has already.
#[derive(Debug)]
pub(crate) struct Stub {
    /// As seen from here.
    pub pid: Pid,
    /// The leader first.
    pub threads: Vec<Stopped>,
    pub foothold: Foothold,
}

/// `struct clone_args` (clone3(2)), with the id that the child is to have.
fn clone_args(flags: u64, exit_signal: u64, set_tid: u64) -> Vec<u8> {
    let words = [flags, 0, 0, 0, exit_signal, 0, 0, 0, set_tid, 1, 0];
    words.iter().flat_map(|word| word.to_ne_bytes()).collect()
}

/// clone3 in a stopped thread: the child gets the id `wanted` (CAP_CHECKPOINT_RESTORE in the user namespace
/// that owns the pid namespace, Linux 5.9).
fn clone_with_id(remote: &mut Remote<'_>, flags: u64, exit_signal: u64, wanted: i32) -> io::Result<Stopped> {
    let set_tid = remote.put(256, &wanted.to_ne_bytes())?;
    let args = clone_args(flags, exit_signal, set_tid);
    let address = remote.put(0, &args)?;
    remote
        .spawn(libc::SYS_clone3, [address, args.len() as u64, 0, 0, 0, 0])
        .map(|(stopped, _)| stopped)
}

impl Stub {
    /// Clones process `number` from `maker` (the init or another stub), with which it shares what the flags `shared` say. Without an
    /// exit signal it becomes its sibling, and has the same.
    pub fn clone_process(
        maker: &mut Stopped,
        maker_foothold: &Foothold,
        at: u64,
        number: i32,
        exit_signal: Option<i32>,
        shared: u64,
    ) -> Result<Stub> {
        let name = || format!("cannot make process {number} again");
        let mut remote = Remote::begin_disposable(maker, maker_foothold).context(name)?;
        let (flags, exit_signal) = match exit_signal {
            Some(signal) => (shared, u64::from(signal.cast_unsigned())),
            None => (shared | libc::CLONE_PARENT as u64, 0),
        };
        let leader = clone_with_id(&mut remote, flags, exit_signal, number).context(name)?;
        remote.end().context(name)?;
        let pid = Pid(leader.tid().0);
        let foothold = own_foothold(pid, at).context(name)?;
        Ok(Stub {
            pid,
            threads: vec![leader],
            foothold,
        })
    }

    /// Clones a child of this stub, or a sibling, see [`Stub::clone_process`].
    pub fn clone_child(
        &mut self,
        at: u64,
        number: i32,
        exit_signal: Option<i32>,
        shared: u64,
    ) -> Result<Stub> {
        match self.threads.first_mut() {
            Some(leader) => Stub::clone_process(leader, &self.foothold, at, number, exit_signal, shared),
            None => Err(Error::Ended),
        }
    }

    /// One call about its place among the others.
    pub fn call(&mut self, number: libc::c_long, arguments: [u64; 6]) -> Result<()> {
        let pid = self.pid;
        let outcome = self.remote()?.must(number, arguments);
        outcome
            .map(drop)
            .context(|| format!("cannot give process {pid} its session or group"))
    }

    /// Becomes a sub-reaper, or no longer is one.
    pub fn adopt_orphans(&mut self, adopts: bool) -> Result<()> {
        let option = libc::PR_SET_CHILD_SUBREAPER as u64;
        self.call(libc::SYS_prctl, [option, adopts.into(), 0, 0, 0, 0])
    }

    /// Ends it, as a stand-in.
    pub fn end(mut self) -> Result<()> {
        self.exit(0)
    }

    /// Ends it as the process of a record has ended.
    pub fn end_as(mut self, record: &ProcessV1) -> Result<()> {
        let name = || format!("cannot make the ended process {} again", record.pid);
        let status = record.zombie_status.unwrap_or_default();
        let mut comm = record.zombie_name.clone();
        comm.truncate(15);
        comm.push(0);
        let mut remote = self.remote()?;
        let address = remote.put(0, &comm).context(name)?;
        let set_name = [libc::PR_SET_NAME as u64, address, 0, 0, 0, 0];
        remote.must(libc::SYS_prctl, set_name).context(name)?;
        match libc::WTERMSIG(status) {
            0 => self.exit(libc::WEXITSTATUS(status)),
            signal => self.die_by(signal).context(name),
        }
    }

    fn exit(&mut self, status: i32) -> Result<()> {
        let pid = self.pid;
        let arguments = [status as u64, 0, 0, 0, 0, 0];
        match self.remote()?.call(libc::SYS_exit_group, arguments) {
            Err(e) if e.raw_os_error() == Some(libc::ESRCH) => Ok(()),
            _ => Err(Error::Os {
                operation: format!("process {pid} does not end"),
                source: io::ErrorKind::Other.into(),
            }),
        }
    }

    /// Without leaving a core dump: RLIMIT_CORE does not hold for a pipe in kernel.core_pattern (core(5)).
    fn die_by(mut self, signal: i32) -> io::Result<()> {
        let not_dumpable = [libc::PR_SET_DUMPABLE as u64, 0, 0, 0, 0, 0];
        self.remote()
            .map_err(io::Error::other)?
            .must(libc::SYS_prctl, not_dumpable)?;
        let Some(mut leader) = self.threads.pop() else {
            return Err(io::ErrorKind::NotFound.into());
        };
        leader.set_blocked(0)?;
        task::kill(self.pid, signal)?;
        let tid = leader.tid();
        // After SIGKILL there is nothing to resume.
        let mut resumed = leader.resume(0);
        loop {
            match Running::born(tid).wait_soon()? {
                Wait::Gone(_) => return Ok(()),
                Wait::Stopped(_) if resumed.is_err() => return resumed.map(drop),
                Wait::Stopped(Stop::Signal(signal)) => {
                    resumed = Running::born(tid).into_stopped().resume(signal)
                }
                Wait::Stopped(_) => resumed = Running::born(tid).into_stopped().resume(0),
                Wait::TimedOut => return Err(io::ErrorKind::TimedOut.into()),
            }
        }
    }

    /// Collects a child that has ended.
    pub fn collect(&mut self, child: i32) -> Result<()> {
        let arguments = [child as u64, 0, libc::__WALL as u64, 0, 0, 0];
        let outcome = self.remote()?.must(libc::SYS_wait4, arguments);
        outcome
            .map(drop)
            .context(|| format!("cannot collect process {child}"))
    }

    /// Lets it run into the stop that it was in, before its parent goes on.
    pub fn stop_by(&mut self, signal: i32) -> Result<()> {
        let pid = self.pid;
        let name = || format!("cannot stop process {pid} again");
        task::kill(pid, signal).context(name)?;
        for thread in self.threads.drain(..) {
            thread.detach().context(name)?;
        }
        let deadline = Instant::now() + Duration::from_secs(10);
        while Stat::read(pid).context_proc()?.state != b'T' {
            if Instant::now() > deadline {
                return Err(io::Error::from(io::ErrorKind::TimedOut)).context(name);
            }
            std::thread::sleep(Duration::from_micros(50));
        }
        Ok(())
    }

    /// Where the foothold begins.
    pub fn start(&self) -> u64 {
        self.foothold.arguments() - PAGE
    }

    /// Remote calls in its leader.
    pub fn remote(&mut self) -> Result<Remote<'_>> {
        let name = || "a process that is being rebuilt has ended".to_owned();
        let Some(leader) = self.threads.first_mut() else {
            return Err(Error::Ended);
        };
        Remote::begin_disposable(leader, &self.foothold).context(name)
    }

    /// Remote calls in one of its threads.
    pub fn remote_in(&mut self, thread: usize) -> Result<Remote<'_>> {
        let name = || "a thread that is being rebuilt has ended".to_owned();
        let Some(thread) = self.threads.get_mut(thread) else {
            return Err(Error::Ended);
        };
        Remote::begin_disposable(thread, &self.foothold).context(name)
    }

    /// Removes everything of the address space that it is a copy of but the foothold and `kept`, which ascends.
    pub fn keep_only(&mut self, kept: &[Range<u64>]) -> Result<()> {
        let name = || "cannot empty an address space".to_owned();
        let start = self.start();
        let mut kept = kept.to_vec();
        kept.push(start..start + FOOTHOLD_SIZE);
        kept.sort_by_key(|range| range.start);
        let Some(leader) = self.threads.first() else {
            return Err(Error::Ended);
        };
        let rseq = leader.rseq().context(name)?;
        let mut remote = self.remote()?;
        // The kernel writes to a registered area whenever the thread runs: unregister before unmapping.
        if let Some((address, size, signature, _)) = rseq {
            const UNREGISTER: u64 = 1;
            let arguments = [address, size.into(), UNREGISTER, signature.into(), 0, 0];
            remote.must(libc::SYS_rseq, arguments).context(name)?;
        }
        let mut at = 0;
        for range in kept.into_iter().chain(std::iter::once(TASK_SIZE..TASK_SIZE)) {
            if at < range.start {
                remote
                    .must(libc::SYS_munmap, [at, range.start - at, 0, 0, 0, 0])
                    .context(name)?;
            }
            at = range.end;
        }
        Ok(())
    }

    /// Opens a file inside. Gives the descriptor there.
    pub fn open(&mut self, path: &Path, flags: i32) -> io::Result<u64> {
        let mut bytes = path.as_os_str().as_bytes().to_vec();
        bytes.push(0);
        let mut remote = self.remote().map_err(io::Error::other)?;
        let address = remote.put(0, &bytes)?;
        let flags = (flags | libc::O_CLOEXEC) as u64;
        remote.must(libc::SYS_openat, [libc::AT_FDCWD as u64, address, flags, 0, 0, 0])
    }

    /// Opens a file inside, where it may not be what it is here, and takes the description out.
    pub fn open_for_us(&mut self, path: &Path, flags: i32) -> io::Result<OwnedFd> {
        let fd = self.open(path, flags)?;
        let pidfd = task::pidfd_open(self.pid)?;
        let ours = task::pidfd_getfd(pidfd.as_fd(), fd as i32);
        let mut remote = self.remote().map_err(io::Error::other)?;
        remote.must(libc::SYS_close, [fd, 0, 0, 0, 0, 0])?;
        ours
    }

    /// Opens something of a process that has ended by then: one is made with this number, or with any other if
    /// that is taken, and ended again.
    pub fn with_ended_process<T>(
        &mut self,
        number: i32,
        open: impl FnOnce(&mut Stub, i32) -> Result<T>,
    ) -> Result<T> {
        let name = || "cannot make a process that ends again".to_owned();
        let mut remote = self.remote()?;
        let child = match clone_with_id(&mut remote, 0, 0, number) {
            Ok(child) => child,
            Err(_) => remote
                .spawn(libc::SYS_clone, [0; 6])
                .map(|(stopped, _)| stopped)
                .context(name)?,
        };
        let inside = proc::Status::read(Pid(child.tid().0)).context_proc()?;
        let inside = inside.ns_pids.last().copied().unwrap_or(number);
        let opened = open(self, inside);
        kill_and_reap(child.tid());
        let wait = [inside as u64, 0, libc::__WALL as u64, 0, 0, 0];
        self.remote()?.must(libc::SYS_wait4, wait).context(name)?;
        opened
    }

    /// Makes a further thread.
    pub fn clone_thread(&mut self, record: &ThreadV1) -> Result<()> {
        const THREAD: i32 = libc::CLONE_VM
            | libc::CLONE_FILES
            | libc::CLONE_SIGHAND
            | libc::CLONE_THREAD
            | libc::CLONE_SYSVSEM;
        let name = || format!("cannot make thread {} again", record.tid);
        let folders = if record.folders.is_none() {
            libc::CLONE_FS
        } else {
            0
        };
        let thread =
            clone_with_id(&mut self.remote()?, (THREAD | folders) as u64, 0, record.tid).context(name)?;
        self.threads.push(thread);
        Ok(())
    }

    /// Removes the foothold, as the very last call.
    pub fn leave(&mut self) -> Result<()> {
        let start = self.start();
        let name = || "cannot remove the foothold".to_owned();
        self.remote()?
            .must(libc::SYS_munmap, [start, FOOTHOLD_SIZE, 0, 0, 0, 0])
            .context(name)?;
        for thread in &mut self.threads {
            thread.park().context(name)?;
        }
        Ok(())
    }
}

const PAGE: u64 = 4096;

/// The foothold that the init mapped, and that its clones have too.
pub(crate) fn own_foothold(pid: Pid, at: u64) -> io::Result<Foothold> {
    Foothold::own(pid, at, at + PAGE)
}
