//! What processes and threads share with each other: clone(2) and unshare(2) can give two processes one descriptor
//! table or one current folder, and a thread a current folder of its own. Only a clone gets such a share, so it comes
//! back where a process shares with its parent. Anything else is refused.

use super::thread::ContextProc;
use crate::Result;
use crate::checkpoint::refusals::Refusals;
use crate::error::{Context, Error};
use rethaw_image::record::{PathFolderV1, ProcessV1};
use rethaw_sys::proc::{self, Pid, Tid};
use rethaw_sys::task::{self, Resource};
use std::cmp::Ordering;
use std::os::unix::ffi::OsStrExt;

/// Notes which processes share descriptors or folders. `processes` are frozen, each with all its threads; `records` are
/// theirs, with their parents.
pub(crate) fn collect(
    processes: &[(Pid, Vec<Tid>)],
    records: &mut [ProcessV1],
    refusals: &Refusals,
) -> Result<()> {
    for (pid, threads) in processes {
        refusals.pass(refuse_unusual_threads(*pid, threads))?;
    }
    let leaders: Vec<Tid> = processes.iter().map(|(pid, _)| pid.leader()).collect();
    for (index, first) in first_alike(&leaders, Resource::Memory)?.into_iter().enumerate() {
        if first != index {
            let what = "a process that shares its memory with another process (vfork or clone)";
            let remedy = "try again, when the one has executed its program, or run the program without it";
            refusals.note(refused(processes[index].0, what, processes[first].0, remedy))?;
        }
    }
    for (resource, what) in [
        (Resource::Descriptors, "its descriptors"),
        (Resource::Folders, "its current folder"),
    ] {
        let sorts = first_alike(&leaders, resource)?;
        for (index, first) in sorts
            .iter()
            .copied()
            .enumerate()
            .filter(|(index, first)| index != first)
        {
            let parent = records
                .iter()
                .position(|record| record.pid == records[index].ppid);
            if parent.is_none_or(|parent| sorts[parent] != first) {
                let what = format!(
                    "a process that shares {what} with another process that is not its parent (clone)"
                );
                let remedy = "run the program without it";
                refusals.note(refused(processes[index].0, &what, processes[first].0, remedy))?;
                continue;
            }
            let of = records[first].pid;
            match resource {
                Resource::Descriptors => records[index].descriptors_of = of,
                _ => records[index].folders_of = of,
            }
        }
    }
    Ok(())
}

/// Folder and umask of a thread, if it has its own.
pub(crate) fn own_folders(pid: Pid, tid: Tid) -> Result<Option<(PathFolderV1, u32)>> {
    if tid == pid.leader() || compare(pid.leader(), tid, Resource::Folders)? == Ordering::Equal {
        return Ok(None);
    }
    let path = |path: proc::Result<std::path::PathBuf>| -> Result<Vec<u8>> {
        Ok(path.context_proc()?.as_os_str().as_bytes().to_vec())
    };
    let folders = PathFolderV1 {
        cwd: path(proc::cwd((pid, tid)))?,
        root: path(proc::root((pid, tid)))?,
    };
    let status = proc::Status::read((pid, tid)).context_proc()?;
    Ok(Some((folders, status.umask.unwrap_or(0o022))))
}

/// Flags with which `child` is to be cloned by `maker`.
pub(crate) fn clone_flags(child: &ProcessV1, maker: Option<&ProcessV1>) -> Result<u64> {
    let mut flags = 0;
    let shares = [
        (
            child.descriptors_of,
            maker.map(|maker| maker.descriptors_of),
            libc::CLONE_FILES,
        ),
        (
            child.folders_of,
            maker.map(|maker| maker.folders_of),
            libc::CLONE_FS,
        ),
    ];
    for (of, makers, flag) in shares.into_iter().filter(|(of, ..)| *of != 0) {
        if makers != Some(of) && maker.map(|maker| maker.pid) != Some(of) {
            return Err(crate::restart::damaged(
                "a process that shares with one that cannot make it",
            ));
        }
        flags |= flag as u64;
    }
    Ok(flags)
}

fn refuse_unusual_threads(pid: Pid, threads: &[Tid]) -> Result<()> {
    let mut apart: Vec<Tid> = Vec::new();
    for tid in threads.iter().copied().filter(|tid| *tid != pid.leader()) {
        for (resource, what) in [
            (Resource::Memory, "memory"),
            (Resource::Descriptors, "descriptors"),
        ] {
            if compare(pid.leader(), tid, resource)? != Ordering::Equal {
                return Err(refused_thread(
                    pid,
                    tid,
                    &format!("a thread with {what} of its own (unshare)"),
                ));
            }
        }
        if compare(pid.leader(), tid, Resource::Folders)? != Ordering::Equal {
            for other in &apart {
                if compare(*other, tid, Resource::Folders)? == Ordering::Equal {
                    let what =
                        "two threads that share a current folder that the others do not have (unshare)";
                    return Err(refused_thread(pid, tid, what));
                }
            }
            apart.push(tid);
        }
    }
    Ok(())
}

