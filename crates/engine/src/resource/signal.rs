//! Signals: actions and pending signals. Masks and alternate stacks belong to threads.

use super::timer;
use crate::Result;
use crate::error::Context;
use rethaw_image::record::{ProcessV1, SignalActionV1, ThreadV1};
use rethaw_sys::remote::Remote;
use std::io;

const SIGNALS: u64 = 64;
const SIGACTION_SIZE: usize = 32;

/// Asks for the actions of all signals: flags are kept, and given back by sigaction(2), even with the default
/// action.
pub(crate) fn collect(remote: &mut Remote<'_>) -> io::Result<Vec<SignalActionV1>> {
    let out = remote.put(0, &[0; SIGACTION_SIZE])?;
    let mut actions = vec![SignalActionV1::default(); SIGNALS as usize];
    for signal in 1..=SIGNALS {
        remote.must(libc::SYS_rt_sigaction, [signal, 0, out, 8, 0, 0])?;
        let bytes: [u8; SIGACTION_SIZE] = remote.get(0)?;
        let word = |at: usize| u64::from_ne_bytes(bytes[at..at + 8].try_into().unwrap_or_default());
        actions[signal as usize - 1] = SignalActionV1 {
            handler: word(0),
            flags: word(8),
            restorer: word(16),
            mask: word(24),
        };
    }
    Ok(actions)
}

/// Sets all actions that differ from the default.
pub(crate) fn rebuild(remote: &mut Remote<'_>, record: &ProcessV1) -> Result<()> {
    for (signal, action) in (1_u64..).zip(&record.actions) {
        let settable = ![libc::SIGKILL as u64, libc::SIGSTOP as u64].contains(&signal);
        if *action != SignalActionV1::default() && settable {
            set_action(remote, signal, action)
                .context(|| format!("cannot set the action of signal {signal}"))?;
        }
    }
    Ok(())
}

/// Back to the default action for every signal that the cloned process inherited from the init.
pub(crate) fn reset(remote: &mut Remote<'_>) -> Result<()> {
    for signal in (1..=SIGNALS).filter(|s| ![libc::SIGKILL as u64, libc::SIGSTOP as u64].contains(s)) {
        set_action(remote, signal, &SignalActionV1::default())
            .context(|| format!("cannot reset the action of signal {signal}"))?;
    }
    Ok(())
}

fn set_action(remote: &mut Remote<'_>, signal: u64, action: &SignalActionV1) -> io::Result<()> {
    let mut bytes = Vec::with_capacity(SIGACTION_SIZE);
    for word in [action.handler, action.flags, action.restorer, action.mask] {
        bytes.extend_from_slice(&word.to_ne_bytes());
    }
    let address = remote.put(0, &bytes)?;
    remote
        .must(libc::SYS_rt_sigaction, [signal, address, 0, 8, 0, 0])
        .map(drop)
}

/// Takes SIGCHLD from a process in which it is blocked, without a handler.
pub(crate) fn drop_child_signals(remote: &mut Remote<'_>) -> io::Result<()> {
    let set = remote.put(0, &(1_u64 << (libc::SIGCHLD - 1)).to_ne_bytes())?;
    let no_time = remote.put(8, &[0; 16])?;
    while remote
        .call(libc::SYS_rt_sigtimedwait, [set, 0, no_time, 8, 0, 0])?
        .is_ok()
    {}
    Ok(())
}

/// Queues signals that were pending for the process. Only the process itself may queue any siginfo
/// (rt_sigqueueinfo(2)); all signals are blocked meanwhile.
pub(crate) fn queue_process_signals(remote: &mut Remote<'_>, record: &ProcessV1) -> io::Result<()> {
    for info in record
        .pending
        .iter()
        .filter(|info| !timer::sends_again(info, &record.posix_timers))
    {
        let address = remote.put(0, info)?;
        remote.must(
            libc::SYS_rt_sigqueueinfo,
            [record.pid as u64, number(info), address, 0, 0, 0],
        )?;
    }
    Ok(())
}

/// As [`queue_process_signals`], for one thread.
pub(crate) fn queue_thread_signals(
    remote: &mut Remote<'_>,
    process: &ProcessV1,
    record: &ThreadV1,
) -> io::Result<()> {
    for info in record
        .pending
        .iter()
        .filter(|info| !timer::sends_again(info, &process.posix_timers))
    {
        let address = remote.put(0, info)?;
        remote.must(
            libc::SYS_rt_tgsigqueueinfo,
            [process.pid as u64, record.tid as u64, number(info), address, 0, 0],
        )?;
    }
    Ok(())
}

/// si_signo, the first field of siginfo.
fn number(info: &[u8]) -> u64 {
    info.get(..4)
        .and_then(|b| b.try_into().ok())
        .map_or(0, u32::from_ne_bytes)
        .into()
}
