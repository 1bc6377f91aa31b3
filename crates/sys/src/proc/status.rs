//! `/proc/PID/status`: credentials, signal sets, namespaced numbers.

use super::parse::{Parsed, decimal, decimals, hex, key_value, lines, octal, unexpected};
use super::{Pid, Result, Subject, Tid};

/// The four user or group ids of a thread, see credentials(7).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ids {
    /// Real id.
    pub real: u32,
    /// Effective id.
    pub effective: u32,
    /// Saved set-user-id.
    pub saved: u32,
    /// Id for file access.
    pub filesystem: u32,
}

/// Signal sets; bit n-1 stands for signal n, see signal(7).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Signals {
    /// Pending for the thread.
    pub pending: u64,
    /// Pending for the process.
    pub shared_pending: u64,
    /// Blocked by the thread.
    pub blocked: u64,
    /// Ignored by the process.
    pub ignored: u64,
    /// With a handler.
    pub caught: u64,
}

/// Capability sets; bit n stands for capability n, see capabilities(7).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// Kept over execve(2).
    pub inheritable: u64,
    /// May be made effective.
    pub permitted: u64,
    /// In force.
    pub effective: u64,
    /// Limit for what execve(2) gives.
    pub bounding: u64,
    /// Kept over execve(2) of ordinary programs.
    pub ambient: u64,
}

/// One process or thread, as in proc_pid_status(5). Fields that the kernel omits (for zombies, or by its version)
/// are `None` or empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// The name that prctl(PR_SET_NAME) sets.
    pub name: Vec<u8>,
    /// File mode mask, see umask(2).
    pub umask: Option<u32>,
    /// As in [`super::Stat::state`].
    pub state: u8,
    /// Its process.
    pub tgid: i32,
    /// Its own number, a thread's if read for a thread.
    pub pid: i32,
    /// Parent; 0 if it is outside of the reader's pid namespace.
    pub ppid: i32,
    /// The process that traces it, 0 for none.
    pub tracer: i32,
    /// User ids.
    pub uid: Ids,
    /// Group ids.
    pub gid: Ids,
    /// Supplementary groups.
    pub groups: Vec<u32>,
    /// Its number in each pid namespace, from the reader's to its own.
    pub ns_pids: Vec<i32>,
    /// Process group in each pid namespace.
    pub ns_pgids: Vec<i32>,
    /// Session in each pid namespace.
    pub ns_sids: Vec<i32>,
    /// Signals.
    pub signals: Signals,
    /// Capabilities.
    pub capabilities: Capabilities,
    /// prctl(PR_SET_NO_NEW_PRIVS) is in force.
    pub no_new_privs: bool,
    /// 0 none, 1 strict, 2 filter, see seccomp(2).
    pub seccomp: u32,
    /// Number of seccomp filters (Linux 5.9).
    pub seccomp_filters: Option<u32>,
    /// Processors on which it may run, ascending.
    pub cpus_allowed: Vec<u32>,
    /// Threads in the process.
    pub threads: u32,
    /// How often the thread gave up its processor by itself.
    pub voluntary_switches: Option<u64>,
    /// Transparent huge pages are not switched off by prctl(PR_SET_THP_DISABLE) (Linux 5.0).
    pub thp_enabled: Option<bool>,
}

impl Status {
    /// Parses `/proc/PID/status`. Only `Pid` and `Tgid` are indispensable.
    pub fn parse(text: &[u8]) -> Parsed<Status> {
        let mut status = Status::default();
        for line in lines(text) {
            if let Some((key, value)) = key_value(line) {
                status.place(key, value)?;
                status.place_signals(key, value)?;
                status.place_capabilities(key, value)?;
            }
        }
        if status.pid == 0 || status.tgid == 0 {
            return Err(unexpected("Pid and Tgid", text));
        }
        Ok(status)
    }

    /// Reads the file of a process, or of one of its threads.
    pub fn read(subject: impl Subject) -> Result<Status> {
        super::parsed(subject, "status", Status::parse)
    }

    /// Its own number as a thread.
    pub fn tid(&self) -> Tid {
        Tid(self.pid)
    }

    /// Its process.
    pub fn process(&self) -> Pid {
        Pid(self.tgid)
    }

    fn place(&mut self, key: &[u8], value: &[u8]) -> Parsed<()> {
        match key {
            b"Name" => self.name = unescape(value),
            b"Umask" => self.umask = Some(octal("umask", value)? as u32),
            b"State" => self.state = value.first().copied().unwrap_or_default(),
            b"Tgid" => self.tgid = decimal("process", value)?,
            b"Pid" => self.pid = decimal("process id", value)?,
            b"PPid" => self.ppid = decimal("parent", value)?,
            b"TracerPid" => self.tracer = decimal("tracer", value)?,
            b"Uid" => self.uid = ids(value)?,
            b"Gid" => self.gid = ids(value)?,
            b"Groups" => self.groups = decimals("groups", value)?,
            b"NSpid" => self.ns_pids = decimals("process ids", value)?,
            b"NSpgid" => self.ns_pgids = decimals("process groups", value)?,
            b"NSsid" => self.ns_sids = decimals("sessions", value)?,
            b"NoNewPrivs" => self.no_new_privs = value != b"0",
            b"Seccomp" => self.seccomp = decimal("seccomp mode", value)?,
            b"Seccomp_filters" => self.seccomp_filters = Some(decimal("seccomp filters", value)?),
            b"Cpus_allowed" => self.cpus_allowed = cpu_mask(value)?,
            b"voluntary_ctxt_switches" => self.voluntary_switches = Some(decimal("switches", value)?),
            b"Threads" => self.threads = decimal("threads", value)?,
            b"THP_enabled" => self.thp_enabled = Some(value != b"0"),
            _ => {}
        }
        Ok(())
    }

