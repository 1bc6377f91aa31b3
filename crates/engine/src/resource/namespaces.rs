//! Namespaces that a program has made for itself: a restart gives all processes the same ones, and would not make these
//! again.

use crate::tree::Tree;
use crate::{Error, Result};
use rethaw_sys::proc::Pid;
use std::fs;
use std::io;
use std::path::PathBuf;

/// All but System V IPC's, of which `sysv.rs` takes care: whether a restarted computation has one of its own, the name in
/// /proc/PID/ns, and for people.
const KINDS: [(bool, &str, &str); 7] = [
    (true, "user", "user ids"),
    (true, "mnt", "mounts"),
    (true, "pid", "process numbers"),
    (true, "time", "clocks"),
    (false, "net", "network"),
    (false, "uts", "host name"),
    (false, "cgroup", "control groups"),
];

/// The namespaces in which processes of a computation may be.
#[derive(Debug)]
pub(crate) struct Usual(Vec<(&'static str, &'static str, Vec<PathBuf>)>);

impl Usual {
    /// Ours, and those that were made for the computation.
    pub fn of(tree: &Tree) -> Usual {
        let made = tree.init().map_or(Pid(tree.main()), Pid);
        let each = KINDS.iter().map(|(own, kind, what)| {
            let makers = [Some(Pid::own()), own.then_some(made).filter(|_| tree.isolated())];
            let places = makers.into_iter().flatten();
            (
                *kind,
                *what,
                places.filter_map(|pid| namespace(pid, kind).ok()).collect(),
            )
        });
        Usual(each.collect())
    }

    /// Refuses a process that is in another one.
    pub fn refuse_others(&self, pid: Pid) -> Result<()> {
        for (kind, what, places) in &self.0 {
            match namespace(pid, kind) {
                Ok(its) if !places.contains(&its) => {
                    return Err(Error::Refused {
                        what: format!("a process with {what} of its own (unshare, setns)"),
                        pid: pid.0,
                        place: format!("namespace {}", its.display()),
                        remedy: "run the program without that sandbox, or start rethaw inside of it"
                            .to_owned(),
                    });
                }
                // A kernel that has no such namespaces.
                _ => {}
            }
        }
        Ok(())
    }
}

fn namespace(pid: Pid, kind: &str) -> io::Result<PathBuf> {
    fs::read_link(format!("/proc/{pid}/ns/{kind}"))
}
