//! Files and folders of /proc. They are opened inside, where processes have their old numbers.

use super::{is_deleted, path_of, undeleted};
use crate::Result;
use crate::error::Context;
use crate::resource::descriptor::Seen;
use crate::restart::Stub;
use rethaw_image::record::{DescriptionKind, DescriptionV1, ProcFileV1};
use rethaw_sys::proc::{self, Pid};
use rustix::fs::{OFlags, fstat, fstatfs};
use std::collections::BTreeSet;
use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

const PROC: i64 = 0x9fa0;

/// Whether a description is of /proc, or of a namespace (`/proc/PID/ns/…`), statfs(2).
pub(crate) fn is_of(seen: &Seen) -> bool {
    const NAMESPACES: i64 = 0x6e73_6673;
    fstatfs(&seen.duplicate).is_ok_and(|fs| [PROC, NAMESPACES].contains(&fs.f_type))
}

/// Whether a folder is of /proc.
pub(crate) fn is_proc(folder: impl AsFd) -> bool {
    fstatfs(folder).is_ok_and(|fs| fs.f_type == PROC)
}

/// What it tells of, among the processes of the computation.
pub(crate) fn collect(seen: &Seen, members: &BTreeSet<Pid>) -> Result<DescriptionKind> {
    let name = || format!("cannot look at {}", seen.name());
    let stat = fstat(&seen.duplicate).context(name)?;
    let Ok(path) = undeleted(seen.path()).strip_prefix("/proc") else {
        return collect_namespace(seen, stat.st_ino);
    };
    let mut parts = path.components();
    let number = parts
        .clone()
        .next()
        .and_then(|part| part.as_os_str().to_str()?.parse::<i32>().ok());
    let mut record = ProcFileV1 {
        offset: seen.info.pos,
        ..ProcFileV1::default()
    };
    let Some(number) = number else {
        record.path = path.as_os_str().as_bytes().to_vec();
        return Ok(DescriptionKind::Proc(record));
    };
    parts.next();
    record.path = parts.as_path().as_os_str().as_bytes().to_vec();
    // Its own /proc, of a program in a pid namespace, has the numbers from inside.
    let outside = fs::metadata("/proc").is_ok_and(|m| m.dev() == stat.st_dev);
    let inside = members
        .iter()
        .find_map(|member| number_inside(*member, number, outside));
    if let Some(pid) = inside {
        record.pid = pid;
        refuse_threads(seen, &record)?;
        return Ok(DescriptionKind::Proc(record));
    }
    let process = format!("/proc/{}/root/proc/{number}", seen.pid);
    if is_deleted(seen.path()) || !Path::new(&process).exists() {
        record.pid = number;
        record.ended = true;
        return Ok(DescriptionKind::Proc(record));
    }
    Err(seen.refused("a file of /proc about a process outside of the computation"))
}

/// The number inside, if it is this process that /proc shows under `number`.
fn number_inside(member: Pid, number: i32, outside: bool) -> Option<i32> {
    let inside = proc::Status::read(member).ok()?.ns_pids.last().copied()?;
    (if outside { member.0 } else { inside } == number).then_some(inside)
}

/// Descriptors are rebuilt before the threads are.
fn refuse_threads(seen: &Seen, record: &ProcFileV1) -> Result<()> {
    let mut parts = Path::new(std::ffi::OsStr::from_bytes(&record.path)).components();
    let task = parts.next().is_some_and(|part| part.as_os_str() == "task");
    let thread = parts
        .next()
        .and_then(|part| part.as_os_str().to_str()?.parse::<i32>().ok());
    match thread {
        Some(tid) if task && tid != record.pid => Err(seen.refused("a file of /proc about a single thread")),
        _ => Ok(()),
    }
}

/// A namespace that the process itself is in; the restarted process is in another one of that kind.
fn collect_namespace(seen: &Seen, ino: u64) -> Result<DescriptionKind> {
    let own = fs::read_dir(format!("/proc/{}/ns", seen.pid))
        .into_iter()
        .flatten()
        .flatten();
    let own: Vec<PathBuf> = own.map(|entry| entry.path()).collect();
    let found = own
        .iter()
        .find(|path| fs::metadata(path).is_ok_and(|m| m.ino() == ino));
    let pid = proc::Status::read(seen.pid)
        .ok()
        .and_then(|s| s.ns_pids.last().copied());
    match (found.and_then(|path| path.file_name()), pid) {
        (Some(kind), Some(pid)) => Ok(DescriptionKind::Proc(ProcFileV1 {
            pid,
            path: [b"ns/", kind.as_bytes()].concat(),
            ..ProcFileV1::default()
        })),
        _ => Err(seen.refused("a namespace that the process is not in")),
    }
}

/// Opens it in a process that is being rebuilt.
pub(crate) fn open(record: &DescriptionV1, of: &ProcFileV1, stub: &mut Stub) -> Result<OwnedFd> {
    let flags = (OFlags::from_bits_retain(record.flags) - super::ONCE) | OFlags::CLOEXEC;
    let rest = path_of(&of.path);
    let open = |stub: &mut Stub, pid: i32| {
        let folder = match pid {
            0 => PathBuf::from("/proc"),
            pid => PathBuf::from(format!("/proc/{pid}")),
        };
        let path = match rest.as_os_str().is_empty() {
            true => folder,
            false => folder.join(&rest),
        };
        stub.open_for_us(&path, flags.bits() as i32)
            .context(|| format!("cannot open {}", path.display()))
    };
    let fd = if of.ended {
        stub.with_ended_process(of.pid, open)?
    } else {
        open(stub, of.pid)?
    };
    super::seek_to(&fd, flags, of.offset)
        .context(|| format!("cannot read on in /proc/{}", rest.display()))?;
    Ok(fd)
}
