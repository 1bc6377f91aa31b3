//! Threads: registers, extended state, what the kernel keeps per thread, and the call in which it was stopped.

use super::{credentials, keyring, numa, scheduling};
use crate::Result;
use crate::checkpoint::freeze::FrozenThread;
use crate::error::{Context, Error};
use crate::foothold::thread_name;
use crate::tree::InterruptedBefore;
use rethaw_image::record::{Backing, InterruptedCallV1, MemoryV1, ProcessV1, RseqV1, ThreadV1};
use rethaw_sys::arch::{ExtendedState, Interrupted, Registers};
use rethaw_sys::memory;
use rethaw_sys::proc::{self, Pid, Tid};
use rethaw_sys::ptrace::Stopped;
use rethaw_sys::remote::{Foothold, Remote};
use rethaw_sys::task;

/// How a thread goes on after a restart.
#[derive(Debug, Clone)]
pub(crate) struct GoingOn {
    pub registers: Registers,
    /// The timed call that it goes on with.
    sleep: Option<InterruptedCallV1>,
}

/// Brings a thread that was just stopped into a state from which remote calls can start, and gives the
/// registers with which it goes on after a restart.
pub(crate) fn settle(pid: Pid, thread: &mut FrozenThread) -> Result<GoingOn> {
    let tid = thread.stopped.tid();
    let name = || format!("cannot read the registers of {}", thread_name(pid, tid));
    let mut registers = thread.stopped.registers().context(name)?;
    if !registers.is_64bit() {
        return Err(Error::Refused {
            what: "a 32-bit program".to_owned(),
            pid: pid.0,
            place: format!("thread {tid}"),
            remedy: "run its 64-bit build".to_owned(),
        });
    }
    if thread.stopped.dispatches_calls().context(name)? {
        return Err(Error::Refused {
            what: "a program that gets its own system calls as signals (syscall user dispatch)".to_owned(),
            pid: pid.0,
            place: format!("thread {tid}"),
            remedy: "run the program without it".to_owned(),
        });
    }
    let before = registers.to_bytes();
    abort_critical_section(pid, &thread.stopped, &mut registers)?;
    hide_spurious_eintr(pid, &thread.stopped, &mut registers).context(name)?;
    if registers.to_bytes() != before {
        thread.stopped.set_registers(&registers).context(name)?;
    }
    Ok(going_on(pid, &registers, thread.interrupted))
}

/// A thread inside a restartable sequence goes on at its abort handler, as after any preemption (rseq(2)). Has
/// to be done before a remote call: the kernel would then take the sequence for left.
fn abort_critical_section(pid: Pid, stopped: &Stopped, registers: &mut Registers) -> Result<()> {
    const RSEQ_CS_OFFSET: u64 = 8;
    let name = || {
        format!(
            "cannot read the restartable sequence of {}",
            thread_name(pid, stopped.tid())
        )
    };
    let Some((address, ..)) = stopped.rseq().context(name)? else {
        return Ok(());
    };
    let mut pointer = [0; 8];
    memory::read(pid, address + RSEQ_CS_OFFSET, &mut pointer).context(name)?;
    let pointer = u64::from_ne_bytes(pointer);
    if pointer == 0 {
        return Ok(());
    }
    // struct rseq_cs: version, flags (u32 each), start_ip, post_commit_offset, abort_ip.
    let mut section = [0; 32];
    memory::read(pid, pointer, &mut section).context(name)?;
    let word = |at: usize| u64::from_ne_bytes(section[at..at + 8].try_into().unwrap_or_default());
    if registers.ip().wrapping_sub(word(8)) < word(16) {
        registers.set_ip(word(24));
        registers.leave_call();
    }
    Ok(())
}

/// epoll_wait and sigtimedwait return EINTR after a stop. If no signal is there to explain it, the call is made
/// again instead.
fn hide_spurious_eintr(pid: Pid, stopped: &Stopped, registers: &mut Registers) -> std::io::Result<()> {
    let Interrupted::SpuriousEintr(number) = registers.interrupted() else {
        return Ok(());
    };
    let status = proc::Status::read((pid, stopped.tid())).map_err(std::io::Error::other)?;
    let deliverable = (status.signals.pending | status.signals.shared_pending) & !stopped.blocked()?;
    if deliverable == 0 {
        registers.call_again(number);
    }
    Ok(())
}

