//! inotify instances (inotify(7)).
//!
//! What is watched is an inode. The kernel shows its number, its device and its file handle, but an ordinary user may
//! not open a file handle (open_by_handle_at(2)): so the path is searched, first where the computation is at home, and
//! not for ever. Whether a path leads to the inode is seen by watching it in an instance of our own.
//!
//! Events that the program has not read yet cannot be looked at without taking them away. They are left to it, and
//! after a restart it reads instead what the kernel says when it had to drop events (IN_Q_OVERFLOW).

use super::descriptor::Seen;
use super::file::path_of;
use crate::Result;
use crate::error::{Context, Error};
use crate::restart::Places;
use rethaw_image::record::{DescriptionKind, InotifyV1, InotifyWatchV1};
use rethaw_sys::proc::{FdInfo, Pid};
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use rustix::fs::{MemfdFlags, Mode, OFlags};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirEntryExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// What /proc/PID/fdinfo shows of the inode that is watched.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Watched {
    ino: u64,
    device: u64,
    handle: Vec<u8>,
}

/// One line of /proc/PID/fdinfo.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Line {
    wd: i32,
    mask: u32,
    watched: Watched,
}

impl Line {
    /// `inotify wd:1 ino:98e810 sdev:fe00000 mask:fff ignored_mask:0 fhandle-bytes:8 fhandle-type:1 f_handle:10e8…`
    fn parse(line: &[u8]) -> Option<Line> {
        let text = std::str::from_utf8(line).ok()?.strip_prefix("inotify ")?;
        let field = |name: &str| {
            text.split(' ')
                .find_map(|part| part.strip_prefix(name)?.strip_prefix(':'))
        };
        let number = |name: &str| u64::from_str_radix(field(name)?, 16).ok();
        Some(Line {
            wd: i32::try_from(number("wd")?).ok()?,
            mask: u32::try_from(number("mask")?).ok()?,
            watched: Watched {
                ino: number("ino")?,
                device: number("sdev")?,
                handle: field("f_handle").unwrap_or_default().into(),
            },
        })
    }

    /// Nothing if one of them is not understood.
    fn all(info: &FdInfo) -> Option<Vec<Line>> {
        let lines = info.extra.iter().filter(|line| line.starts_with(b"inotify"));
        lines.map(|line| Line::parse(line)).collect()
    }
}

pub(crate) const TARGET: &[u8] = b"anon_inode:inotify";

/// Where watched files were found.
#[derive(Debug, Default)]
pub(crate) struct Found {
    paths: BTreeMap<Watched, PathBuf>,
    /// Files without a name, by the description that is of them.
    descriptions: BTreeMap<Watched, u32>,
}

/// How long is searched, while the program stands still.
const LONGEST: Duration = Duration::from_secs(2);
/// Folders that are no home of files.
const NO_FILES: [&str; 3] = ["/proc", "/sys", "/dev"];

impl Found {
    /// Searches all that any instance watches. `folders` are the current ones of the processes.
    pub fn search(all: &[Seen], folders: &BTreeSet<PathBuf>) -> Found {
        let instances = all
            .iter()
            .filter(|seen| seen.target.as_os_str().as_bytes() == TARGET);
        let mut wanted: BTreeSet<Watched> = instances
            .filter_map(|seen| Line::all(&seen.info))
            .flatten()
            .map(|line| line.watched)
            .collect();
        let mut found = Found::default();
        if wanted.is_empty() {
            return found;
        }
        found.among_open(all, &mut wanted);
        let open = all
            .iter()
            .map(|seen| seen.path())
            .filter(|path| path.is_absolute());
        let known: BTreeSet<&Path> = folders.iter().map(PathBuf::as_path).chain(open).collect();
        let near: BTreeSet<&Path> = known.iter().flat_map(|path| path.ancestors()).collect();
        for path in &near {
            found.try_path(path, None, &mut wanted);
        }
        let mut roots: Vec<PathBuf> = folders.iter().cloned().collect();
        roots.extend(known.iter().filter_map(|path| Some(path.parent()?.to_owned())));
        roots.extend(["/tmp", "/etc", "/run", "/var", "/home", "/"].map(PathBuf::from));
        // Small folders before those that hold them: a current folder may be the root.
        roots.sort_by_key(|path| Reverse(path.components().count()));
        found.walk(roots, &mut wanted);
        found
    }

