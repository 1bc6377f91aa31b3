//! `/proc/PID/stat`: the numbers that a process has from birth, its place in the tree, its address layout.

use super::parse::{Parsed, decimal, unexpected, words};
use super::{Pid, Result, Subject};

/// One process or thread, as in proc_pid_stat(5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stat {
    /// Its number.
    pub pid: Pid,
    /// The name that prctl(PR_SET_NAME) sets; any bytes, 15 at most but for kernel threads.
    pub comm: Vec<u8>,
    /// `R` running, `S` sleeping, `D` uninterruptible, `T` stopped, `t` traced stop, `Z` zombie, `X` dead.
    pub state: u8,
    /// Parent; 0 if it is outside of the reader's pid namespace.
    pub ppid: Pid,
    /// Process group.
    pub pgrp: i32,
    /// Session.
    pub session: i32,
    /// Controlling terminal as a device number, 0 for none.
    pub tty_nr: i32,
    /// Foreground process group of that terminal, -1 for none.
    pub tpgid: i32,
    /// The kernel's flags of the task (PF_ in include/linux/sched.h).
    pub flags: u32,
    /// Nice value, -20 to 19.
    pub nice: i64,
    /// Threads that have not been reaped.
    pub num_threads: u32,
    /// When it started: clock ticks (sysconf _SC_CLK_TCK) since boot, moved by the reader's time namespace.
    pub starttime: u64,
    /// Program text.
    pub start_code: u64,
    /// End of the program text.
    pub end_code: u64,
    /// Where the stack began.
    pub start_stack: u64,
    /// Initialised data.
    pub start_data: u64,
    /// End of the initialised data.
    pub end_data: u64,
    /// Where the heap of brk(2) began.
    pub start_brk: u64,
    /// Command line.
    pub arg_start: u64,
    /// End of the command line.
    pub arg_end: u64,
    /// Environment.
    pub env_start: u64,
    /// End of the environment.
    pub env_end: u64,
    /// Signal that the parent gets when it ends; -1 for a thread.
    pub exit_signal: i32,
    /// How it ended, as waitpid(2) gives it; 0 while it lives. Needs permission to trace it, else 0.
    pub exit_code: i32,
    /// Processor on which it ran last.
    pub processor: i32,
}

impl Stat {
    /// Parses `/proc/PID/stat`. The comm may hold parentheses, spaces and line feeds: it ends at the last `)`.
    pub fn parse(text: &[u8]) -> Parsed<Stat> {
        let missing = || unexpected("process status", text);
        let open = text.iter().position(|&byte| byte == b'(').ok_or_else(missing)?;
        let close = text.iter().rposition(|&byte| byte == b')').ok_or_else(missing)?;
        let comm = text.get(open + 1..close).ok_or_else(missing)?.to_vec();
        let rest: Vec<&[u8]> = words(&text[close + 1..]).collect();
        let fields = Fields(&rest);
        Ok(Stat {
            pid: Pid(decimal("process id", &text[..open])?),
            comm,
            state: *fields.word(3)?.first().ok_or_else(missing)?,
            ppid: Pid(fields.number(4)?),
            pgrp: fields.number(5)?,
            session: fields.number(6)?,
            tty_nr: fields.number(7)?,
            tpgid: fields.number(8)?,
            flags: fields.number(9)?,
            nice: fields.number(19)?,
            num_threads: fields.number(20)?,
            starttime: fields.number(22)?,
            start_code: fields.number(26)?,
            end_code: fields.number(27)?,
            start_stack: fields.number(28)?,
            exit_signal: fields.number(38)?,
            start_data: fields.number(45)?,
            end_data: fields.number(46)?,
            start_brk: fields.number(47)?,
            arg_start: fields.number(48)?,
            arg_end: fields.number(49)?,
            env_start: fields.number(50)?,
            env_end: fields.number(51)?,
            processor: fields.number(39)?,
            exit_code: fields.number(52)?,
        })
    }

    /// Reads the file of a process, or of one of its threads. Addresses are 0 (or 1) without permission to trace it.
    pub fn read(subject: impl Subject) -> Result<Stat> {
        super::parsed(subject, "stat", Stat::parse)
    }

