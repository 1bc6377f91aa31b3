//! Files and folders of /proc. They are opened inside, where processes have their old numbers.

use super::{is_deleted, path_of, undeleted};
use crate::Result;
use crate::error::{Context, Error};
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
    let stat = fstat(&seen.duplicate).context(|| format!("cannot look at {}", seen.name()))?;
    let Ok(path) = undeleted(seen.path()).strip_prefix("/proc") else {
        return collect_namespace(seen, stat.st_ino);
    };
    let record = match number_in(path) {
        Some(_) => about(seen.path(), stat.st_dev, seen.pid, members),
        None => Some(ProcFileV1 {
            path: path.as_os_str().as_bytes().to_vec(),
            ..ProcFileV1::default()
        }),
    };
    let record =
        record.ok_or_else(|| seen.refused("a file of /proc about a process outside of the computation"))?;
    if !record.ended {
        refuse_threads(seen, &record)?;
    }
    Ok(DescriptionKind::Proc(ProcFileV1 {
        offset: seen.info.pos,
        ..record
    }))
}

/// The process that a path below /proc tells of.
fn number_in(path: &Path) -> Option<i32> {
    path.components().next()?.as_os_str().to_str()?.parse().ok()
}

/// What a path that the kernel shows of a file on `device` tells of: a process of the computation, one that has ended,
/// or the init, which each pid namespace has its own of. Nothing for another process outside.
pub(crate) fn about(shown: &Path, device: u64, viewer: Pid, members: &BTreeSet<Pid>) -> Option<ProcFileV1> {
    const INIT: i32 = 1;
    let path = undeleted(shown).strip_prefix("/proc").ok()?;
    let number = number_in(path)?;
    // Its own /proc, of a program in a pid namespace, has the numbers from inside.
    let outside = fs::metadata("/proc").is_ok_and(|m| m.dev() == device);
    let inside = members
        .iter()
        .find_map(|member| number_inside(*member, number, outside));
    let there = || Path::new(&format!("/proc/{viewer}/root/proc/{number}")).exists();
    let ended = inside.is_none() && (is_deleted(shown) || !there());
    if inside.is_none() && !ended && number != INIT {
        return None;
    }
    let rest: PathBuf = path.components().skip(1).collect();
    Some(ProcFileV1 {
        pid: inside.unwrap_or(number),
        path: rest.as_os_str().as_bytes().to_vec(),
        ended,
        offset: 0,
    })
}

/// The current folder of a process, if it tells of one.
pub(crate) fn current(
    pid: Pid,
    shown: &Path,
    folder: impl AsFd,
    members: &BTreeSet<Pid>,
) -> Result<Option<ProcFileV1>> {
    let below_process = |path: &Path| path.strip_prefix("/proc").ok().and_then(number_in).is_some();
    if !is_proc(&folder) || !below_process(undeleted(shown)) {
        return Ok(None);
    }
    let stat = fstat(&folder).context(|| format!("cannot look at the current folder of process {pid}"))?;
    match about(shown, stat.st_dev, pid, members) {
        Some(record) => Ok(Some(record)),
        None => Err(Error::Refused {
            what: format!(
                "a current folder of /proc about a process outside of the computation ({})",
                shown.display()
            ),
            pid: pid.0,
            place: "current folder".to_owned(),
            remedy: "take the checkpoint while the program is in another folder".to_owned(),
        }),
    }
}

/// Makes such a folder the current one of a process that is being rebuilt.
pub(crate) fn enter(stub: &mut Stub, number: i32, of: &ProcFileV1) -> Result<()> {
    let rest = path_of(&of.path);
    let enter = |stub: &mut Stub, pid: i32| {
        let path = PathBuf::from(format!("/proc/{pid}")).join(&rest);
        let name = || format!("cannot enter {} in process {number}", path.display());
        let mut remote = stub.remote()?;
        let address = remote
            .put(0, &[path.as_os_str().as_bytes(), &[0]].concat())
            .context(name)?;
        let outcome = remote.must(libc::SYS_chdir, [address, 0, 0, 0, 0, 0]);
        outcome.map(drop).context(name)
    };
    match of.ended {
        true => stub.with_ended_process(of.pid, enter),
        false => enter(stub, of.pid),
    }
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