fn refused_thread(pid: Pid, tid: Tid, what: &str) -> Error {
    Error::Refused {
        what: what.to_owned(),
        pid: pid.0,
        place: format!("thread {tid}"),
        remedy: "run the program without it".to_owned(),
    }
}

fn refused(pid: Pid, what: &str, with: Pid, remedy: &str) -> Error {
    Error::Refused {
        what: what.to_owned(),
        pid: pid.0,
        place: format!("shared with process {with}"),
        remedy: remedy.to_owned(),
    }
}

/// For each thread the index of the first one that shares the resource with it.
fn first_alike(threads: &[Tid], resource: Resource) -> Result<Vec<usize>> {
    // One of each sort, in the kernel's order.
    let mut sorts: Vec<usize> = Vec::new();
    let mut first = Vec::new();
    for (index, tid) in threads.iter().enumerate() {
        let (mut low, mut high) = (0, sorts.len());
        let mut found = None;
        while low < high && found.is_none() {
            let middle = usize::midpoint(low, high);
            match compare(threads[sorts[middle]], *tid, resource)? {
                Ordering::Less => low = middle + 1,
                Ordering::Greater => high = middle,
                Ordering::Equal => found = Some(sorts[middle]),
            }
        }
        if found.is_none() {
            sorts.insert(low, index);
        }
        first.push(found.unwrap_or(index));
    }
    Ok(first)
}

fn compare(a: Tid, b: Tid, resource: Resource) -> Result<Ordering> {
    task::compare_resource(a, b, resource).context(|| format!("cannot compare process {a} with {b} (kcmp)"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::process::{Child, Command, Stdio};
    use std::sync::mpsc::channel;

    fn process(pid: i32, ppid: i32) -> ProcessV1 {
        ProcessV1 {
            pid,
            ppid,
            ..ProcessV1::default()
        }
    }

    fn child() -> (Child, Pid) {
        let child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        let pid = Pid(child.id().cast_signed());
        (child, pid)
    }

    #[test]
    fn ordinary_threads_and_processes_share_as_they_should() {
        let (say, hear) = channel();
        let (end, wait) = channel::<()>();
        let thread = std::thread::spawn(move || {
            say.send(Tid(rustix::thread::gettid().as_raw_nonzero().get()))
                .unwrap();
            let _ = wait.recv();
        });
        let (mut child, other) = child();
        let own = Pid::own();
        let mut records = [process(1, 0), process(2, 1)];
        let outcome = collect(
            &[
                (own, vec![own.leader(), hear.recv().unwrap()]),
                (other, vec![other.leader()]),
            ],
            &mut records,
            &Refusals::default(),
        );
        drop((end, child.stdin.take()));
        child.wait().unwrap();
        thread.join().unwrap();
        outcome.unwrap();
        assert_eq!(records, [process(1, 0), process(2, 1)]);
    }

    #[test]
    fn what_is_shared_or_not_where_it_should_is_refused() {
        let (mut child, other) = child();
        let own = Pid::own();
        // A child as a thread, and this process as two.
        let first = &Refusals::default();
        let apart = collect(
            &[(own, vec![own.leader(), other.leader()])],
            &mut [process(1, 0)],
            first,
        );
        let together = collect(
            &[(own, vec![own.leader()]), (own, vec![own.leader()])],
            &mut [process(1, 0), process(2, 1)],
            first,
        );
        drop(child.stdin.take());
        child.wait().unwrap();
        assert!(matches!(apart, Err(Error::Refused { .. })));
        assert!(matches!(together, Err(Error::Refused { .. })));
    }

    #[test]
    fn a_share_comes_from_the_maker() {
        let mut parent = process(1, 0);
        let mut child = process(2, 1);
        assert_eq!(clone_flags(&child, Some(&parent)).unwrap(), 0);
        child.descriptors_of = 1;
        assert_eq!(
            clone_flags(&child, Some(&parent)).unwrap(),
            libc::CLONE_FILES as u64
        );
        (parent.pid, parent.descriptors_of) = (5, 1);
        child.folders_of = 5;
        let both = (libc::CLONE_FILES | libc::CLONE_FS) as u64;
        assert_eq!(clone_flags(&child, Some(&parent)).unwrap(), both);
        parent.descriptors_of = 7;
        assert!(clone_flags(&child, Some(&parent)).is_err());
        assert!(clone_flags(&child, None).is_err());
    }
}