    /// What PR_MCE_KILL has set, and 1; 0 where nothing (PF_MCE_PROCESS, PF_MCE_EARLY; tried on Linux 6.18).
    pub fn machine_check(&self) -> u32 {
        const PF_MCE_PROCESS: u32 = 0x80;
        const PF_MCE_EARLY: u32 = 0x0800_0000;
        match self.flags & PF_MCE_PROCESS {
            0 => 0,
            _ => 1 + u32::from(self.flags & PF_MCE_EARLY != 0),
        }
    }

    /// Whether it is a thread that the kernel has made in the process for its own work, such as those of io_uring
    /// (PF_IO_WORKER, PF_USER_WORKER). None of the program's code runs in it.
    pub fn is_worker(&self) -> bool {
        const PF_IO_WORKER: u32 = 0x10;
        const PF_USER_WORKER: u32 = 0x4000;
        self.flags & (PF_IO_WORKER | PF_USER_WORKER) != 0
    }

    /// Whether it has ended and waits for its parent to notice. The first thread of a process also looks so when
    /// it has ended before the others.
    pub fn is_zombie(&self) -> bool {
        matches!(self.state, b'Z' | b'X' | b'x')
    }
}

/// The columns from the third on, numbered as in the manual page.
struct Fields<'a>(&'a [&'a [u8]]);

impl Fields<'_> {
    fn word(&self, column: usize) -> Parsed<&[u8]> {
        self.0
            .get(column - 3)
            .copied()
            .ok_or_else(|| unexpected("column", &self.0.concat()))
    }

    fn number<T: std::str::FromStr>(&self, column: usize) -> Parsed<T> {
        decimal("number", self.word(column)?)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TEXT: &[u8] =
        b"5147 (a) R (b) S 5140 5141 3896 34816 -1 4194304 101 0 0 0 0 0 0 0 20 -5 3 0 189285 3133440 \
407 18446744073709551615 10 11 12 0 0 0 0 0 0 0 0 0 17 1 0 0 0 0 0 13 14 15 16 17 18 19 256\n";

    #[test]
    fn columns_are_where_the_manual_says() {
        let stat = Stat::parse(TEXT).unwrap();
        assert_eq!(
            (stat.pid, stat.comm.as_slice(), stat.state),
            (Pid(5147), &b"a) R (b"[..], b'S')
        );
        assert_eq!((stat.ppid, stat.pgrp, stat.session), (Pid(5140), 5141, 3896));
        assert_eq!(
            (stat.tty_nr, stat.tpgid, stat.nice, stat.num_threads),
            (34816, -1, -5, 3)
        );
        assert_eq!(
            (stat.starttime, stat.exit_signal, stat.exit_code),
            (189_285, 17, 256)
        );
        assert_eq!((stat.start_code, stat.end_code, stat.start_stack), (10, 11, 12));
        assert_eq!((stat.start_data, stat.end_data, stat.start_brk), (13, 14, 15));
        assert_eq!(
            (stat.arg_start, stat.arg_end, stat.env_start, stat.env_end),
            (16, 17, 18, 19)
        );
    }

    #[test]
    fn own_status_is_known() {
        let stat = Stat::read(Pid::own()).unwrap();
        assert_eq!(
            (stat.pid, stat.ppid.0 as u32),
            (Pid::own(), std::os::unix::process::parent_id())
        );
        assert!(stat.start_stack > stat.start_code && stat.env_end >= stat.arg_start);
        let thread = Stat::read((Pid::own(), Pid::own().leader())).unwrap();
        assert_eq!(thread.starttime, stat.starttime);
        assert!(Stat::read(Pid(i32::MAX)).unwrap_err().is_gone());
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes: Vec<u8>, at in 0..TEXT.len(), byte: u8) {
            let _ = Stat::parse(&bytes);
            let mut text = TEXT.to_vec();
            text[at] = byte;
            let _ = Stat::parse(&text);
            let _ = Stat::parse(&text[at..]);
        }
    }
}
