//! A process that is being rebuilt: a clone of the init, under ptrace, with its old pid.

use crate::Result;
use crate::error::{Context, Error};
use crate::init::FOOTHOLD_SIZE;
use crate::resource::thread::ContextProc;
use rethaw_image::record::{ProcessV1, ThreadV1};
use rethaw_sys::arch::TASK_SIZE;
use rethaw_sys::proc::{self, Pid};
use rethaw_sys::ptrace::{Stopped, kill_and_reap};
use rethaw_sys::remote::{Foothold, Remote};
use rethaw_sys::task;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

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
    /// Clones a process from `parent` (the init or another stub).
    pub fn clone_process(
        parent: &mut Stopped,
        parent_foothold: &Foothold,
        at: u64,
        record: &ProcessV1,
    ) -> Result<Stub> {
        let name = || format!("cannot make process {} again", record.pid);
        let mut remote = Remote::begin_disposable(parent, parent_foothold).context(name)?;
        let exit_signal = u64::from(record.exit_signal.cast_unsigned());
        let leader = clone_with_id(&mut remote, 0, exit_signal, record.pid).context(name)?;
        remote.end().context(name)?;
        let pid = Pid(leader.tid().0);
        let foothold = own_foothold(pid, at).context(name)?;
        let mut stub = Stub {
            pid,
            threads: vec![leader],
            foothold,
        };
        stub.lead(record)?;
        Ok(stub)
    }

    /// Session and process group, before children inherit them.
    fn lead(&mut self, record: &ProcessV1) -> Result<()> {
        let name = || format!("cannot make the session of process {}", record.pid);
        let (leads_session, leads_group) = (record.sid == record.pid, record.pgid == record.pid);
        let mut remote = self.remote()?;
        if leads_session {
            remote.must(libc::SYS_setsid, [0; 6]).context(name)?;
        } else if leads_group {
            remote.must(libc::SYS_setpgid, [0; 6]).context(name)?;
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

    /// Removes everything of the init's address space but the foothold.
    pub fn empty(&mut self) -> Result<()> {
        let name = || "cannot empty an address space".to_owned();
        let start = self.start();
        let end = start + FOOTHOLD_SIZE;
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
        remote
            .must(libc::SYS_munmap, [0, start, 0, 0, 0, 0])
            .context(name)?;
        remote
            .must(libc::SYS_munmap, [end, TASK_SIZE - end, 0, 0, 0, 0])
            .context(name)?;
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
    pub fn with_ended_process(
        &mut self,
        number: i32,
        open: impl FnOnce(&mut Stub, i32) -> Result<OwnedFd>,
    ) -> Result<OwnedFd> {
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
            | libc::CLONE_FS
            | libc::CLONE_FILES
            | libc::CLONE_SIGHAND
            | libc::CLONE_THREAD
            | libc::CLONE_SYSVSEM;
        let name = || format!("cannot make thread {} again", record.tid);
        let thread = clone_with_id(&mut self.remote()?, THREAD as u64, 0, record.tid).context(name)?;
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
