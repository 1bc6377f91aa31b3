//! `/proc/PID/fdinfo/FD`: what the kernel tells of an open descriptor beside its path.

use std::time::Duration;

use super::parse::{Parsed, decimal, decimals, device, hex, key_value, lines, octal, unexpected, words};
use super::{Error, Result, Subject};

/// One descriptor, as in proc_pid_fdinfo(5). Position, flags and locks belong to the open file description, but
/// for the flag O_CLOEXEC (shown by the kernel for this descriptor) and POSIX locks (of the process).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FdInfo {
    /// File offset in bytes.
    pub pos: i64,
    /// open(2) flags, with O_CLOEXEC.
    pub flags: u32,
    /// Mount, as in `/proc/PID/mountinfo`; private mounts such as those of pipes are not listed there.
    pub mnt_id: i32,
    /// Inode (Linux 5.14).
    pub ino: Option<u64>,
    /// For an eventfd(2).
    pub eventfd: Option<Eventfd>,
    /// What an epoll(7) instance watches.
    pub epoll: Vec<EpollTarget>,
    /// For a timerfd_create(2) descriptor.
    pub timerfd: Option<Timerfd>,
    /// For a signalfd(2): the set that it accepts, bit n-1 for signal n.
    pub sigmask: Option<u64>,
    /// For a pidfd_open(2) descriptor.
    pub pidfd: Option<Pidfd>,
    /// Locks of the description, and of this process through it.
    pub locks: Vec<Lock>,
    /// All other lines, such as those of inotify(7) and io_uring(7), as they are.
    pub extra: Vec<Vec<u8>>,
}

/// State of an eventfd.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Eventfd {
    /// Its counter.
    pub count: u64,
    /// EFD_SEMAPHORE (shown since Linux 6.5).
    pub semaphore: Option<bool>,
}

/// A descriptor in an epoll set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EpollTarget {
    /// Its number when it was added; it may stand for another file now.
    pub fd: i32,
    /// Event mask of epoll_ctl(2), with EPOLLET, EPOLLONESHOT and so on.
    pub events: u32,
    /// The user's value.
    pub data: u64,
    /// Inode of the watched file.
    pub ino: u64,
    /// Its device, in the kernel's own encoding (major << 20 | minor).
    pub sdev: u64,
}

/// State of a timer descriptor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timerfd {
    /// A CLOCK_ constant.
    pub clock: i32,
    /// Expirations that have not been read.
    pub ticks: u64,
    /// Flags of timerfd_settime(2).
    pub settime_flags: u32,
    /// Time left until it expires, zero if it is not armed.
    pub value: Duration,
    /// Period, zero for a single expiration.
    pub interval: Duration,
}

/// The process that a pidfd stands for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pidfd {
    /// Its number; -1 once it has been reaped, 0 outside of the reader's pid namespace.
    pub pid: i32,
    /// Its numbers in the pid namespaces below.
    pub ns_pids: Vec<i32>,
}

/// Kinds of lock on a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockKind {
    /// fcntl(2) F_SETLK: of the process.
    Posix,
    /// fcntl(2) F_OFD_SETLK: of the description.
    OpenFile,
    /// flock(2): of the description.
    Flock,
    /// fcntl(2) F_SETLEASE.
    Lease,
    /// fcntl(2) F_NOTIFY and what later kernels bring.
    Other,
}

/// What a lock or lease keeps from others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockMode {
    /// Shared.
    Read,
    /// Exclusive.
    Write,
    /// None; only for leases that are being broken.
    Unlock,
}

/// A lock, as in proc_locks(5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lock {
    /// Kind.
    pub kind: LockKind,
    /// Strength; of a lease that is being broken, what it is to become.
    pub mode: LockMode,
    /// A lease that is being broken.
    pub breaking: bool,
    /// The process that took it (-1 for open file description locks).
    pub pid: i32,
    /// Device of the file, as makedev(3) makes it.
    pub dev: u64,
    /// Inode of the file.
    pub ino: u64,
    /// First byte.
    pub start: u64,
    /// Last byte; `None` to the end of the file.
    pub last: Option<u64>,
}

impl FdInfo {
    /// Parses `/proc/PID/fdinfo/FD`.
    pub fn parse(text: &[u8]) -> Parsed<FdInfo> {
        let mut info = FdInfo::default();
        let mut known = 0;
        for line in lines(text) {
            match key_value(line) {
                Some((key, value)) => known += usize::from(info.place(key, value, line)?),
                None => info.extra.push(line.to_vec()),
            }
        }
        if known < 2 {
            Err(unexpected("pos and flags", text))
        } else {
            Ok(info)
        }
    }

    /// Reads the file for descriptor `fd`.
    pub fn read(subject: impl Subject, fd: i32) -> Result<FdInfo> {
        let path = subject.folder().join(format!("fdinfo/{fd}"));
        FdInfo::parse(&super::file(&path)?).map_err(|source| Error::parse(path, source))
    }