    fn place_signals(&mut self, key: &[u8], value: &[u8]) -> Parsed<()> {
        let set = match key {
            b"SigPnd" => &mut self.signals.pending,
            b"ShdPnd" => &mut self.signals.shared_pending,
            b"SigBlk" => &mut self.signals.blocked,
            b"SigIgn" => &mut self.signals.ignored,
            b"SigCgt" => &mut self.signals.caught,
            _ => return Ok(()),
        };
        *set = hex("signal set", value)?;
        Ok(())
    }

    fn place_capabilities(&mut self, key: &[u8], value: &[u8]) -> Parsed<()> {
        let set = match key {
            b"CapInh" => &mut self.capabilities.inheritable,
            b"CapPrm" => &mut self.capabilities.permitted,
            b"CapEff" => &mut self.capabilities.effective,
            b"CapBnd" => &mut self.capabilities.bounding,
            b"CapAmb" => &mut self.capabilities.ambient,
            _ => return Ok(()),
        };
        *set = hex("capability set", value)?;
        Ok(())
    }
}

fn ids(value: &[u8]) -> Parsed<Ids> {
    match decimals("ids", value)?[..] {
        [real, effective, saved, filesystem] => Ok(Ids {
            real,
            effective,
            saved,
            filesystem,
        }),
        _ => Err(unexpected("four ids", value)),
    }
}

/// `ffff,00000003`: 32 processors per group of digits, the highest first (bitmap_print_to_pagebuf).
fn cpu_mask(value: &[u8]) -> Parsed<Vec<u32>> {
    let mut cpus = Vec::new();
    for (group, digits) in value.rsplit(|&byte| byte == b',').enumerate() {
        let bits = hex("processor mask", digits)?;
        let first = group as u32 * 32;
        cpus.extend((0..32).filter(|bit| bits >> bit & 1 == 1).map(|bit| first + bit));
    }
    Ok(cpus)
}

/// The kernel escapes `\n` and `\\` in the name (`proc_task_name`). `/proc/PID/comm` has the bytes themselves.
fn unescape(shown: &[u8]) -> Vec<u8> {
    let mut name = Vec::with_capacity(shown.len());
    let mut bytes = shown.iter();
    while let Some(&byte) = bytes.next() {
        match (byte, bytes.as_slice().first()) {
            (b'\\', Some(b'n')) => {
                bytes.next();
                name.push(b'\n');
            }
            (b'\\', Some(b'\\')) => {
                bytes.next();
                name.push(b'\\');
            }
            _ => name.push(byte),
        }
    }
    name
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TEXT: &[u8] = b"Name:\ta\\nb\\\\c\nUmask:\t0027\nState:\tt (tracing stop)\nTgid:\t12\nPid:\t13\nPPid:\t1\n\
TracerPid:\t7\nUid:\t1\t2\t3\t4\nGid:\t5\t6\t7\t8\nGroups:\t4 24 \nNSpid:\t13\t3\nNSpgid:\t12\t2\nNSsid:\t12\t2\nThreads:\t9\n\
SigPnd:\t0000000000000001\nShdPnd:\t0000000000000002\nSigBlk:\t0000000000000004\nSigIgn:\t0000000000001000\n\
SigCgt:\t0000000180000000\nCapInh:\t1\nCapPrm:\t2\nCapEff:\t3\nCapBnd:\t000001ffffffffff\nCapAmb:\t4\nNoNewPrivs:\t1\n\
Seccomp:\t2\nSeccomp_filters:\t3\nCpus_allowed:\t1,80000001\nTHP_enabled:\t0\n";

    #[test]
    fn lines_become_fields() {
        let status = Status::parse(TEXT).unwrap();
        assert_eq!(
            (status.name.as_slice(), status.umask, status.state),
            (&b"a\nb\\c"[..], Some(0o27), b't')
        );
        assert_eq!(
            (status.process(), status.tid(), status.ppid, status.tracer),
            (Pid(12), Tid(13), 1, 7)
        );
        assert_eq!(
            status.uid,
            Ids {
                real: 1,
                effective: 2,
                saved: 3,
                filesystem: 4
            }
        );
        assert_eq!((status.gid.filesystem, &status.groups[..]), (8, &[4, 24][..]));
        assert_eq!(
            (&status.ns_pids[..], &status.ns_pgids[..]),
            (&[13, 3][..], &[12, 2][..])
        );
        assert_eq!(
            (status.signals.pending, status.signals.caught),
            (1, 0x1_8000_0000)
        );
        assert_eq!(
            (status.capabilities.bounding, status.capabilities.ambient),
            (0x1ff_ffff_ffff, 4)
        );
        assert!(status.no_new_privs);
        assert_eq!(
            (status.seccomp, status.seccomp_filters, status.threads),
            (2, Some(3), 9)
        );
        assert_eq!(
            (&status.cpus_allowed[..], status.thp_enabled),
            (&[0, 31, 32][..], Some(false))
        );
    }

    #[test]
    fn own_status_is_known() {
        let status = Status::read(Pid::own()).unwrap();
        assert_eq!(status.process(), Pid::own());
        assert_eq!(status.uid.real, rustix::process::getuid().as_raw());
        assert_eq!(status.gid.effective, rustix::process::getegid().as_raw());
        assert!(!status.cpus_allowed.is_empty() && status.threads > 0);
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes: Vec<u8>, at in 0..TEXT.len(), byte: u8) {
            let _ = Status::parse(&bytes);
            let mut text = TEXT.to_vec();
            text[at] = byte;
            let _ = Status::parse(&text);
            let _ = Status::parse(&text[at..]);
        }
    }
}
