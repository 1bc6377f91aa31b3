//! Who descends from whom.

use std::path::Path;

use super::parse::decimals;
use super::{Error, Pid, Result, Stat, Subject, Tid};

/// The threads of a process, ascending.
pub fn tasks(pid: Pid) -> Result<Vec<Tid>> {
    Ok(super::numbers(&pid.folder().join("task"))?
        .into_iter()
        .map(Tid)
        .collect())
}

/// All processes in the reader's pid namespace that the reader may see (hidepid), ascending.
pub fn processes() -> Result<Vec<Pid>> {
    Ok(super::numbers(Path::new("/proc"))?.into_iter().map(Pid).collect())
}

/// The children of a process, ascending, zombies included.
///
/// Read from `/proc/PID/task/*/children` (CONFIG_PROC_CHILDREN), else by asking every process for its parent.
/// Exact only when the process and its children are frozen: proc_tid_children(5) may omit some when others end
/// meanwhile.
pub fn children(pid: Pid) -> Result<Vec<Pid>> {
    let mut found = Vec::new();
    for tid in tasks(pid)? {
        match listed(pid, tid) {
            Ok(children) => found.extend(children),
            Err(error) if error.is_gone() && (pid, tid).folder().exists() => return by_parent(pid),
            Err(error) if error.is_gone() => {}
            Err(error) => return Err(error),
        }
    }
    found.sort_unstable();
    Ok(found)
}

fn listed(pid: Pid, tid: Tid) -> Result<Vec<Pid>> {
    let numbers = super::parsed((pid, tid), "children", |text| decimals("children", text))?;
    Ok(numbers.into_iter().map(Pid).collect())
}

fn by_parent(parent: Pid) -> Result<Vec<Pid>> {
    let mut found = Vec::new();
    for pid in processes()? {
        match Stat::read(pid) {
            Ok(stat) if stat.ppid == parent => found.push(pid),
            Ok(_) => {}
            Err(Error::Read { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn a_child_is_found_both_ways() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let pid = Pid(child.id() as i32);
        let (listed, scanned) = (children(Pid::own()).unwrap(), by_parent(Pid::own()).unwrap());
        assert!(processes().unwrap().contains(&pid));
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(listed.contains(&pid) && scanned.contains(&pid));
        assert!(children(pid).unwrap_err().is_gone());
    }

    #[test]
    fn own_threads_are_found() {
        let own = std::thread::spawn(|| rustix::thread::gettid().as_raw_nonzero().get());
        assert!(tasks(Pid::own()).unwrap().contains(&Pid::own().leader()));
        own.join().unwrap();
    }
}
