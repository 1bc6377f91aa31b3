//! Readers for /proc files; every parser is a pure function from bytes to a value.
//!
//! Each file of `/proc/PID` has one type or function here. Types have `parse(&[u8])`, which knows only the text
//! (proc_pid(5) and the pages it names), and `read(subject)`, which fetches the file and names it in the error.
//! A subject is a [`Pid`], or a `(Pid, Tid)` for the file of one thread.
//!
//! Text that the kernel might one day extend (further columns, further lines, unknown flags) is accepted; text
//! that contradicts the format is an [`Error::Parse`]. Processes end at any time: [`Error::is_gone`] tells that
//! ordinary case from the others.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

mod fdinfo;
mod identity;
mod limits;
mod numa;
mod pagemap;
mod parse;
mod process;
mod ring;
mod sched;
mod smaps;
mod stat;
mod status;
mod system;
mod timers;
mod tree;

pub use fdinfo::{EpollTarget, Eventfd, FdInfo, Lock, LockKind, LockMode, Pidfd, Timerfd};
pub use identity::Identity;
pub use limits::{Limit, Limits, UNLIMITED};
pub use numa::{memory_nodes, numa_policies, resident_bytes};
pub use pagemap::{Categories, Pagemap, Query, Region, pages_to_save};
pub use parse::ParseError;
pub use process::{
    Fd, auxv, cmdline, comm, coredump_filter, cwd, environ, exe, fd_target, fds, oom_score_adj, personality,
    root,
};
pub use ring::RingInfo;
pub use sched::{SyscallState, exec_start, exec_start_ns, syscall, wchan};
pub use smaps::{Maps, Vma};
pub use stat::Stat;
pub use status::{Capabilities, Ids, Signals, Status};
pub use system::{Cpu, boot_id, cpuinfo, has_swap, hostname, uptime};
pub use timers::{Notify, PosixTimer, Timers};
pub use tree::{children, processes, tasks};

/// A process, by the number that the reader's pid namespace (the one of the mounted /proc) gives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pid(pub i32);

/// A thread, numbered as processes are; the first thread of a process has the process's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tid(pub i32);

impl Pid {
    /// The calling process.
    pub fn own() -> Pid {
        Pid(std::process::id() as i32)
    }

    /// The thread that a process starts with, which has the process's number.
    pub fn leader(self) -> Tid {
        Tid(self.0)
    }
}

impl fmt::Display for Pid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Tid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Something with a folder of its own under /proc.
pub trait Subject: Copy {
    /// Its folder, such as `/proc/12` or `/proc/12/task/13`.
    fn folder(self) -> PathBuf;
}

impl Subject for Pid {
    fn folder(self) -> PathBuf {
        PathBuf::from(format!("/proc/{self}"))
    }
}

impl Subject for (Pid, Tid) {
    fn folder(self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/task/{}", self.0, self.1))
    }
}

/// Addresses from `start` up to, not including, `end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Range {
    /// First address.
    pub start: u64,
    /// First address after it.
    pub end: u64,
}

impl Range {
    /// Length in bytes.
    pub fn bytes(self) -> u64 {
        self.end.saturating_sub(self.start)
    }
}

/// Why a /proc file could not be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel refused, or the process is gone.
    #[error("cannot read {path}", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the kernel answered.
        source: io::Error,
    },
    /// The kernel answered something that this version of rethaw does not understand.
    #[error("{path} holds something unexpected; please report it with your kernel version", path = path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// What was found where.
        source: ParseError,
    },
}

/// A result with this module's error.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    fn read(path: impl Into<PathBuf>, source: impl Into<io::Error>) -> Error {
        Error::Read {
            path: path.into(),
            source: source.into(),
        }
    }

    fn parse(path: impl Into<PathBuf>, source: ParseError) -> Error {
        Error::Parse {
            path: path.into(),
            source,
        }
    }

    /// Whether the process, thread or descriptor does not exist (any more). Opening then fails with ENOENT,
    /// reading a file opened earlier with ESRCH.
    pub fn is_gone(&self) -> bool {
        match self {
            Error::Read { source, .. } => {
                matches!(source.raw_os_error(), Some(libc::ENOENT | libc::ESRCH))
            }
            Error::Parse { .. } => false,
        }
    }
}

/// The bytes of `/proc/…/name`.
fn contents(subject: impl Subject, name: &str) -> Result<Vec<u8>> {
    file(&subject.folder().join(name))
}

fn file(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).map_err(|source| Error::read(path, source))
}

/// `/proc/…/name`, parsed.
fn parsed<T>(
    subject: impl Subject,
    name: &str,
    parse: impl FnOnce(&[u8]) -> std::result::Result<T, ParseError>,
) -> Result<T> {
    let path = subject.folder().join(name);
    parse(&file(&path)?).map_err(|source| Error::parse(path, source))
}

/// The names in a /proc folder that are numbers, ascending.
fn numbers(folder: &Path) -> Result<Vec<i32>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(|source| Error::read(folder, source))? {
        let entry = entry.map_err(|source| Error::read(folder, source))?;
        if let Some(number) = entry.file_name().to_str().and_then(|name| name.parse().ok()) {
            found.push(number);
        }
    }
    found.sort_unstable();
    Ok(found)
}
