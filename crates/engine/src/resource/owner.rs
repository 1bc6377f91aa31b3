//! Who gets the signal when something can be read or written: fcntl(2) F_SETOWN_EX, F_SETSIG, and O_ASYNC, of any
//! description.

use super::descriptor::Seen;
use super::numbers::Numbers;
use crate::Result;
use crate::error::Context;
use crate::restart::{Plan, Stub};
use rethaw_image::record::{DescriptionV1, OwnerV1};
use rethaw_sys::descriptor;
use rethaw_sys::proc::Stat;
use std::os::fd::{AsFd, BorrowedFd};

const THREAD: i32 = 0;
const PROCESS: i32 = 1;
const GROUP: i32 = 2;

/// The record, if anything was ever set. A receiver that has ended, or is outside of the computation, gets nothing
/// any more.
pub(crate) fn collect(seen: &Seen, numbers: &Numbers) -> Option<OwnerV1> {
    let fd = seen.duplicate.as_fd();
    let asynchronous = seen.info.flags & libc::O_ASYNC as u32 != 0;
    // A descriptor by O_PATH has none.
    let (kind, outside) = descriptor::owner(fd).ok()?;
    let number = match (kind, outside) {
        (_, 0) => None,
        (GROUP, group) => numbers.group(group),
        (_, thread) => numbers.thread(thread),
    };
    let signal = descriptor::owner_signal(fd).ok()?;
    let set = number.is_some() || signal != 0 || asynchronous;
    set.then_some(OwnerV1 {
        kind,
        number: number.unwrap_or(0),
        signal,
        asynchronous,
    })
}

/// Sets it again. The last step of a description: nothing that is done to it before may send a signal. `holder` is a
/// process that has it, and its number there, which the signal tells.
pub(crate) fn rebuild(
    record: &DescriptionV1,
    fd: BorrowedFd<'_>,
    plan: &Plan,
    stubs: &mut [Stub],
    holder: (usize, i32),
) -> Result<()> {
    let Some(owner) = &record.owner else { return Ok(()) };
    let name = || "cannot tell who gets the signals of a descriptor".to_owned();
    if let Some(number) = outside(owner, plan, stubs) {
        descriptor::set_owner(fd, owner.kind, number).context(name)?;
    }
    descriptor::set_owner_signal(fd, owner.signal).context(name)?;
    if !owner.asynchronous {
        return Ok(());
    }
    let (process, number) = holder;
    let flags = u64::from(record.flags | libc::O_ASYNC as u32);
    let Some(stub) = stubs.get_mut(process) else {
        return Ok(());
    };
    stub.remote()?
        .must(
            libc::SYS_fcntl,
            [number as u64, libc::F_SETFL as u64, flags, 0, 0, 0],
        )
        .context(name)?;
    Ok(())
}

/// The receiver's number here.
fn outside(owner: &OwnerV1, plan: &Plan, stubs: &[Stub]) -> Option<i32> {
    let mut all = plan.processes.iter().zip(stubs);
    match owner.kind {
        THREAD => all.find_map(|(record, stub)| {
            let index = record
                .threads
                .iter()
                .position(|thread| thread.tid == owner.number)?;
            Some(stub.threads.get(index)?.tid().0)
        }),
        PROCESS => all
            .find(|(record, _)| record.pid == owner.number)
            .map(|(_, stub)| stub.pid.0),
        GROUP => all
            .find(|(record, _)| record.pgid == owner.number && owner.number != 0)
            .and_then(|(_, stub)| Some(Stat::read(stub.pid).ok()?.pgrp)),
        _ => None,
    }
}
