//! Where a process runs, so that it is recognised later: host, boot, pid and start time.

use serde::{Deserialize, Serialize};

/// A machine since it was switched on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// Host name.
    pub host: String,
    /// /proc/sys/kernel/random/boot_id.
    pub boot_id: String,
}

impl Machine {
    /// This one.
    pub fn here() -> Machine {
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let boot_id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        Machine {
            host,
            boot_id: boot_id.trim().to_string(),
        }
    }
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

    /// Whether it is on this machine, since the same boot.
    pub fn is_here(&self) -> bool {
        self.machine == Machine::here()
    }

    /// Whether it runs here and now.
    pub fn runs_here(&self) -> bool {
        self.is_here() && running_since(self.pid) == Some(self.start)
    }
}

/// Start time of a process that has not ended.
fn running_since(pid: i32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let stat = parse_stat(&stat)?;
    (!matches!(stat.state, 'Z' | 'X' | 'x')).then_some(stat.start)
}

/// Whether a stop signal has stopped the process.
pub fn is_stopped(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    parse_stat(&stat).is_some_and(|stat| stat.state == 'T')
}

/// Whether a process is in this process's group, so that the terminal signals both.
pub fn shares_group(pid: i32) -> bool {
    let group = rustix::process::Pid::from_raw(pid).map(|pid| rustix::process::getpgid(Some(pid)));
    matches!(group, Some(Ok(group)) if group == rustix::process::getpgrp())
}

struct Stat {
    state: char,
    start: u64,
}

/// The name in parentheses may itself hold spaces and parentheses: fields are counted after the last one.
fn parse_stat(text: &str) -> Option<Stat> {
    let mut fields = text.rsplit_once(')')?.1.split_ascii_whitespace();
    let state = fields.next()?.chars().next()?;
    let start = fields.nth(18)?.parse().ok()?;
    Some(Stat { state, start })
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
    fn stat_with_a_malicious_name() {
        let fields = "S 1 5 5 0 -1 4194304 1 2 3 4 5 6 7 8 20 0 1 0 777 1000 200";
        let stat = parse_stat(&format!("42 (a) R (b) {fields}")).map(|stat| (stat.state, stat.start));
        assert_eq!(stat, Some(('S', 777)));
        assert!(parse_stat("42 (a) S 1").is_none());
        assert!(parse_stat("").is_none());
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
        let elsewhere = Machine {
            host: "elsewhere".into(),
            ..me.machine.clone()
        };
        assert!(
            !Seen {
                machine: elsewhere,
                ..me
            }
            .runs_here()
        );
    }
}