/// How the thread goes on after a restart, when the kernel knows nothing of the interrupted call any more.
fn going_on(pid: Pid, registers: &Registers, first: Option<InterruptedBefore>) -> GoingOn {
    let mut going_on = GoingOn {
        registers: *registers,
        sleep: None,
    };
    let again = &mut going_on.registers;
    match (registers.interrupted(), first) {
        (Interrupted::No, _) => again.leave_call(),
        (Interrupted::Again(number), _) => again.call_again(number),
        (Interrupted::RestartBlock(_), Some(first)) => match remaining_ns(pid, registers, first) {
            Some(remaining_ns) => {
                again.sleeps_in(first.number);
                going_on.sleep = Some(InterruptedCallV1 {
                    number: first.number,
                    remaining_ns,
                });
            }
            // An absolute time, or one that could not be found out: then the whole time again, never less.
            None => again.call_again(first.number),
        },
        // Either EINTR has an explanation, or the call was interrupted before this agent watched, and the
        // kernel does not tell which call it was.
        (Interrupted::RestartBlock(_) | Interrupted::SpuriousEintr(_), _) => again.call_returns_eintr(),
    }
    going_on
}

/// What is left of a timed call: for a sleep whose caller wants to know, the kernel has written it to the
/// caller's memory when it was interrupted (nanosleep(2)); else from when it was seen to fall asleep.
fn remaining_ns(pid: Pid, registers: &Registers, first: InterruptedBefore) -> Option<u64> {
    let told = match first.number as i64 {
        libc::SYS_nanosleep => registers.arguments()[1],
        libc::SYS_clock_nanosleep => registers.arguments()[3],
        _ => 0,
    };
    let mut time = [0; 16];
    if told != 0 && memory::read(pid, told, &mut time).is_ok() {
        let word = |at: usize| u64::from_ne_bytes(time[at..at + 8].try_into().unwrap_or_default());
        return word(0).checked_mul(NANOSECONDS)?.checked_add(word(8));
    }
    let left = first.deadline? - task::clock_ns(libc::CLOCK_MONOTONIC);
    Some(u64::try_from(left).unwrap_or(0))
}

const NANOSECONDS: u64 = 1_000_000_000;

/// What of the extended state only the thread itself can load.
pub(crate) fn load_extended_state(remote: &mut Remote<'_>, record: &ThreadV1) -> Result<()> {
    remote
        .load_extended_state(&ExtendedState(record.xstate.clone()))
        .context(|| format!("cannot load the AMX registers of thread {}", record.tid))
}

/// Lets a rebuilt thread fall asleep again for what was left, and interrupts it: the kernel has its restart
/// block again, and the thread goes on like one that was only stopped. Gives its registers.
pub(crate) fn sleep_again(remote: &mut Remote<'_>, record: &ThreadV1) -> Result<Option<Registers>> {
    let Some(sleep) = &record.interrupted else {
        return Ok(None);
    };
    let name = || format!("cannot let thread {} go on sleeping", record.tid);
    let mut registers = registers_of(record)?;
    let [a, b, c, d, ..] = registers.arguments();
    let time = [sleep.remaining_ns / NANOSECONDS, sleep.remaining_ns % NANOSECONDS];
    let bytes: Vec<u8> = time.iter().flat_map(|word| word.to_ne_bytes()).collect();
    let time = remote.put(0, &bytes).context(name)?;
    let arguments = match sleep.number as i64 {
        // Where the caller wants to be told what is left, it stays so.
        libc::SYS_nanosleep => [time, b, 0, 0, 0, 0],
        libc::SYS_clock_nanosleep => [a, b, time, d, 0, 0],
        libc::SYS_poll => [a, b, sleep.remaining_ns.div_ceil(1_000_000), 0, 0, 0],
        libc::SYS_futex => [a, b, c, time, 0, 0],
        _ => return Err(crate::restart::damaged("an interrupted call that has no time")),
    };
    let result = remote
        .call_interrupted(sleep.number as i64, arguments)
        .context(name)?;
    registers.call_returns(result);
    if registers.restarts(sleep.number) {
        registers.sleeps_in(sleep.number);
    }
    Ok(Some(registers))
}

