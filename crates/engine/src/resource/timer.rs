//! Interval timers and POSIX timers. Both are armed as the last step of a restart with what was left.

use crate::Result;
use crate::error::{Context, Error};
use rethaw_image::record::{IntervalTimerV1, PosixTimerV1, ProcessV1};
use rethaw_sys::proc::{self, Pid, Tid, Timers};
use rethaw_sys::remote::Remote;
use std::io;

const INTERVAL_TIMERS: u64 = 3;

/// ITIMER_REAL, ITIMER_VIRTUAL, ITIMER_PROF.
pub(crate) fn collect_interval(remote: &mut Remote<'_>) -> io::Result<Vec<IntervalTimerV1>> {
    let out = remote.put(0, &[0; 32])?;
    let mut timers = Vec::new();
    for which in 0..INTERVAL_TIMERS {
        remote.must(libc::SYS_getitimer, [which, out, 0, 0, 0, 0])?;
        let words = words(remote.get::<32>(0)?);
        timers.push(IntervalTimerV1 {
            interval_us: words[0] * 1_000_000 + words[1],
            value_us: words[2] * 1_000_000 + words[3],
        });
    }
    Ok(timers)
}

/// Four 64-bit words.
fn words(bytes: [u8; 32]) -> [u64; 4] {
    std::array::from_fn(|i| u64::from_ne_bytes(bytes[i * 8..i * 8 + 8].try_into().unwrap_or_default()))
}

fn bytes(words: [u64; 4]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_ne_bytes()).collect()
}

/// POSIX timers: their identity from /proc/PID/timers (Linux 3.10), the time left from inside.
pub(crate) fn collect_posix(
    pid: Pid,
    remote: &mut Remote<'_>,
    timers: &Timers,
) -> io::Result<Vec<PosixTimerV1>> {
    let out = remote.put(0, &[0; 32])?;
    let mut records = Vec::new();
    for timer in &timers.timers {
        remote.must(libc::SYS_timer_gettime, [timer.id as u64, out, 0, 0, 0, 0])?;
        let words = words(remote.get::<32>(0)?);
        let (notify, thread) = match timer.notify {
            proc::Notify::None => (libc::SIGEV_NONE, 0),
            _ if timer.to_thread => (libc::SIGEV_THREAD_ID, number_inside(pid, timer.target)),
            _ => (libc::SIGEV_SIGNAL, 0),
        };
        records.push(PosixTimerV1 {
            id: timer.id,
            clock: timer.clock,
            notify,
            signal: timer.signal,
            value: timer.value,
            thread,
            interval_ns: words[0] * 1_000_000_000 + words[1],
            remaining_ns: words[2] * 1_000_000_000 + words[3],
        });
    }
    Ok(records)
}

/// /proc shows the thread's number as the reader sees it; the timer has to be made with the program's own.
fn number_inside(pid: Pid, tid: i32) -> i32 {
    let status = proc::Status::read((pid, Tid(tid)));
    status
        .ok()
        .and_then(|status| status.ns_pids.last().copied())
        .unwrap_or(tid)
}

/// Whether a pending signal (raw siginfo) comes from a periodic timer. It is not queued again as it was: the
/// timer sends it anew at once, so that it stays one signal that counts its overruns (timer_getoverrun(2)).
pub(crate) fn sends_again(info: &[u8], timers: &[PosixTimerV1]) -> bool {
    const SI_TIMER: i32 = -2;
    let word = |at: usize| {
        info.get(at..at + 4)
            .and_then(|b| b.try_into().ok())
            .map_or(0, i32::from_ne_bytes)
    };
    // siginfo: signo, errno, code, padding, then the timer's id.
    word(8) == SI_TIMER
        && timers
            .iter()
            .any(|timer| timer.id == word(16) && timer.interval_ns > 0)
}

