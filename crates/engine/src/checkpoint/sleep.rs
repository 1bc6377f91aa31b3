//! How long a thread still had to sleep in a timed call.
//!
//! The kernel keeps that to itself (restart_syscall(2)). But the scheduler tells when a thread last ran
//! (`se.exec_start` in /proc/PID/task/TID/sched), which is when it went to sleep: looked at before the freeze,
//! and believed only if the thread has not run in between. That clock is the scheduler's, one per processor, so
//! its distance to CLOCK_MONOTONIC is measured on the same processor by a thread of ours.

use rethaw_sys::arch::Registers;
use rethaw_sys::proc::{self, Pid, SyscallState, Tid};
use rethaw_sys::{memory, task};
use std::collections::BTreeMap;

/// Threads that sleep in a timed call, and since when.
#[derive(Debug, Default)]
pub(crate) struct Sleepers {
    by_tid: BTreeMap<Tid, Sleeper>,
    /// CLOCK_MONOTONIC less the scheduler's clock, in nanoseconds, by processor.
    distance: BTreeMap<i32, i64>,
}

#[derive(Debug, Clone, Copy)]
struct Sleeper {
    /// When it went to sleep, by the scheduler's clock of `processor`.
    since: u64,
    processor: i32,
    /// How often it had given up its processor.
    switches: u64,
}

/// The longest time for which a measured sleep is believed.
const DAY_NS: i64 = 86_400_000_000_000;

impl Sleepers {
    /// Looks at the threads of a process that is still running.
    pub fn look(&mut self, pid: Pid) {
        for tid in proc::tasks(pid).unwrap_or_default() {
            if let Some(sleeper) = sleeper(pid, tid) {
                self.by_tid.insert(tid, sleeper);
                self.distance
                    .entry(sleeper.processor)
                    .or_insert_with(|| measure(sleeper.processor).unwrap_or(i64::MIN));
            }
        }
    }

    /// When the sleep of a thread that is now stopped is to end, in nanoseconds of our CLOCK_MONOTONIC.
    pub fn deadline(&self, pid: Pid, tid: Tid, number: i64, registers: &Registers) -> Option<i64> {
        let before = self.by_tid.get(&tid)?;
        let now = sleeper_state(pid, tid)?;
        // One more than before: when it stopped for us.
        if now.switches != before.switches + 1 {
            return None;
        }
        let distance = *self.distance.get(&before.processor).filter(|d| **d != i64::MIN)?;
        let since = before.since as i64 + distance;
        let slept = task::clock_ns(libc::CLOCK_MONOTONIC) - since;
        let whole = time_of(pid, number, registers)?;
        (0..DAY_NS)
            .contains(&slept)
            .then_some(since.saturating_add(whole))
    }
}

/// Where the time of a call with a relative time-out is, in nanoseconds.
fn time_of(pid: Pid, number: i64, registers: &Registers) -> Option<i64> {
    let arguments = registers.arguments();
    match number {
        libc::SYS_poll => u32::try_from(arguments[2])
            .ok()
            .map(|ms| i64::from(ms) * 1_000_000),
        libc::SYS_nanosleep => timespec(pid, arguments[0]),
        libc::SYS_clock_nanosleep if arguments[1] == 0 => timespec(pid, arguments[2]),
        libc::SYS_futex if arguments[1] as i32 & FUTEX_COMMAND == FUTEX_WAIT => timespec(pid, arguments[3]),
        _ => None,
    }
}

const FUTEX_COMMAND: i32 = 0x7f;
const FUTEX_WAIT: i32 = 0;

fn timespec(pid: Pid, address: u64) -> Option<i64> {
    let mut bytes = [0; 16];
    memory::read(pid, address, &mut bytes).ok()?;
    let word = |at: usize| bytes[at..at + 8].try_into().ok().map(i64::from_ne_bytes);
    word(0)?.checked_mul(1_000_000_000)?.checked_add(word(8)?)
}

fn sleeper(pid: Pid, tid: Tid) -> Option<Sleeper> {
    let timed = [
        libc::SYS_poll,
        libc::SYS_nanosleep,
        libc::SYS_clock_nanosleep,
        libc::SYS_futex,
    ];
    match proc::syscall((pid, tid)).ok()? {
        SyscallState::InCall { number, .. } if timed.contains(&number) => sleeper_state(pid, tid),
        _ => None,
    }
}

fn sleeper_state(pid: Pid, tid: Tid) -> Option<Sleeper> {
    let since = proc::exec_start((pid, tid)).ok()??;
    let switches = proc::Status::read((pid, tid)).ok()?.voluntary_switches?;
    let processor = proc::Stat::read((pid, tid)).ok()?.processor;
    Some(Sleeper {
        since,
        processor,
        switches,
    })
}

/// Runs a thread of ours on `processor` to compare the clocks there.
fn measure(processor: i32) -> Option<i64> {
    std::thread::spawn(move || {
        let tid = Tid(rustix::thread::gettid().as_raw_nonzero().get());
        let index = usize::try_from(processor).ok()?;
        let mut mask = vec![0_u8; index / 8 + 1];
        mask.resize(mask.len().next_multiple_of(8), 0);
        mask[index / 8] |= 1 << (index % 8);
        task::set_affinity(tid, &mask).ok()?;
        // Going to sleep and waking up sets exec_start.
        std::thread::sleep(std::time::Duration::from_micros(50));
        let now = task::clock_ns(libc::CLOCK_MONOTONIC);
        let scheduler = proc::exec_start((Pid::own(), tid)).ok()??;
        Some(now - scheduler as i64)
    })
    .join()
    .ok()?
}
