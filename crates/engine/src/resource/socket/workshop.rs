//! Where sockets are made again. The kernel notes for good who makes a socket pair, listens, connects, and sends, so
//! that is done in the processes themselves, by remote calls, before they have anything else. What needs another
//! root or current folder for a moment is done in a process that is there for that only, the binder.

use super::name;
use crate::Result;
use crate::error::{Context, Error};
use crate::init::Init;
use crate::restart::{Passage, Plan, Stub, own_foothold};
use rethaw_image::record::{ProcessV1, UnixCredentialsV1};
use rethaw_sys::proc::Pid;
use rethaw_sys::ptrace::Stopped;
use rethaw_sys::remote::{Foothold, Remote};
use rethaw_sys::task;
use rustix::fs::{Mode, OFlags};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

/// Where a bound socket is found.
#[derive(Debug)]
pub(crate) enum Spot {
    /// By an abstract name.
    Abstract(Vec<u8>),
    /// By a file in this folder.
    File(OwnedFd, OsString),
}

/// The processes in which calls can be made.
pub(crate) struct Workshop<'a> {
    plan: &'a Plan,
    stubs: &'a mut [Stub],
    init: &'a mut Stopped,
    init_foothold: Foothold,
    passage: Passage,
    /// Made for a while, by number: processes that have ended since they did what the kernel has noted, and the
    /// binder.
    helpers: BTreeMap<i32, Stub>,
    binder: Option<Binder>,
}

/// Numbers inside of the namespaces.
#[derive(Debug, Clone, Copy)]
struct Binder {
    pid: i32,
    /// Its descriptor of the root folder.
    root: u64,
}

/// A message that is sent from inside.
pub(crate) struct Letter<'m> {
    pub bytes: &'m [u8],
    pub descriptors: &'m [BorrowedFd<'m>],
    pub credentials: Option<UnixCredentialsV1>,
    pub to: Option<&'m Spot>,
    pub flags: i32,
}

