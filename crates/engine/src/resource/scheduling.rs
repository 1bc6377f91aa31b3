//! Scheduling of a thread: policy, nice value, affinity, I/O priority, timer slack.

use crate::Result;
use crate::error::Context;
use rethaw_image::record::SchedulingV1;
use rethaw_sys::proc::Tid;
use rethaw_sys::remote::Remote;
use rethaw_sys::task::{self, SchedulingAttributes};
use std::io;

const PR_SET_TIMERSLACK: u64 = 29;
const PR_GET_TIMERSLACK: u64 = 30;

/// All but the timer slack, which only the thread itself is told.
pub(crate) fn collect(tid: Tid) -> Result<SchedulingV1> {
    let name = || format!("cannot ask for the scheduling of thread {tid}");
    let attributes = task::scheduling(tid).context(name)?;
    let affinity = task::affinity(tid).context(name)?;
    Ok(SchedulingV1 {
        policy: attributes.policy,
        nice: attributes.nice,
        priority: attributes.priority,
        all_cpus: count(&affinity) >= cpus_online(),
        affinity,
        io_priority: task::io_priority(tid).context(name)?,
        timer_slack_ns: 0,
        flags: attributes.flags,
    })
}

fn count(mask: &[u8]) -> u32 {
    mask.iter().map(|byte| byte.count_ones()).sum()
}

fn cpus_online() -> u32 {
    std::thread::available_parallelism().map_or(1, |n| n.get() as u32)
}

/// Asks the thread for its timer slack in nanoseconds (PR_GET_TIMERSLACK).
pub(crate) fn ask_timer_slack(remote: &mut Remote<'_>) -> io::Result<u64> {
    remote.must(libc::SYS_prctl, [PR_GET_TIMERSLACK, 0, 0, 0, 0, 0])
}

/// Sets what is allowed here. What is not is told: the computation itself goes on all the same.
pub(crate) fn rebuild(
    tid: Tid,
    record: &SchedulingV1,
    remote: &mut Remote<'_>,
    warnings: &mut Vec<String>,
) -> Result<()> {
    let attributes = SchedulingAttributes {
        policy: record.policy,
        nice: record.nice,
        priority: record.priority,
        flags: record.flags,
        ..SchedulingAttributes::default()
    };
    let same = task::scheduling(tid).is_ok_and(|now| {
        (now.policy, now.nice, now.priority, now.flags)
            == (
                attributes.policy,
                attributes.nice,
                attributes.priority,
                attributes.flags,
            )
    });
    if !same && let Err(e) = task::set_scheduling(tid, &attributes) {
        warnings.push(format!(
            "a thread keeps the default scheduling instead of policy {} nice {} ({e})",
            record.policy, record.nice
        ));
    }
    if !record.all_cpus {
        rebuild_affinity(tid, &record.affinity, warnings);
    }
    if record.io_priority != 0 && task::set_io_priority(tid, record.io_priority).is_err() {
        warnings.push("the I/O priority cannot be set here".to_owned());
    }
    if record.timer_slack_ns != 0 {
        let arguments = [PR_SET_TIMERSLACK, record.timer_slack_ns, 0, 0, 0, 0];
        remote
            .must(libc::SYS_prctl, arguments)
            .context(|| "cannot set a timer slack".to_owned())?;
    }
    Ok(())
}

/// The same CPUs where this machine (and the job's CPU set) has them; else any of those that there are.
fn rebuild_affinity(tid: Tid, wanted: &[u8], warnings: &mut Vec<String>) {
    let allowed = task::affinity(tid).unwrap_or_default();
    let both: Vec<u8> = wanted.iter().zip(&allowed).map(|(a, b)| a & b).collect();
    if count(&both) == 0 {
        warnings.push("the CPUs to which a thread was bound are not there; it may use all".to_owned());
    } else if let Err(e) = task::set_affinity(tid, &both) {
        warnings.push(format!("a thread cannot be bound to its CPUs ({e})"));
    }
}