/// Makes the timers under their old ids, disarmed.
pub(crate) fn rebuild_posix(remote: &mut Remote<'_>, records: &[PosixTimerV1]) -> Result<()> {
    if records.is_empty() {
        return Ok(());
    }
    // PR_TIMER_CREATE_RESTORE_IDS (Linux 6.15): timer_create takes the id from where it puts it.
    const PR_TIMER_CREATE_RESTORE_IDS: u64 = 77;
    let context = || "cannot rebuild a POSIX timer".to_owned();
    let prctl = |remote: &mut Remote<'_>, on: u64| {
        remote
            .call(libc::SYS_prctl, [PR_TIMER_CREATE_RESTORE_IDS, on, 0, 0, 0, 0])
            .context(context)
    };
    let chosen = prctl(remote, 1)?.is_ok();
    // /proc/PID/timers has the newest first; without a choice, numbers can only be reached in ascending order.
    let mut records: Vec<&PosixTimerV1> = records.iter().collect();
    records.sort_unstable_by_key(|record| record.id);
    for record in records {
        // Each number on the way is a timer made and deleted.
        const MOST: i32 = 1_000_000;
        if !chosen && record.id > MOST {
            return Err(Error::CannotRestart {
                what: format!(
                    "a POSIX timer has the number {}, which this kernel cannot give",
                    record.id
                ),
                remedy: "restart it under Linux 6.15 or newer".to_owned(),
            });
        }
        loop {
            let id = create(remote, record).context(context)?;
            if id == record.id {
                break;
            }
            // Older kernels count up: make and drop timers until the number comes.
            if chosen || id > record.id {
                return Err(std::io::Error::other(format!(
                    "got id {id} instead of {}",
                    record.id
                )))
                .context(context);
            }
            remote
                .must(libc::SYS_timer_delete, [id as u64, 0, 0, 0, 0, 0])
                .context(context)?;
        }
    }
    if chosen {
        prctl(remote, 0)?.context(context)?;
    }
    Ok(())
}

/// `struct sigevent`: value, signo, notify, tid.
fn create(remote: &mut Remote<'_>, record: &PosixTimerV1) -> io::Result<i32> {
    let mut event = record.value.to_ne_bytes().to_vec();
    for word in [record.signal, record.notify, record.thread] {
        event.extend_from_slice(&word.to_ne_bytes());
    }
    event.resize(64, 0);
    let event = remote.put(0, &event)?;
    let id = remote.put(128, &record.id.to_ne_bytes())?;
    remote.must(libc::SYS_timer_create, [record.clock as u64, event, id, 0, 0, 0])?;
    remote.get(128).map(i32::from_ne_bytes)
}

/// Arms all timers; a one-shot timer that had expired stays disarmed.
pub(crate) fn arm(remote: &mut Remote<'_>, record: &ProcessV1) -> io::Result<()> {
    for (which, timer) in (0_u64..).zip(&record.interval_timers) {
        // "About to expire" reads as zero with an interval.
        let value = if timer.value_us == 0 {
            timer.interval_us
        } else {
            timer.value_us
        };
        if value != 0 {
            let micro = 1_000_000;
            let words = [
                timer.interval_us / micro,
                timer.interval_us % micro,
                value / micro,
                value % micro,
            ];
            let address = remote.put(0, &bytes(words))?;
            remote.must(libc::SYS_setitimer, [which, address, 0, 0, 0, 0])?;
        }
    }
    let pending: Vec<&Vec<u8>> = record
        .threads
        .iter()
        .flat_map(|t| &t.pending)
        .chain(&record.pending)
        .collect();
    for timer in &record.posix_timers {
        let at_once = pending
            .iter()
            .any(|info| sends_again(info, std::slice::from_ref(timer)));
        let value = if at_once {
            1
        } else if timer.remaining_ns == 0 {
            timer.interval_ns
        } else {
            timer.remaining_ns
        };
        if value != 0 {
            let nano = 1_000_000_000;
            let words = [
                timer.interval_ns / nano,
                timer.interval_ns % nano,
                value / nano,
                value % nano,
            ];
            let address = remote.put(0, &bytes(words))?;
            remote.must(libc::SYS_timer_settime, [timer.id as u64, 0, address, 0, 0, 0])?;
        }
    }
    Ok(())
}
