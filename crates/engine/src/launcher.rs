//! Descriptors that a program has from its launcher: stdin, stdout and stderr, and whatever else was open there.
//! After a restart they are bound to the restarting launcher's.

use rethaw_sys::proc::{self, FdInfo, Pid};
use rethaw_sys::task;
use rustix::fs::{FileType, fstat};
use std::os::fd::{AsFd, OwnedFd};

/// A descriptor of the launcher that its children inherit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Inherited {
    /// Its number there, and at first in the program.
    pub fd: i32,
    /// Device of the file.
    pub dev: u64,
    /// Inode of the file.
    pub ino: u64,
}

/// What children of this process inherit. To be asked before anything is launched.
pub fn inherited() -> Vec<Inherited> {
    let fds = proc::fds(Pid::own()).unwrap_or_default();
    let passed_on =
        |fd: i32| FdInfo::read(Pid::own(), fd).is_ok_and(|i| i.flags & libc::O_CLOEXEC as u32 == 0);
    let numbers = fds.into_iter().map(|fd| fd.number).filter(|fd| passed_on(*fd));
    numbers
        .filter_map(|fd| identify(fd, rethaw_sys::descriptor::duplicate_own(fd).ok()?))
        .collect()
}

/// What a running process, of whose launcher nothing is known, will have had from it: terminals, pipes and
/// sockets at its standard descriptors. A regular file stays what it is.
pub fn likely_inherited(pid: i32) -> Vec<Inherited> {
    let Ok(pidfd) = task::pidfd_open(Pid(pid)) else {
        return Vec::new();
    };
    let standard = (0..3).filter_map(|fd| Some((fd, task::pidfd_getfd(pidfd.as_fd(), fd).ok()?)));
    let fleeting = standard.filter(|(_, file)| file_type(file) != Some(FileType::RegularFile));
    fleeting.filter_map(|(fd, file)| identify(fd, file)).collect()
}

fn identify(fd: i32, file: OwnedFd) -> Option<Inherited> {
    let stat = fstat(&file).ok()?;
    Some(Inherited {
        fd,
        dev: stat.st_dev,
        ino: stat.st_ino,
    })
}

fn file_type(file: &OwnedFd) -> Option<FileType> {
    fstat(file).ok().map(|stat| FileType::from_raw_mode(stat.st_mode))
}

/// The launcher's descriptor that a description of the program is, if it is one. `at` is where the program has
/// it.
pub(crate) fn slot(at: (Pid, i32), file: &OwnedFd, flags: u32, known: &[Inherited]) -> Option<u32> {
    let stat = fstat(file).ok()?;
    let same_file: Vec<i32> = known
        .iter()
        .filter(|k| (k.dev, k.ino) == (stat.st_dev, stat.st_ino))
        .map(|k| k.fd)
        .collect();
    let slot = match FileType::from_raw_mode(stat.st_mode) {
        // The program may have opened the same terminal, or the other end of the same pipe, itself.
        FileType::CharacterDevice if rustix::termios::isatty(file) => closest(&same_file, at.1),
        FileType::Fifo | FileType::Socket => {
            let fitting: Vec<i32> = same_file
                .into_iter()
                .filter(|fd| same_access(*fd, flags))
                .collect();
            closest(&fitting, at.1)
        }
        // A description of its own has an offset of its own.
        _ => closest(&same_file, at.1).filter(|slot| is_same_description(*slot, at)),
    };
    slot.map(|slot| slot.cast_unsigned())
}

/// The number that the program uses itself, if it is among them: on a terminal all three are one file.
fn closest(slots: &[i32], fd: i32) -> Option<i32> {
    slots.iter().find(|slot| **slot == fd).or(slots.first()).copied()
}

fn same_access(slot: i32, flags: u32) -> bool {
    let mode = |flags: u32| flags & libc::O_ACCMODE as u32;
    FdInfo::read(Pid::own(), slot).map_or(true, |info| mode(info.flags) == mode(flags))
}

/// Also true where this process is not the launcher, so that there is nothing to compare with, but the program
/// has it where the launcher had it.
fn is_same_description(slot: i32, at: (Pid, i32)) -> bool {
    task::same_description((Pid::own(), slot), at).unwrap_or(false)
        || (slot == at.1 && slot < 3 && !launched_by_us(at.0))
}

fn launched_by_us(pid: Pid) -> bool {
    proc::Stat::read(pid).is_ok_and(|stat| stat.ppid == Pid::own())
}