impl<'a> Workshop<'a> {
    pub fn new(
        plan: &'a Plan,
        init: &Init,
        parent: &'a mut Stopped,
        stubs: &'a mut [Stub],
    ) -> Result<Workshop<'a>> {
        let foothold =
            own_foothold(Pid(parent.tid().0), plan.foothold).context(|| "cannot use the init".to_owned())?;
        Ok(Workshop {
            plan,
            stubs,
            init: parent,
            init_foothold: foothold,
            passage: Passage::new(init)?,
            helpers: BTreeMap::new(),
            binder: None,
        })
    }

    /// Any process.
    pub fn any(&mut self) -> Result<&mut Stub> {
        self.stubs.first_mut().ok_or(Error::Ended)
    }

    /// The process of that number. `None` when it was outside of the computation, or another one has the number.
    fn process(&mut self, pid: i32) -> Result<Option<&mut Stub>> {
        if let Some(index) = self.plan.processes.iter().position(|process| process.pid == pid) {
            return Ok(self.stubs.get_mut(index).filter(|stub| !stub.threads.is_empty()));
        }
        if pid <= 1 || !self.helpers.contains_key(&pid) && self.taken().contains(&pid) {
            return Ok(None);
        }
        self.helper(pid).map(Some)
    }

    /// Numbers that must stay free.
    fn taken(&self) -> BTreeSet<i32> {
        let mut taken = self.plan.taken();
        taken.extend(self.helpers.keys());
        taken
    }

    fn helper(&mut self, pid: i32) -> Result<&mut Stub> {
        if !self.helpers.contains_key(&pid) {
            let signal = Some(libc::SIGCHLD);
            let stub =
                Stub::clone_process(self.init, &self.init_foothold, self.plan.foothold, pid, signal, 0)?;
            self.helpers.insert(pid, stub);
        }
        self.helpers.get_mut(&pid).ok_or(Error::Ended)
    }

    fn binder(&mut self) -> Result<Binder> {
        if let Some(binder) = self.binder {
            return Ok(binder);
        }
        let taken = self.taken();
        let pid = (2..).find(|pid| !taken.contains(pid)).ok_or(Error::Ended)?;
        let stub = self.helper(pid)?;
        let root = stub
            .open(Path::new("/"), libc::O_PATH | libc::O_DIRECTORY)
            .context(|| "cannot open the root folder".to_owned())?;
        let binder = Binder { pid, root };
        self.binder = Some(binder);
        Ok(binder)
    }

    /// A process that has a descriptor of this description; 0 when none has.
    pub fn holder(&self, description: u32) -> i32 {
        let has = |process: &&ProcessV1| process.descriptors.iter().any(|d| d.description == description);
        self.plan
            .processes
            .iter()
            .find(has)
            .map_or(0, |process| process.pid)
    }

    /// Two sockets, connected, that process `maker` has made.
    pub fn pair(&mut self, maker: i32, socket_type: i32) -> Result<(OwnedFd, OwnedFd)> {
        let name = || "cannot make a socket pair".to_owned();
        let Some(stub) = self.process(maker)? else {
            return super::make::pair(socket_type);
        };
        let pidfd = task::pidfd_open(stub.pid).context(name)?;
        let mut remote = stub.remote()?;
        let at = remote.put(0, &[0; 8]).context(name)?;
        let kind = (socket_type | libc::SOCK_CLOEXEC) as u64;
        remote
            .must(libc::SYS_socketpair, [libc::AF_UNIX as u64, kind, 0, at, 0, 0])
            .context(name)?;
        let take = |remote: &mut Remote<'_>, offset: u64| {
            let fd = i32::from_ne_bytes(remote.get(offset)?);
            let ours = task::pidfd_getfd(pidfd.as_fd(), fd)?;
            remote.must(libc::SYS_close, [fd as u64, 0, 0, 0, 0, 0])?;
            Ok::<_, io::Error>(ours)
        };
        let one = take(&mut remote, 0).context(name)?;
        let other = take(&mut remote, 4).context(name)?;
        Ok((one, other))
    }

    /// listen(2) in process `maker`.
    pub fn listen(&mut self, maker: i32, socket: BorrowedFd<'_>, backlog: u32) -> Result<()> {
        let name = || "cannot listen".to_owned();
        let passage = self.passage.at(self.passage.inside())?;
        match self.process(maker)? {
            None => rustix::net::listen(socket, backlog.cast_signed()).context(name),
            Some(stub) => inside(stub, &passage, &[socket], |remote, numbers| {
                remote.must(libc::SYS_listen, [numbers[0], backlog.into(), 0, 0, 0, 0])
            })
            .map(drop)
            .context(name),
        }
    }

    /// connect(2) in process `maker`, or in the binder.
    pub fn connect(&mut self, maker: i32, socket: BorrowedFd<'_>, to: &Spot) -> Result<()> {
        let name = || "cannot connect a socket".to_owned();
        let passage = self.passage.at(self.passage.inside())?;
        let binder = self.binder()?.pid;
        let inner = match self.process(maker)? {
            Some(_) => maker,
            None => binder,
        };
        let Some(stub) = self.process(inner)? else {
            return Err(Error::Ended);
        };
        let fds: Vec<_> = [socket].into_iter().chain(to.folder()).collect();
        inside(stub, &passage, &fds, |remote, numbers| {
            // The current folder comes back later, with the rest of the process.
            if let Some(folder) = numbers.get(1) {
                remote.must(libc::SYS_fchdir, [*folder, 0, 0, 0, 0, 0])?;
            }
            let (address, len) = put_address(remote, to.name())?;
            remote.must(libc::SYS_connect, [numbers[0], address, len, 0, 0, 0])
        })
        .map(drop)
        .context(name)
    }

    /// Binds to a path as it is written, from this root folder and this current folder.
    fn bind_at(
        &mut self,
        socket: BorrowedFd<'_>,
        root: Option<BorrowedFd<'_>>,
        folder: Option<BorrowedFd<'_>>,
        path: &[u8],
    ) -> io::Result<()> {
        let passage = self.passage.at(self.passage.inside()).map_err(io::Error::other)?;
        let binder = self.binder().map_err(io::Error::other)?;
        let stub = self.helper(binder.pid).map_err(io::Error::other)?;
        let fds: Vec<_> = [socket].into_iter().chain(root).chain(folder).collect();
        inside(stub, &passage, &fds, |remote, numbers| {
            let mut others = numbers[1..].iter().copied();
            let new_root = if root.is_some() { others.next() } else { None };
            let dot = remote.put(1024, b".\0")?;
            remote.must(libc::SYS_fchdir, [new_root.unwrap_or(binder.root), 0, 0, 0, 0, 0])?;
            remote.must(libc::SYS_chroot, [dot, 0, 0, 0, 0, 0])?;
            if let Some(folder) = others.next() {
                remote.must(libc::SYS_fchdir, [folder, 0, 0, 0, 0, 0])?;
            }
            let (address, len) = put_address(remote, path)?;
            remote.must(libc::SYS_bind, [numbers[0], address, len, 0, 0, 0])
        })
        .map(drop)
    }

    /// Binds a socket to a path in the file system. `folder`: what a relative one is relative to.
    pub fn bind_file(&mut self, socket: BorrowedFd<'_>, folder: &Path, path: &Path) -> io::Result<Spot> {
        let folder = open_folder(folder)?;
        self.bind_at(socket, None, Some(folder.as_fd()), path.as_os_str().as_bytes())?;
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let parent = match parent {
            Some(parent) => rustix::fs::openat(&folder, parent, FOLDER, Mode::empty())?,
            None => folder,
        };
        let file = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        Ok(Spot::File(parent, file.to_owned()))
    }

    /// Binds a socket to a path that leads nowhere any more: in an empty file system that nobody else sees.
    pub fn bind_gone(&mut self, socket: BorrowedFd<'_>, path: &[u8]) -> io::Result<Spot> {
        let root = self.empty_root()?;
        let path = Path::new(OsStr::from_bytes(path));
        let parents = path.parent().unwrap_or(Path::new(""));
        let mut inner = PathBuf::from(".");
        for component in parents.components() {
            match component {
                Component::Normal(folder) => {
                    inner.push(folder);
                    match rustix::fs::mkdirat(&root, &inner, Mode::RWXU) {
                        Err(rustix::io::Errno::EXIST) => {}
                        outcome => outcome?,
                    }
                }
                Component::ParentDir if inner != Path::new(".") => {
                    inner.pop();
                }
                _ => {}
            }
        }
        self.bind_at(socket, Some(root.as_fd()), None, path.as_os_str().as_bytes())?;
        let folder = rustix::fs::openat(&root, &inner, FOLDER, Mode::empty())?;
        let file = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        Ok(Spot::File(folder, file.to_owned()))
    }

    /// A new tmpfs that is mounted nowhere (fsmount(2), Linux 5.2).
    fn empty_root(&mut self) -> io::Result<OwnedFd> {
        const FSCONFIG_CMD_CREATE: u64 = 6;
        let binder = self.binder().map_err(io::Error::other)?;
        let stub = self.helper(binder.pid).map_err(io::Error::other)?;
        let pidfd = task::pidfd_open(stub.pid)?;
        let mut remote = stub.remote().map_err(io::Error::other)?;
        let kind = remote.put(0, b"tmpfs\0")?;
        let context = remote.must(libc::SYS_fsopen, [kind, 1, 0, 0, 0, 0])?;
        remote.must(libc::SYS_fsconfig, [context, FSCONFIG_CMD_CREATE, 0, 0, 0, 0])?;
        let root = remote.must(libc::SYS_fsmount, [context, 1, 0, 0, 0, 0])?;
        let ours = task::pidfd_getfd(pidfd.as_fd(), root as i32)?;
        for fd in [context, root] {
            remote.must(libc::SYS_close, [fd, 0, 0, 0, 0, 0])?;
        }
        Ok(ours)
    }

    /// sendmsg(2) in the binder, with credentials of another process. Gives the number of bytes that were sent.
    pub fn send(&mut self, from: BorrowedFd<'_>, letter: &Letter<'_>) -> io::Result<usize> {
        if let Some(by) = letter.credentials {
            // The kernel wants to see the process.
            self.process(by.pid).map_err(io::Error::other)?;
        }
        let passage = self.passage.at(self.passage.inside()).map_err(io::Error::other)?;
        let binder = self.binder().map_err(io::Error::other)?;
        let stub = self.helper(binder.pid).map_err(io::Error::other)?;
        let folder = letter.to.and_then(Spot::folder);
        let fds: Vec<_> = [from]
            .into_iter()
            .chain(folder)
            .chain(letter.descriptors.iter().copied())
            .collect();
        let data = super::send::place(stub, letter.bytes)?;
        let sent = inside(stub, &passage, &fds, |remote, numbers| {
            let rights = &numbers[1 + usize::from(folder.is_some())..];
            if folder.is_some() {
                remote.must(libc::SYS_fchdir, [numbers[1], 0, 0, 0, 0, 0])?;
            }
            let address = match letter.to {
                Some(to) => put_address(remote, to.name())?,
                None => (0, 0),
            };
            super::send::remote(remote, numbers[0], address, data, letter, rights)
        });
        super::send::remove(stub, data, letter.bytes.len())?;
        sent.map(|sent| sent as usize)
    }

    /// Ends what was there for a while.
    pub fn close(mut self) -> Result<()> {
        let name = || "cannot end a helper process".to_owned();
        for (pid, stub) in std::mem::take(&mut self.helpers) {
            stub.end()?;
            let mut remote = Remote::begin_disposable(self.init, &self.init_foothold).context(name)?;
            // The number is free again once its parent has collected it.
            let arguments = [pid as u64, 0, libc::__WALL as u64, 0, 0, 0];
            remote.must(libc::SYS_wait4, arguments).context(name)?;
            remote.end().context(name)?;
        }
        Ok(())
    }
}