/// What the next checkpoint has to know of a thread that sleeps again.
pub(crate) fn interrupted_before(registers: &Registers, record: &ThreadV1) -> Option<InterruptedBefore> {
    let Interrupted::RestartBlock(number) = registers.interrupted() else {
        return None;
    };
    let remaining = i64::try_from(record.interrupted?.remaining_ns).ok()?;
    let deadline = task::clock_ns(libc::CLOCK_MONOTONIC).checked_add(remaining);
    Some(InterruptedBefore {
        number,
        ip: registers.ip(),
        deadline,
    })
}

fn registers_of(record: &ThreadV1) -> Result<Registers> {
    Registers::from_bytes(&record.registers).ok_or_else(|| Error::CannotRestart {
        what: format!(
            "the registers of thread {} in the image have a wrong size",
            record.tid
        ),
        remedy: "take an older checkpoint".to_owned(),
    })
}

/// Collects one settled thread. `process` makes further calls in the same remote session.
pub(crate) fn collect(
    pid: Pid,
    thread: &mut FrozenThread,
    going_on: &GoingOn,
    foothold: &Foothold,
    process: impl FnOnce(&mut Remote<'_>) -> Result<()>,
) -> Result<ThreadV1> {
    let stopped = &mut thread.stopped;
    let tid = stopped.tid();
    let name = || format!("cannot ask for the state of {}", thread_name(pid, tid));
    let status = proc::Status::read((pid, tid)).context_proc()?;
    let (robust_list, robust_list_len) = task::robust_list(tid).context(name)?;
    let own = super::sharing::own_folders(pid, tid)?;
    let mut record = ThreadV1 {
        umask: own.as_ref().map_or(0, |(_, umask)| *umask),
        folders: own.map(|(folders, _)| folders),
        tid: status.ns_pids.last().copied().unwrap_or(tid.0),
        registers: going_on.registers.to_bytes(),
        interrupted: going_on.sleep,
        xstate: stopped.extended_state().context(name)?.0,
        blocked: stopped.blocked().context(name)?,
        pending: stopped.pending(false).context(name)?,
        robust_list,
        robust_list_len,
        rseq: stopped
            .rseq()
            .context(name)?
            .map(|(address, size, signature, flags)| RseqV1 {
                address,
                size,
                signature,
                flags,
            }),
        comm: status.name.clone(),
        scheduling: Some(scheduling::collect(tid)?),
        no_new_privs: status.no_new_privs,
        machine_check: proc::Stat::read((pid, tid)).context_proc()?.machine_check(),
        ..ThreadV1::default()
    };
    let mut remote = Remote::begin(stopped, foothold).context(name)?;
    let asked = ask_thread(&mut remote, &status, &mut record)
        .context(name)
        .and_then(|()| keyring::refuse_keys(&mut remote, pid, tid))
        .and_then(|()| process(&mut remote));
    // Whatever came of it: the thread gets back what it had.
    let ended = remote.end().context(name);
    asked.and(ended)?;
    Ok(record)
}

/// A main thread that has ended while others run on. A restart makes one, because only it has the process's number, and
/// lets it end at once: it begins at a `syscall` instruction of the vdso, with the number of exit(2).
pub(crate) fn ended_leader(process: &ProcessV1, memory: &MemoryV1) -> Option<ThreadV1> {
    const SYSCALL: [u8; 2] = [0x0f, 0x05];
    let vdso = memory.mappings.iter().find(|m| m.backing() == Backing::Vdso)?;
    let instruction = memory
        .vdso
        .windows(SYSCALL.len())
        .position(|bytes| bytes == SYSCALL)?;
    let other = process.threads.first()?;
    let registers = Registers::from_bytes(&other.registers)?;
    let (ip, number) = (vdso.start + instruction as u64, libc::SYS_exit as u64);
    Some(ThreadV1 {
        tid: process.pid,
        registers: registers.for_call(ip, registers.sp(), number, [0; 6]).to_bytes(),
        blocked: u64::MAX,
        pending: Vec::new(),
        alternate_stack: Vec::new(),
        tid_address: 0,
        robust_list: 0,
        rseq: None,
        parent_death_signal: 0,
        interrupted: None,
        ..other.clone()
    })
}

const PR_GET_TID_ADDRESS: u64 = 40;
const PR_GET_PDEATHSIG: u64 = 2;
const PR_GET_TSC: u64 = 25;
const PR_SET_TSC: u64 = 26;
const PR_TSC_SIGSEGV: u32 = 2;
const PR_MCE_KILL: u64 = 33;
const PR_MCE_KILL_SET: u64 = 1;

fn ask_thread(remote: &mut Remote<'_>, status: &proc::Status, record: &mut ThreadV1) -> std::io::Result<()> {
    let out = remote.put(0, &[0; 64])?;
    remote.must(libc::SYS_sigaltstack, [0, out, 0, 0, 0, 0])?;
    record.alternate_stack = remote.get::<24>(0)?.to_vec();
    remote.must(libc::SYS_prctl, [PR_GET_TID_ADDRESS, out, 0, 0, 0, 0])?;
    record.tid_address = u64::from_ne_bytes(remote.get(0)?);
    remote.must(libc::SYS_prctl, [PR_GET_PDEATHSIG, out, 0, 0, 0, 0])?;
    record.parent_death_signal = i32::from_ne_bytes(remote.get(0)?);
    record.credentials = Some(credentials::collect(status, remote)?);
    record.memory_policy = numa::ask(remote, None)?;
    // Only x86 has it.
    if remote
        .call(libc::SYS_prctl, [PR_GET_TSC, out, 0, 0, 0, 0])?
        .is_ok()
    {
        record.timestamp_counter = u32::from_ne_bytes(remote.get(0)?);
    }
    let slack = scheduling::ask_timer_slack(remote)?;
    if let Some(attributes) = &mut record.scheduling {
        attributes.timer_slack_ns = slack;
    }
    Ok(())
}

/// Gives a new thread everything but its registers and its mask. `pid` as seen from here.
pub(crate) fn rebuild(
    remote: &mut Remote<'_>,
    tid: Tid,
    record: &ThreadV1,
    warnings: &mut Vec<String>,
) -> Result<()> {
    let name = || format!("cannot rebuild thread {}", record.tid);
    tell_thread(remote, record).context(name)?;
    numa::rebuild_thread(remote, record.memory_policy.as_ref(), warnings).context(name)?;
    if let Some(attributes) = &record.scheduling {
        scheduling::rebuild(tid, attributes, remote, warnings)?;
    }
    Ok(())
}

fn tell_thread(remote: &mut Remote<'_>, record: &ThreadV1) -> std::io::Result<()> {
    remote.must(libc::SYS_set_tid_address, [record.tid_address, 0, 0, 0, 0, 0])?;
    if record.robust_list != 0 {
        let arguments = [record.robust_list, record.robust_list_len, 0, 0, 0, 0];
        remote.must(libc::SYS_set_robust_list, arguments)?;
    }
    if let Some(rseq) = &record.rseq {
        let arguments = [
            rseq.address,
            rseq.size.into(),
            rseq.flags.into(),
            rseq.signature.into(),
            0,
            0,
        ];
        remote.must(libc::SYS_rseq, arguments)?;
    }
    if record.timestamp_counter == PR_TSC_SIGSEGV {
        remote.must(
            libc::SYS_prctl,
            [PR_SET_TSC, record.timestamp_counter.into(), 0, 0, 0, 0],
        )?;
    }
    if let Some(policy) = record.machine_check.checked_sub(1) {
        remote.must(
            libc::SYS_prctl,
            [PR_MCE_KILL, PR_MCE_KILL_SET, policy.into(), 0, 0, 0],
        )?;
    }
    let mut name = record.comm.clone();
    name.truncate(15);
    name.push(0);
    let address = remote.put(0, &name)?;
    remote.must(libc::SYS_prctl, [libc::PR_SET_NAME as u64, address, 0, 0, 0, 0])?;
    if let Some(stack) = settable_stack(&record.alternate_stack) {
        let address = remote.put(0, &stack)?;
        remote.must(libc::SYS_sigaltstack, [address, 0, 0, 0, 0, 0])?;
    }
    Ok(())
}

/// `stack_t` that can be set: SS_ONSTACK only tells that the thread ran on it (sigaltstack(2)), the kernel
/// derives it from the stack pointer.
fn settable_stack(stack: &[u8]) -> Option<[u8; 24]> {
    const SS_ONSTACK: u32 = 1;
    let mut stack: [u8; 24] = stack.try_into().ok()?;
    let flags = u32::from_ne_bytes(stack[8..12].try_into().ok()?) & !SS_ONSTACK;
    stack[8..12].copy_from_slice(&flags.to_ne_bytes());
    Some(stack)
}

/// The very last step of a thread: registers, extended state and mask of the program.
pub(crate) fn hand_over(stopped: &mut Stopped, record: &ThreadV1, asleep: Option<Registers>) -> Result<()> {
    let name = || format!("cannot set the registers of thread {}", record.tid);
    let registers = asleep.map_or_else(|| registers_of(record), Ok)?;
    let here = stopped.extended_state().context(name)?;
    let fitting = fitting_state(&record.xstate, &here.0).ok_or_else(|| Error::CannotRestart {
        what: format!(
            "this processor or its kernel lacks registers that thread {} uses",
            record.tid
        ),
        remedy: "restart on a node of the same or a newer kind".to_owned(),
    })?;
    stopped
        .set_extended_state(&ExtendedState(fitting))
        .context(name)?;
    stopped.set_blocked(record.blocked).context(name)?;
    stopped.set_registers(&registers).context(name)
}

/// The saved extended state in the size that the kernel has here, the only one that it takes. `None` if what
/// the thread uses of it does not exist `here`.
fn fitting_state(saved: &[u8], here: &[u8]) -> Option<Vec<u8>> {
    /// Where the kernel says which features it has enabled (sw_reserved of the FXSAVE area).
    const ENABLED: usize = 464;
    /// XSTATE_BV: the features that the thread uses.
    const USED: usize = 512;
    let word = |area: &[u8], at: usize| {
        let bytes = area.get(at..at + 8)?.try_into().ok()?;
        Some(u64::from_ne_bytes(bytes))
    };
    if saved.len() > here.len() && word(saved, USED)? & !word(here, ENABLED)? != 0 {
        return None;
    }
    let mut fitting = saved.to_vec();
    fitting.resize(here.len(), 0);
    Some(fitting)
}

/// Turns errors of /proc readers into ours.
pub(crate) trait ContextProc<T> {
    /// The reader's error names the file already.
    fn context_proc(self) -> Result<T>;
}

impl<T> ContextProc<T> for proc::Result<T> {
    fn context_proc(self) -> Result<T> {
        self.map_err(|e| Error::Os {
            operation: "cannot read the state of a process".to_owned(),
            source: std::io::Error::other(e),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn area(len: usize, enabled: u8, used: u8) -> Vec<u8> {
        let mut area = vec![0; len];
        (area[464], area[512]) = (enabled, used);
        area
    }

    #[test]
    fn extended_state_gets_the_size_of_this_machine() {
        let (small, large) = (area(832, 7, 7), area(2696, 0xe7, 7));
        let len = |saved: &[u8], here: &[u8]| fitting_state(saved, here).map(|area| area.len());
        assert_eq!(len(&small, &small), Some(832));
        assert_eq!(len(&small, &large), Some(2696));
        assert_eq!(len(&large, &small), Some(832));
        assert_eq!(len(&area(2696, 0xe7, 0xe7), &small), None);
        assert_eq!(len(&large, &[]), None);
    }
}
