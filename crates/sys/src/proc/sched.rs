//! Where a thread is: `/proc/PID/task/TID/sched`, `syscall` and `wchan`.

use super::parse::{Parsed, decimal, fixed_point, hex, key_value, lines, words};
use super::{Result, Subject};

/// When a thread was last put on a processor or had its run time counted, in nanoseconds of the scheduler's clock
/// (`rq_clock_task`). `None` if the kernel has no such file (CONFIG_SCHED_DEBUG) or line.
///
/// That clock runs beside CLOCK_MONOTONIC at the same pace but for time lost to interrupts and to other virtual
/// machines, from another start: 145 ms behind, steadily, on the machine where this was measured (Linux 6.18). So
/// compare it only with this value of another thread that has just run, never with CLOCK_MONOTONIC itself.
///
/// For a sleeping thread this tells when its system call began to sleep.
pub fn exec_start(subject: impl Subject) -> Result<Option<u64>> {
    match super::parsed(subject, "sched", exec_start_ns) {
        Err(error) if error.is_gone() && subject.folder().join("stat").exists() => Ok(None),
        read => read,
    }
}

/// The same from the text of `/proc/PID/sched`: the line `se.exec_start : MILLISECONDS.NANOSECONDS`.
pub fn exec_start_ns(text: &[u8]) -> Parsed<Option<u64>> {
    let values = lines(text).filter_map(key_value);
    let mut starts = values.filter(|(key, _)| key.trim_ascii() == b"se.exec_start");
    starts
        .next()
        .map(|(_, value)| fixed_point("start of execution", value, 6))
        .transpose()
}

/// What proc_pid_syscall(5) tells of a thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyscallState {
    /// It runs or may run.
    Running,
    /// It is blocked, but not in a system call (a page fault, a stop).
    Blocked {
        /// Stack pointer.
        stack: u64,
        /// Instruction pointer.
        instruction: u64,
    },
    /// It is blocked in a system call.
    InCall {
        /// The call's number.
        number: i64,
        /// Its six argument registers.
        arguments: [u64; 6],
        /// Stack pointer.
        stack: u64,
        /// Instruction pointer.
        instruction: u64,
    },
}

impl SyscallState {
    /// Parses `/proc/PID/syscall`.
    pub fn parse(text: &[u8]) -> Parsed<SyscallState> {
        let mut values = words(text);
        let first = values.next().unwrap_or_default();
        if first == b"running" {
            return Ok(SyscallState::Running);
        }
        let number: i64 = decimal("system call", first)?;
        let mut value = || hex("register", values.next().unwrap_or_default());
        if number == -1 {
            return Ok(SyscallState::Blocked {
                stack: value()?,
                instruction: value()?,
            });
        }
        let mut arguments = [0; 6];
        for argument in &mut arguments {
            *argument = value()?;
        }
        Ok(SyscallState::InCall {
            number,
            arguments,
            stack: value()?,
            instruction: value()?,
        })
    }
}

/// Reads `/proc/PID/syscall`; needs permission to trace it.
pub fn syscall(subject: impl Subject) -> Result<SyscallState> {
    super::parsed(subject, "syscall", SyscallState::parse)
}

/// The kernel function in which a thread sleeps; `None` if it does not, or the kernel will not say.
pub fn wchan(subject: impl Subject) -> Result<Option<String>> {
    let name = super::contents(subject, "wchan")?;
    let name = String::from_utf8_lossy(&name).trim().to_owned();
    Ok((!name.is_empty() && name != "0").then_some(name))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use super::*;
    use crate::proc::{Pid, Tid};
    use proptest::prelude::*;
    use std::process::{Command, Stdio};

    #[test]
    fn texts_become_states() {
        assert_eq!(SyscallState::parse(b"running\n"), Ok(SyscallState::Running));
        let blocked = SyscallState::Blocked {
            stack: 0x10,
            instruction: 0x20,
        };
        assert_eq!(SyscallState::parse(b"-1 0x10 0x20\n"), Ok(blocked));
        let read = SyscallState::parse(b"0 0x0 0x1 0x2 0x3 0x4 0x5 0x7ff 0x7fe\n").unwrap();
        let expected = SyscallState::InCall {
            number: 0,
            arguments: [0, 1, 2, 3, 4, 5],
            stack: 0x7ff,
            instruction: 0x7fe,
        };
        assert_eq!(read, expected);
        assert!(SyscallState::parse(b"0 0x0").is_err());
        assert_eq!(
            exec_start_ns(b"cat (1, #threads: 1)\n---\nse.exec_start  :  18.000270\n"),
            Ok(Some(18_000_270))
        );
        assert_eq!(exec_start_ns(b"nothing\n"), Ok(None));
    }

    #[test]
    fn a_sleeper_is_seen_in_its_call() {
        let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        let subject = (Pid(child.id() as i32), Tid(child.id() as i32));
        let is_reading = || matches!(syscall(subject), Ok(SyscallState::InCall { number: libc::SYS_read, arguments, .. }) if arguments[0] == 0);
        while !is_reading() {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        if let Some(name) = wchan(subject).unwrap() {
            assert!(name.contains("pipe") || name.contains("read"), "{name}");
        }
        exec_start(subject).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(exec_start(subject).unwrap_err().is_gone());
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes: Vec<u8>) {
            let _ = SyscallState::parse(&bytes);
            let _ = exec_start_ns(&[b"se.exec_start: ", &bytes[..]].concat());
        }
    }
}