    /// Files that were deleted are found only where they are open.
    fn among_open(&mut self, all: &[Seen], wanted: &mut BTreeSet<Watched>) {
        for (id, seen) in (1..).zip(all) {
            let Some(ino) = seen.info.ino.filter(|ino| wanted.iter().any(|w| w.ino == *ino)) else {
                continue;
            };
            let nameless = rustix::fs::fstat(&seen.duplicate).is_ok_and(|stat| stat.st_nlink == 0);
            let path = PathBuf::from(format!("/proc/self/fd/{}", seen.duplicate.as_raw_fd()));
            if nameless && let Some(watched) = same(&path, ino, true, wanted) {
                wanted.remove(&watched);
                self.descriptions.insert(watched, id);
            }
        }
    }

    fn try_path(&mut self, path: &Path, ino: Option<u64>, wanted: &mut BTreeSet<Watched>) {
        let ino = ino.or_else(|| Some(fs::symlink_metadata(path).ok()?.ino()));
        if let Some(ino) = ino.filter(|ino| wanted.iter().any(|watched| watched.ino == *ino))
            && let Some(watched) = same(path, ino, false, wanted)
        {
            wanted.remove(&watched);
            self.paths.insert(watched, path.to_owned());
        }
    }

    /// Breadth first, each folder once.
    fn walk(&mut self, roots: Vec<PathBuf>, wanted: &mut BTreeSet<Watched>) {
        let end = Instant::now() + LONGEST;
        let mut seen = BTreeSet::new();
        for root in roots {
            let mut waiting = VecDeque::from([root]);
            while let Some(folder) = waiting.pop_front() {
                if wanted.is_empty() || Instant::now() > end {
                    return;
                }
                if NO_FILES.iter().any(|no| folder == Path::new(no)) || !seen.insert(folder.clone()) {
                    continue;
                }
                let Ok(entries) = fs::read_dir(&folder) else {
                    continue;
                };
                for entry in entries.flatten() {
                    let path = entry.path();
                    self.try_path(&path, Some(entry.ino()), wanted);
                    if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                        // Where something is mounted, the entry shows what is below.
                        self.try_path(&path, None, wanted);
                        waiting.push_back(path);
                    }
                }
            }
        }
    }
}

/// What of `wanted` a path leads to, if anything.
fn same(path: &Path, ino: u64, follow: bool, wanted: &BTreeSet<Watched>) -> Option<Watched> {
    let scratch = inotify::init(CreateFlags::CLOEXEC).ok()?;
    let mut flags = WatchFlags::ATTRIB;
    flags.set(WatchFlags::DONT_FOLLOW, !follow);
    inotify::add_watch(&scratch, path, flags).ok()?;
    let info = FdInfo::read(Pid::own(), scratch.as_raw_fd()).ok()?;
    let found = Line::all(&info)?.pop()?.watched;
    (found.ino == ino && wanted.contains(&found)).then_some(found)
}

/// What an instance watches.
pub(crate) fn collect(seen: &Seen, found: &Found) -> Result<DescriptionKind> {
    let mut watches = Vec::new();
    let lines = Line::all(&seen.info);
    let lines =
        lines.ok_or_else(|| seen.refused("an inotify instance that the kernel describes in another way"))?;
    for line in lines {
        let path = found.paths.get(&line.watched);
        let description = found.descriptions.get(&line.watched).copied().unwrap_or(0);
        if path.is_none() && description == 0 {
            return Err(seen.refused(&format!(
                "an inotify instance that watches a file whose path was not found (inode {}, watch {})",
                line.watched.ino, line.wd
            )));
        }
        watches.push(InotifyWatchV1 {
            wd: line.wd,
            mask: line.mask,
            path: path
                .map(|path| path.as_os_str().as_bytes().to_vec())
                .unwrap_or_default(),
            description,
        });
    }
    watches.sort_by_key(|watch| watch.wd);
    let queued =
        rustix::io::ioctl_fionread(&seen.duplicate).context(|| format!("cannot look at {}", seen.name()))?;
    Ok(DescriptionKind::Inotify(InotifyV1 {
        watches,
        overflow: queued > 0,
    }))
}

/// An empty instance.
pub(crate) fn make() -> Result<OwnedFd> {
    inotify::init(CreateFlags::CLOEXEC).context(|| "cannot rebuild an inotify instance".to_owned())
}

