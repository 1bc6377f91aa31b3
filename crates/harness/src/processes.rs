//! Processes that a test started, found by the tag in their environment and by descent.

use rustix::process::{Pid, Signal};
use std::collections::{HashMap, HashSet};
use std::fs;

/// Name of the variable that marks everything that a test starts.
pub const TAG: &str = "RETHAW_TEST_TAG";

/// A process, as /proc tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// Its number here, outside of any namespace that rethaw made.
    pub pid: i32,
    /// Its parent's number.
    pub parent: i32,
    /// State letter: `R`, `S`, `Z` …
    pub state: char,
    /// Something of it runs, if only threads that are not its first.
    pub lives: bool,
    /// Its name (comm).
    pub name: String,
}

/// Reads `/proc/PID/stat`; nothing when the process is gone.
pub fn read(pid: i32) -> Option<Process> {
    let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
    let stat = String::from_utf8_lossy(&stat);
    let (head, tail) = stat.rsplit_once(')')?;
    let mut fields = tail.split_whitespace();
    let state = fields.next()?.chars().next()?;
    let parent = fields.next()?.parse().ok()?;
    let threads: u32 = fields.nth(15)?.parse().ok()?;
    let name = head.split_once('(')?.1.to_string();
    Some(Process {
        pid,
        parent,
        lives: state != 'Z' || threads > 1,
        state,
        name,
    })
}

fn all() -> Vec<Process> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return vec![];
    };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter_map(read)
        .collect()
}

fn has_tag(pid: i32, tag: &str) -> bool {
    let wanted = format!("{TAG}={tag}");
    fs::read(format!("/proc/{pid}/environ")).is_ok_and(|environ| {
        environ
            .split(|byte| *byte == 0)
            .any(|entry| entry == wanted.as_bytes())
    })
}

/// Living processes that carry this tag, and their descendants.
pub fn tagged(tag: &str) -> Vec<Process> {
    let all = all();
    let mut children: HashMap<i32, Vec<i32>> = HashMap::new();
    for process in &all {
        children.entry(process.parent).or_default().push(process.pid);
    }
    let mut found = HashSet::new();
    let mut todo: Vec<i32> = all
        .iter()
        .filter(|p| has_tag(p.pid, tag))
        .map(|p| p.pid)
        .collect();
    while let Some(pid) = todo.pop() {
        if found.insert(pid) {
            todo.extend(children.get(&pid).into_iter().flatten());
        }
    }
    all.into_iter()
        .filter(|p| p.lives && found.contains(&p.pid))
        .collect()
}

/// Sends a signal; a process that is gone is no error.
pub fn signal(pid: i32, signal: Signal) {
    if let Some(pid) = Pid::from_raw(pid) {
        let _ = rustix::process::kill_process(pid, signal);
    }
}

/// SIGKILL to every process with this tag until none is left. False when some would not go.
pub fn kill_tagged(tag: &str) -> bool {
    // A process that is on its way out has no environment any more, but is still there.
    let mut struck: HashSet<i32> = HashSet::new();
    for _ in 0..2000 {
        let left = stop_tagged(tag);
        struck.retain(|pid| read(*pid).is_some_and(|process| process.lives));
        if left.is_empty() && struck.is_empty() {
            return true;
        }
        for process in left {
            signal(process.pid, Signal::KILL);
            struck.insert(process.pid);
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    false
}

/// Stops them before they are killed: many servers write their title over their environment, and are found as descendants
/// only. A child that is made while its parent is being killed would be lost.
fn stop_tagged(tag: &str) -> Vec<Process> {
    for _ in 0..200 {
        let all = tagged(tag);
        let mut running = all
            .iter()
            .filter(|process| !"Tt".contains(process.state))
            .peekable();
        if running.peek().is_none() {
            return all;
        }
        running.for_each(|process| signal(process.pid, Signal::STOP));
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    tagged(tag)
}