impl Spot {
    fn folder(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Spot::Abstract(_) => None,
            Spot::File(folder, _) => Some(folder.as_fd()),
        }
    }

    /// As seen from the folder.
    fn name(&self) -> &[u8] {
        match self {
            Spot::Abstract(name) => name,
            Spot::File(_, file) => file.as_bytes(),
        }
    }

    /// The same for calls of this process: by way of the open folder. An error when that is too long.
    pub fn address(&self) -> io::Result<rustix::net::SocketAddrUnix> {
        match self {
            Spot::Abstract(name) => name::address(name),
            Spot::File(folder, file) => {
                let number = std::os::fd::AsRawFd::as_raw_fd(folder);
                let path = Path::new(&format!("/proc/self/fd/{number}")).join(file);
                Ok(rustix::net::SocketAddrUnix::new(path)?)
            }
        }
    }
}

const FOLDER: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

fn open_folder(path: &Path) -> io::Result<OwnedFd> {
    Ok(rustix::fs::open(path, FOLDER, Mode::empty())?)
}

/// Writes a `struct sockaddr_un`; gives its address and length.
fn put_address(remote: &mut Remote<'_>, name: &[u8]) -> io::Result<(u64, u64)> {
    const PLACE: u64 = 512;
    let mut address = (libc::AF_UNIX as u16).to_ne_bytes().to_vec();
    address.extend_from_slice(name);
    Ok((remote.put(PLACE, &address)?, address.len() as u64))
}

/// Makes a call with descriptors of ours, which the process has for that time.
fn inside(
    stub: &mut Stub,
    passage: &Passage,
    fds: &[BorrowedFd<'_>],
    call: impl FnOnce(&mut Remote<'_>, &[u64]) -> io::Result<u64>,
) -> io::Result<u64> {
    let mut numbers = Vec::new();
    for fd in fds {
        numbers.push(passage.pass(stub, *fd).map_err(io::Error::other)?);
    }
    let mut remote = stub.remote().map_err(io::Error::other)?;
    let outcome = call(&mut remote, &numbers);
    for number in numbers {
        remote.must(libc::SYS_close, [number, 0, 0, 0, 0, 0])?;
    }
    outcome
}
