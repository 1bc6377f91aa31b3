//! `/proc/PID/timers`: the POSIX timers of a process.

use super::parse::{Parsed, decimal, hex, key_value, lines, unexpected};
use super::{Pid, Result};

/// How a timer tells of its expiration (sigevent(3type)).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Notify {
    /// SIGEV_SIGNAL, or SIGEV_THREAD, which the C library builds on the kernel's signals.
    Signal,
    /// SIGEV_NONE.
    #[default]
    None,
    /// SIGEV_THREAD as the kernel shows it.
    Thread,
}

/// A timer of timer_create(2), as in proc_pid_timers(5). Times are not shown: timer_gettime(2) has them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PosixTimer {
    /// The kernel's id for it.
    pub id: i32,
    /// Signal number.
    pub signal: i32,
    /// The value (sigev_value) that goes with the signal.
    pub value: u64,
    /// How it notifies.
    pub notify: Notify,
    /// The signal goes to one thread (SIGEV_THREAD_ID).
    pub to_thread: bool,
    /// That thread, else the process.
    pub target: i32,
    /// A CLOCK_ constant, or a negative number for the CPU clock of a process or thread.
    pub clock: i32,
}

/// All timers of a process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Timers {
    /// The timers, in the order of the file (newest first).
    pub timers: Vec<PosixTimer>,
}

impl Timers {
    /// Parses `/proc/PID/timers`.
    pub fn parse(text: &[u8]) -> Parsed<Timers> {
        let mut timers: Vec<PosixTimer> = Vec::new();
        for line in lines(text) {
            let (key, value) = key_value(line).ok_or_else(|| unexpected("timer", line))?;
            if key == b"ID" {
                timers.push(PosixTimer {
                    id: decimal("timer id", value)?,
                    ..PosixTimer::default()
                });
            } else {
                let timer = timers.last_mut().ok_or_else(|| unexpected("timer id", line))?;
                place(timer, key, value)?;
            }
        }
        Ok(Timers { timers })
    }

    /// Reads the file.
    pub fn read(pid: Pid) -> Result<Timers> {
        super::parsed(pid, "timers", Timers::parse)
    }
}

fn place(timer: &mut PosixTimer, key: &[u8], value: &[u8]) -> Parsed<()> {
    match key {
        b"signal" => {
            let slash = position(value, b'/')?;
            timer.signal = decimal("signal", &value[..slash])?;
            timer.value = hex("signal value", &value[slash + 1..])?;
        }
        b"notify" => {
            let (slash, dot) = (position(value, b'/')?, position(value, b'.')?);
            timer.notify = match &value[..slash] {
                b"signal" => Notify::Signal,
                b"none" => Notify::None,
                b"thread" => Notify::Thread,
                _ => return Err(unexpected("kind of notification", value)),
            };
            timer.to_thread = value[slash + 1..].starts_with(b"tid");
            timer.target = decimal("target", &value[dot + 1..])?;
        }
        b"ClockID" => timer.clock = decimal("clock", value)?,
        _ => {}
    }
    Ok(())
}

fn position(value: &[u8], mark: u8) -> Parsed<usize> {
    value
        .iter()
        .position(|&byte| byte == mark)
        .ok_or_else(|| unexpected("separator", value))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TEXT: &[u8] = b"ID: 1\nsignal: 60/00007fff86e452a8\nnotify: signal/tid.2634\nClockID: 0\n\
ID: 0\nsignal: 14/0\nnotify: none/pid.26\nClockID: -6\n";

    #[test]
    fn lines_become_timers() {
        let timers = Timers::parse(TEXT).unwrap().timers;
        let [first, second] = timers[..] else {
            panic!("{timers:?}")
        };
        assert_eq!((first.id, first.signal, first.value), (1, 60, 0x7fff_86e4_52a8));
        assert_eq!(
            (first.notify, first.to_thread, first.target),
            (Notify::Signal, true, 2634)
        );
        assert_eq!(
            (second.notify, second.to_thread, second.clock),
            (Notify::None, false, -6)
        );
    }

    #[test]
    fn own_timers_are_known() {
        // SAFETY: all arguments are valid for the calls; the timer is deleted before the values go away.
        let (id, listed) = unsafe {
            let mut event: libc::sigevent = std::mem::zeroed();
            event.sigev_notify = libc::SIGEV_NONE;
            let mut id: libc::timer_t = std::mem::zeroed();
            assert_eq!(libc::timer_create(libc::CLOCK_MONOTONIC, &mut event, &mut id), 0);
            let listed = Timers::read(Pid::own()).unwrap();
            libc::timer_delete(id);
            (id as usize as i32, listed)
        };
        let timer = listed.timers.iter().find(|timer| timer.id == id).unwrap();
        assert_eq!((timer.notify, timer.clock), (Notify::None, libc::CLOCK_MONOTONIC));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes: Vec<u8>, at in 0..TEXT.len(), byte: u8) {
            let _ = Timers::parse(&bytes);
            let mut text = TEXT.to_vec();
            text[at] = byte;
            let _ = Timers::parse(&text);
            let _ = Timers::parse(&text[at..]);
        }
    }
}