    /// Takes in one line; true for one of the two that every descriptor has.
    fn place(&mut self, key: &[u8], value: &[u8], line: &[u8]) -> Parsed<bool> {
        match key {
            b"pos" => self.pos = decimal("position", value)?,
            b"flags" => self.flags = octal("flags", value)? as u32,
            b"mnt_id" => self.mnt_id = decimal("mount", value)?,
            b"ino" => self.ino = Some(decimal("inode", value)?),
            b"sigmask" => self.sigmask = Some(hex("signal set", value)?),
            b"lock" => self.locks.push(Lock::parse(value)?),
            b"tfd" => self.epoll.push(EpollTarget::parse(line)?),
            b"Pid" => self.pidfd.get_or_insert_default().pid = decimal("process", value)?,
            b"NSpid" => self.pidfd.get_or_insert_default().ns_pids = decimals("processes", value)?,
            _ if self.place_eventfd(key, value)? || self.place_timerfd(key, value)? => {}
            _ => self.extra.push(line.to_vec()),
        }
        Ok(matches!(key, b"pos" | b"flags"))
    }

    fn place_eventfd(&mut self, key: &[u8], value: &[u8]) -> Parsed<bool> {
        match key {
            b"eventfd-count" => self.eventfd.get_or_insert_default().count = hex("count", value)?,
            b"eventfd-semaphore" => {
                self.eventfd.get_or_insert_default().semaphore = Some(value != b"0");
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn place_timerfd(&mut self, key: &[u8], value: &[u8]) -> Parsed<bool> {
        let timer = || self.timerfd.unwrap_or_default();
        let timer = match key {
            b"clockid" => Timerfd {
                clock: decimal("clock", value)?,
                ..timer()
            },
            b"ticks" => Timerfd {
                ticks: decimal("ticks", value)?,
                ..timer()
            },
            b"settime flags" => Timerfd {
                settime_flags: octal("flags", value)? as u32,
                ..timer()
            },
            b"it_value" => Timerfd {
                value: time_pair(value)?,
                ..timer()
            },
            b"it_interval" => Timerfd {
                interval: time_pair(value)?,
                ..timer()
            },
            _ => return Ok(false),
        };
        self.timerfd = Some(timer);
        Ok(true)
    }
}

/// `(SECONDS, NANOSECONDS)`.
fn time_pair(value: &[u8]) -> Parsed<Duration> {
    let missing = || unexpected("time", value);
    let inner = value
        .strip_prefix(b"(")
        .and_then(|rest| rest.strip_suffix(b")"))
        .ok_or_else(missing)?;
    let comma = inner.iter().position(|&byte| byte == b',').ok_or_else(missing)?;
    let nanoseconds: u32 = decimal("nanoseconds", &inner[comma + 1..])?;
    if nanoseconds >= 1_000_000_000 {
        return Err(missing());
    }
    Ok(Duration::new(decimal("seconds", &inner[..comma])?, nanoseconds))
}

impl EpollTarget {
    /// `tfd: 8 events: 19 data: 8  pos:0 ino:61af sdev:7`; there is a blank after some of the colons.
    fn parse(line: &[u8]) -> Parsed<EpollTarget> {
        let mut target = EpollTarget::default();
        let spread: Vec<u8> = line
            .iter()
            .map(|&byte| if byte == b':' { b' ' } else { byte })
            .collect();
        let mut parts = words(&spread);
        while let (Some(key), Some(value)) = (parts.next(), parts.next()) {
            match key {
                b"tfd" => target.fd = decimal("descriptor", value)?,
                b"events" => target.events = hex("events", value)? as u32,
                b"data" => target.data = hex("data", value)?,
                b"ino" => target.ino = hex("inode", value)?,
                b"sdev" => target.sdev = hex("device", value)?,
                _ => {}
            }
        }
        Ok(target)
    }
}

impl Lock {
    /// `1: POSIX  ADVISORY  WRITE 1234 fe:00:99 0 EOF`. `->` before the kind marks a waiting request.
    fn parse(value: &[u8]) -> Parsed<Lock> {
        let missing = || unexpected("lock", value);
        let parts: Vec<&[u8]> = words(value).collect();
        let &[_, kind, how, mode, pid, file, start, last, ..] = &parts[..] else {
            return Err(missing());
        };
        let colon = file.iter().rposition(|&byte| byte == b':').ok_or_else(missing)?;
        Ok(Lock {
            kind: match kind {
                b"POSIX" => LockKind::Posix,
                b"OFDLCK" => LockKind::OpenFile,
                b"FLOCK" => LockKind::Flock,
                b"LEASE" => LockKind::Lease,
                _ => LockKind::Other,
            },
            mode: match mode {
                b"READ" => LockMode::Read,
                b"WRITE" => LockMode::Write,
                _ => LockMode::Unlock,
            },
            breaking: how == b"BREAKING",
            pid: decimal("owner", pid)?,
            dev: device("device", &file[..colon])?,
            ino: decimal("inode", &file[colon + 1..])?,
            start: decimal("first byte", start)?,
            last: if last == b"EOF" {
                None
            } else {
                Some(decimal("last byte", last)?)
            },
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use super::*;
    use crate::proc::Pid;
    use proptest::prelude::*;
    use rustix::event::{EventfdFlags, epoll, eventfd};
    use rustix::fd::AsRawFd;

    const TEXT: &[u8] = b"pos:\t42\nflags:\t02100002\nmnt_id:\t30\nino:\t9\n\
lock:\t1: POSIX  ADVISORY  WRITE 1234 fe:00:99 5 9\nlock:\t2: OFDLCK ADVISORY  READ -1 fe:00:99 0 EOF\n\
eventfd-count:               1f\neventfd-id: 3\neventfd-semaphore: 1\n\
tfd:        8 events:       19 data: ffffffffffffffff  pos:0 ino:61af sdev:7\n\
clockid: 1\nticks: 2\nsettime flags: 03\nit_value: (4, 999)\nit_interval: (1, 0)\n\
sigmask:\t0000000000000201\nPid:\t5\nNSpid:\t5\t1\ninotify wd:1 ino:2 sdev:3\n";

    #[test]
    fn lines_become_fields() {
        let info = FdInfo::parse(TEXT).unwrap();
        assert_eq!(
            (info.pos, info.flags, info.mnt_id, info.ino),
            (42, 0o2_100_002, 30, Some(9))
        );
        assert_eq!(
            info.eventfd,
            Some(Eventfd {
                count: 31,
                semaphore: Some(true)
            })
        );
        let target = EpollTarget {
            fd: 8,
            events: 0x19,
            data: u64::MAX,
            ino: 0x61af,
            sdev: 7,
        };
        assert_eq!(info.epoll, [target]);
        let timer = info.timerfd.unwrap();
        assert_eq!((timer.clock, timer.ticks, timer.settime_flags), (1, 2, 3));
        assert_eq!(
            (timer.value, timer.interval),
            (Duration::new(4, 999), Duration::from_secs(1))
        );
        assert_eq!(
            (info.sigmask, info.pidfd.unwrap().ns_pids),
            (Some(0x201), vec![5, 1])
        );
        let [posix, ofd] = info.locks[..] else { panic!() };
        assert_eq!(
            (posix.kind, posix.mode, posix.pid),
            (LockKind::Posix, LockMode::Write, 1234)
        );
        assert_eq!(
            (posix.dev, posix.ino, posix.start, posix.last),
            (0xfe00, 99, 5, Some(9))
        );
        assert_eq!(
            (ofd.kind, ofd.mode, ofd.last),
            (LockKind::OpenFile, LockMode::Read, None)
        );
        assert_eq!(info.extra, [&b"eventfd-id: 3"[..], b"inotify wd:1 ino:2 sdev:3"]);
    }

    #[test]
    fn own_descriptors_are_described() {
        let counter = eventfd(77, EventfdFlags::SEMAPHORE | EventfdFlags::CLOEXEC).unwrap();
        let info = FdInfo::read(Pid::own(), counter.as_raw_fd()).unwrap();
        assert_eq!(info.eventfd.unwrap().count, 77);
        assert_ne!(info.flags & libc::O_CLOEXEC as u32, 0);
        let set = epoll::create(epoll::CreateFlags::empty()).unwrap();
        epoll::add(
            &set,
            &counter,
            epoll::EventData::new_u64(5),
            epoll::EventFlags::IN,
        )
        .unwrap();
        let [target] = FdInfo::read(Pid::own(), set.as_raw_fd()).unwrap().epoll[..] else {
            panic!()
        };
        assert_eq!(
            (target.fd, target.data, target.events & 1),
            (counter.as_raw_fd(), 5, 1)
        );
        assert!(FdInfo::read(Pid::own(), i32::MAX).unwrap_err().is_gone());
    }

    #[test]
    fn own_locks_are_described() {
        let file = tempfile::tempfile().unwrap();
        rustix::fs::flock(&file, rustix::fs::FlockOperation::LockExclusive).unwrap();
        let info = FdInfo::read(Pid::own(), file.as_raw_fd()).unwrap();
        let [lock] = info.locks[..] else {
            panic!("{info:?}")
        };
        assert_eq!((lock.kind, lock.mode), (LockKind::Flock, LockMode::Write));
        assert_eq!(Some(lock.ino), info.ino);
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes: Vec<u8>, at in 0..TEXT.len(), byte: u8) {
            let _ = FdInfo::parse(&bytes);
            let mut text = TEXT.to_vec();
            text[at] = byte;
            let _ = FdInfo::parse(&text);
            let _ = FdInfo::parse(&text[at..]);
        }
    }
}
