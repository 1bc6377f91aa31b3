//! Where a process runs, so that it is recognised later: host, boot, namespaces, pid and start time.

use rethaw_sys::proc::{self, Pid};
use serde::{Deserialize, Serialize};
use std::time::{Duration, Instant};

/// A machine since it was switched on, as processes of certain namespaces see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// Host name.
    pub host: String,
    /// /proc/sys/kernel/random/boot_id.
    pub boot_id: String,
    /// pid namespace, in which pids are to be read: the target of /proc/self/ns/pid.
    #[serde(default)]
    pub pid_namespace: String,
    /// Time namespace, on whose clock start times are: the target of /proc/self/ns/time.
    #[serde(default)]
    pub time_namespace: String,
}

impl Machine {
    /// This one.
    pub fn here() -> Machine {
        let host = host_name();
        let boot_id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let namespace = |name: &str| {
            let target = std::fs::read_link(format!("/proc/self/ns/{name}")).unwrap_or_default();
            target.to_string_lossy().into_owned()
        };
        Machine {
            host,
            boot_id: boot_id.trim().to_string(),
            pid_namespace: namespace("pid"),
            time_namespace: namespace("time"),
        }
    }

    /// For people, where it is not this one.
    pub fn described(&self) -> String {
        if self.host == Machine::here().host {
            format!("{}, in another container", self.host)
        } else {
            self.host.clone()
        }
    }
}

/// Name of this host.
pub fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// What can be said of a process that was seen some time ago.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Life {
    /// It runs.
    Runs,
    /// It has ended, or its machine was rebooted.
    Over,
    /// It was seen on another host, or from namespaces in which pids or times mean something else.
    Unknown,
}

/// A process that was seen on a machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// Its number there.
    pub pid: i32,
    /// When it started, in clock ticks since boot (field 22 of /proc/PID/stat).
    pub start: u64,
    /// Where.
    pub machine: Machine,
}

impl Seen {
    /// A living process of this machine.
    pub fn of(pid: i32) -> Option<Seen> {
        let start = running_since(pid)?;
        Some(Seen {
            pid,
            start,
            machine: Machine::here(),
        })
    }

    /// This process.
    pub fn myself() -> Option<Seen> {
        Seen::of(rustix::process::getpid().as_raw_nonzero().get())
    }

    /// What can be said of it from here.
    pub fn life(&self) -> Life {
        self.life_from(&Machine::here())
    }

    fn life_from(&self, here: &Machine) -> Life {
        if self.machine.host != here.host {
            return Life::Unknown;
        }
        if self.machine.boot_id != here.boot_id {
            return Life::Over;
        }
        if self.machine.pid_namespace != here.pid_namespace {
            return self.life_elsewhere(here);
        }
        match running_since(self.pid) {
            None => Life::Over,
            Some(_) if self.machine.time_namespace != here.time_namespace => Life::Unknown,
            Some(start) if start == self.start => Life::Runs,
            Some(_) => Life::Over,
        }
    }

    /// In another pid namespace: the machine's first one shows the processes of all others.
    fn life_elsewhere(&self, here: &Machine) -> Life {
        // One that cannot be looked at may be it, unless it is gone.
        let may_be_it = |pid| match proc::Status::read(pid) {
            Ok(status) => status.state != b'Z' && status.ns_pids.iter().skip(1).any(|&pid| pid == self.pid),
            Err(error) => !error.is_gone(),
        };
        let sees_all = here.pid_namespace == FIRST_PID_NAMESPACE;
        match proc::processes() {
            Ok(all) if sees_all && !all.iter().copied().any(may_be_it) => Life::Over,
            _ => Life::Unknown,
        }
    }

    /// Whether it runs here and now.
    pub fn runs_here(&self) -> bool {
        self.life() == Life::Runs
    }