/// Watches everything again, under the old numbers. `open` tells where in /proc a description is open.
pub(crate) fn rebuild(
    fd: &OwnedFd,
    record: &InotifyV1,
    places: &Places,
    open: impl Fn(u32) -> Option<PathBuf>,
) -> Result<()> {
    for watch in &record.watches {
        let nameless = (watch.description != 0)
            .then(|| open(watch.description))
            .flatten();
        let path = nameless.clone().unwrap_or_else(|| places.path(&watch.path));
        let mut flags = WatchFlags::from_bits_retain(watch.mask);
        flags.set(WatchFlags::DONT_FOLLOW, nameless.is_none());
        rethaw_sys::descriptor::set_next_watch(fd.as_fd(), watch.wd)
            .context(|| "cannot choose the number of an inotify watch".to_owned())?;
        match inotify::add_watch(fd, path.as_path(), flags) {
            Ok(wd) if wd == watch.wd => {}
            Ok(_) => {
                return Err(crate::restart::damaged(
                    "an inotify instance that watches a file twice",
                ));
            }
            Err(e) => {
                return Err(Error::CannotRestart {
                    what: format!(
                        "{} cannot be watched, which the program watches ({e})",
                        path.display()
                    ),
                    remedy: "make it again, or tell where it is now with --map OLD=NEW".to_owned(),
                });
            }
        }
    }
    Ok(())
}

/// Takes away the events of our own work in the last moment before the program runs; says that events were dropped
/// where some were.
pub(crate) fn settle(fd: &OwnedFd, record: &InotifyV1) -> Result<()> {
    let name = || "cannot empty an inotify instance".to_owned();
    take(fd, 0).context(name)?;
    if record.overflow {
        overflow(
            fd,
            record
                .watches
                .last()
                .map_or(1, |watch| watch.wd.saturating_add(1)),
        )
        .context(name)?;
    }
    Ok(())
}

/// Size of an event without a name; the last in the queue is one.
const EVENT: u64 = 16;

/// Reads all events but the last `leave` bytes.
fn take(fd: &OwnedFd, leave: u64) -> io::Result<()> {
    loop {
        let queued = rustix::io::ioctl_fionread(fd)?;
        // An event with a name fits, too.
        let size = queued.saturating_sub(leave).min(1 << 16) as usize;
        if size == 0 {
            return Ok(());
        }
        let mut buffer = vec![0_u8; size];
        rustix::io::read(fd, &mut buffer)?;
    }
}

/// Lets the queue overflow by events of a file of our own, and leaves only the message of it.
fn overflow(fd: &OwnedFd, next: i32) -> io::Result<()> {
    const OURS: i32 = i32::MAX - 1;
    let most = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events")?;
    let most: u64 = most.trim().parse().unwrap_or(1 << 14);
    let memory = rustix::fs::memfd_create("events", MemfdFlags::CLOEXEC)?;
    let path = format!("/proc/self/fd/{}", memory.as_raw_fd());
    // Through a memfd's own description, nothing is notified.
    let file = rustix::fs::open(
        path_of(path.as_bytes()),
        OFlags::RDWR | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    rethaw_sys::descriptor::set_next_watch(fd.as_fd(), OURS)?;
    let wd = inotify::add_watch(fd, path.as_str(), WatchFlags::MODIFY | WatchFlags::ATTRIB)?;
    // Two events of one kind in a row would become one.
    for _ in 0..=most.div_ceil(2) {
        rustix::io::pwrite(&file, b"x", 0)?;
        rustix::fs::fchmod(&file, Mode::RUSR)?;
    }
    inotify::remove_watch(fd, wd)?;
    take(fd, EVENT)?;
    rethaw_sys::descriptor::set_next_watch(fd.as_fd(), next)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_understood() {
        let line = b"inotify wd:1f ino:98e810 sdev:fe00000 mask:fff ignored_mask:0 fhandle-bytes:8 fhandle-type:1 f_handle:10e8";
        let line = Line::parse(line).unwrap();
        assert_eq!((line.wd, line.mask, line.watched.ino), (31, 0xfff, 0x98_e810));
        assert_eq!(
            (line.watched.device, line.watched.handle),
            (0xfe0_0000, b"10e8".to_vec())
        );
        assert_eq!(Line::parse(b"inotify wd:x ino:1"), None);
    }

    #[test]
    fn only_the_overflow_is_left() {
        let fd = inotify::init(CreateFlags::NONBLOCK).unwrap();
        let record = InotifyV1 {
            overflow: true,
            ..InotifyV1::default()
        };
        settle(&fd, &record).unwrap();
        let mut event = [0; 64];
        assert_eq!(rustix::io::read(&fd, &mut event).unwrap() as u64, EVENT);
        assert_eq!(event[..8], [0xff, 0xff, 0xff, 0xff, 0, 0x40, 0, 0]); // wd -1, IN_Q_OVERFLOW
        assert_eq!(inotify::add_watch(&fd, "/", WatchFlags::CREATE).unwrap(), 1);
    }
}