    /// The same, after the end of one that is dying. A killed process is there until its memory is freed.
    pub fn stays_here(&self) -> bool {
        let begun = Instant::now();
        let mut told = false;
        while self.runs_here() {
            if !is_dying(self.pid) || begun.elapsed() > PATIENCE {
                return true;
            }
            if !told && begun.elapsed() > Duration::from_secs(1) {
                told = true;
                crate::message::note(format!("waiting for process {}, which is ending", self.pid));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        false
    }
}

/// PROC_PID_INIT_INO of the kernel.
const FIRST_PID_NAMESPACE: &str = "pid:[4026531836]";

/// How long a killed process may take to end; one in uninterruptible sleep may take for ever.
const PATIENCE: Duration = Duration::from_secs(10);

/// Start time of a process that has not ended. It has not either where only its first thread has.
fn running_since(pid: i32) -> Option<u64> {
    let stat = proc::Stat::read(Pid(pid)).ok()?;
    (!stat.is_zombie() || stat.num_threads > 1).then_some(stat.starttime)
}

/// Whether all threads of a process have been killed or are ending.
fn is_dying(pid: i32) -> bool {
    let pid = Pid(pid);
    let threads = proc::tasks(pid).unwrap_or_default();
    threads.into_iter().all(|tid| {
        let killed = proc::Status::read((pid, tid)).is_ok_and(|status| {
            let pending = status.signals.pending | status.signals.shared_pending;
            has(pending, nix::sys::signal::Signal::SIGKILL as i32)
        });
        killed
            || is_ending(&std::fs::read_to_string(format!("/proc/{pid}/task/{tid}/stat")).unwrap_or_default())
    })
}

/// Whether a signal is in a set as /proc shows it.
fn has(set: u64, signal: i32) -> bool {
    set >> (signal - 1) & 1 == 1
}

/// Whether a signal waits for the main thread of a process.
pub fn is_pending(pid: i32, signal: i32) -> bool {
    proc::Status::read(Pid(pid))
        .is_ok_and(|status| has(status.signals.pending | status.signals.shared_pending, signal))
}

/// Whether a stop signal has stopped the process.
pub fn is_stopped(pid: i32) -> bool {
    proc::Stat::read(Pid(pid)).is_ok_and(|stat| stat.state == b'T')
}

/// Whether a process is in this process's group, so that the terminal signals both.
pub fn shares_group(pid: i32) -> bool {
    // A group outside of this pid namespace has number 0; getpgid(2) of the libraries fails on that.
    let group = |pid| proc::Stat::read(pid).map(|stat| stat.pgrp);
    matches!((group(Pid(pid)), group(Pid::own())), (Ok(its), Ok(ours)) if its == ours)
}

/// Whether the text of /proc/PID/stat is of a thread that has begun to end (PF_EXITING in field 9), has ended, or
/// is gone. The name in parentheses may itself hold spaces and parentheses: fields are counted after the last one.
fn is_ending(stat: &str) -> bool {
    const PF_EXITING: u64 = 0x4;
    let Some((_, fields)) = stat.rsplit_once(')') else {
        return true;
    };
    let mut fields = fields.split_ascii_whitespace();
    let ended = matches!(fields.next(), Some("Z" | "X" | "x"));
    let flags: u64 = fields.nth(5).and_then(|text| text.parse().ok()).unwrap_or(0);
    ended || flags & PF_EXITING != 0
}

/// Resident memory of a process in bytes.
pub fn resident_bytes(pid: i32) -> u64 {
    let statm = std::fs::read_to_string(format!("/proc/{pid}/statm")).unwrap_or_default();
    let pages: u64 = statm
        .split(' ')
        .nth(1)
        .and_then(|text| text.parse().ok())
        .unwrap_or(0);
    pages * rustix::param::page_size() as u64
}

#[cfg(test)]
#[allow(clippy::expect_used)]
mod tests {
    use super::*;

    #[test]
    fn an_ending_thread_is_known_by_its_flags() {
        let stat =
            |state, flags| format!("42 (a) R (b) {state} 1 5 5 0 -1 {flags} 1 2 3 4 5 6 7 8 20 0 1 0 777");
        assert!(!is_ending(&stat('S', 0x40_0000)));
        assert!(is_ending(&stat('D', 0x40_0004)));
        assert!(is_ending(&stat('Z', 0)));
        assert!(is_ending(""));
        assert!(!is_dying(std::process::id() as i32));
    }

    #[test]
    fn a_killed_process_is_waited_for() {
        let mut child = std::process::Command::new("sleep")
            .arg("60")
            .spawn()
            .expect("a child");
        let seen = Seen::of(child.id() as i32).expect("it runs");
        assert!(seen.stays_here());
        child.kill().expect("killed");
        assert!(!seen.stays_here());
        child.wait().expect("ended");
        assert_eq!(seen.life(), Life::Over);
    }

    #[test]
    fn other_namespaces_cannot_tell() {
        let here = Machine::here();
        let me = Seen::myself().expect("this process runs");
        let life = |change: &dyn Fn(&mut Machine), pid| {
            let mut there = here.clone();
            change(&mut there);
            Seen { pid, ..me.clone() }.life_from(&there)
        };
        let in_container = |machine: &mut Machine| machine.pid_namespace = "pid:[1]".into();
        let other_clock = |machine: &mut Machine| machine.time_namespace = "time:[1]".into();
        assert_eq!(life(&|_| (), me.pid), Life::Runs);
        assert_eq!(life(&in_container, me.pid), Life::Unknown);
        assert_eq!(life(&in_container, i32::MAX), Life::Unknown);
        assert_eq!(life(&other_clock, me.pid), Life::Unknown);
        assert_eq!(life(&other_clock, i32::MAX), Life::Over);
        assert_eq!(life(&|machine| machine.boot_id = "x".into(), me.pid), Life::Over);
        assert_eq!(
            life(&|machine| machine.host = "elsewhere".into(), me.pid),
            Life::Unknown
        );
    }

    #[test]
    fn the_first_namespace_sees_all_others() {
        let here = Machine {
            pid_namespace: FIRST_PID_NAMESPACE.into(),
            ..Machine::here()
        };
        let mut seen = Seen::myself().expect("this process runs");
        seen.machine.pid_namespace = "pid:[1]".into();
        seen.pid = i32::MAX;
        assert_eq!(seen.life_from(&here), Life::Over);
    }

    #[test]
    fn a_group_is_shared_with_oneself() {
        assert!(shares_group(rustix::process::getpid().as_raw_nonzero().get()));
        assert!(!shares_group(0));
    }

    #[test]
    fn this_process_is_seen_here() {
        let me = Seen::myself().expect("this process runs");
        assert!(me.runs_here());
        assert!(
            !Seen {
                start: me.start + 1,
                ..me.clone()
            }
            .runs_here()
        );
    }
}
