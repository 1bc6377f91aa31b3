//! System V semaphores.
//!
//! The kernel tells nobody what it will add to a semaphore when a process ends (SEM_UNDO). But it refuses with
//! ERANGE what would bring that number out of its range, before it refuses with EAGAIN what would have to wait.
//! So a process is let ask for operations that the kernel never does, because the last of them would have to wait
//! and may not (semop(2) does all or nothing; ipc/sem.c, perform_atomic_semop): from the size at which the error
//! changes, the number follows. Measured on Linux 6.18.

use super::records::by;
use super::{Owner, State, is_gone};
use crate::Result;
use crate::error::Context;
use crate::restart::Stub;
use rethaw_image::record::{AdjustmentV1, ProcessV1, SemaphoreSetV1, SemaphoreV1};
use rethaw_sys::remote::Remote;
use std::io;

const GETPID: u64 = 11;
const GETVAL: u64 = 12;

/// Largest value, and largest adjustment (SEMVMX, SEMAEM).
const MOST: i32 = 32767;
/// Semaphores that are asked for at once: with four operations each, they are fewer than any kernel allows.
const AT_ONCE: usize = 6;

const UNDO: i16 = 0x1000;
const NOWAIT: i16 = libc::IPC_NOWAIT as i16;

/// One operation of semop(2).
type Operation = (u32, i32, i16);

pub(super) fn collect(
    all: &[State],
    owner: &Owner,
    remote: &mut Remote<'_>,
) -> io::Result<Vec<SemaphoreSetV1>> {
    let mut sets = Vec::new();
    for state in all {
        let semaphores = match ask(state, remote) {
            Err(e) if !owner.private && is_gone(&e) => continue,
            outcome => outcome?,
        };
        let used_by: Vec<i32> = semaphores.iter().map(|semaphore| semaphore.last).collect();
        if owner.has(state, &used_by, state.u64(64).cast_signed()) {
            sets.push(SemaphoreSetV1 {
                ipc: Some(state.ipc()),
                semaphores,
                adjustments: Vec::new(),
            });
        }
    }
    Ok(sets)
}

fn ask(state: &State, remote: &mut Remote<'_>) -> io::Result<Vec<SemaphoreV1>> {
    let mut semaphores = Vec::new();
    for index in 0..state.u64(80) {
        let mut ask = |what| remote.must(libc::SYS_semctl, [state.id as u64, index, what, 0, 0, 0]);
        semaphores.push(SemaphoreV1 {
            value: ask(GETVAL)? as u32,
            last: ask(GETPID)? as i32,
        });
    }
    Ok(semaphores)
}

/// Finds out what is added to the semaphores of a set when the process ends in which `remote` runs.
pub(super) fn collect_adjustments(
    pid: i32,
    set: &mut SemaphoreSetV1,
    remote: &mut Remote<'_>,
) -> io::Result<()> {
    let id = set.ipc.map_or(-1, |ipc| ipc.id);
    let all: Vec<(u32, i32)> = (0..).zip(set.semaphores.iter().map(|s| s.value as i32)).collect();
    for some in all.chunks(AT_ONCE) {
        if at_most_zero(some, MOST, id, remote)? && at_least_zero(some, MOST, id, remote)? {
            continue;
        }
        for one in some.chunks(1) {
            let value = adjustment(one, id, remote)?;
            if value != 0 {
                set.adjustments.push(AdjustmentV1 {
                    pid,
                    semaphore: one[0].0,
                    value,
                });
            }
        }
    }
    Ok(())
}

fn adjustment(one: &[(u32, i32)], id: i32, remote: &mut Remote<'_>) -> io::Result<i32> {
    let largest = |least: i32, remote: &mut Remote<'_>, fits: Fits| {
        let (mut low, mut high) = (least, MOST);
        while low < high {
            let middle = (low + high + 1).div_euclid(2);
            if fits(one, middle, id, remote)? {
                low = middle;
            } else {
                high = middle - 1;
            }
        }
        Ok::<i32, io::Error>(low)
    };
    let above = MOST - largest(0, remote, at_most_zero)?;
    if above > 0 {
        return Ok(above);
    }
    Ok(largest(-1, remote, at_least_zero)? - MOST)
}

type Fits = fn(&[(u32, i32)], i32, i32, &mut Remote<'_>) -> io::Result<bool>;

/// Whether every adjustment plus `by` is not above its range. `by` is not 0, which would be another operation.
fn at_most_zero(all: &[(u32, i32)], by: i32, id: i32, remote: &mut Remote<'_>) -> io::Result<bool> {
    let mut operations = Vec::new();
    for (semaphore, value) in all {
        if by > *value {
            operations.push((*semaphore, by - value, 0));
        }
        operations.push((*semaphore, -by, UNDO));
    }
    let last = all.last().map_or(0, |(semaphore, _)| *semaphore);
    operations.extend([(last, 1, 0), (last, 0, NOWAIT)]);
    in_range(&operations, id, remote)
}

/// Whether every adjustment, less `by` and 1, is not below its range.
fn at_least_zero(all: &[(u32, i32)], by: i32, id: i32, remote: &mut Remote<'_>) -> io::Result<bool> {
    let mut operations = Vec::new();
    for (semaphore, value) in all {
        if *value > 0 {
            operations.push((*semaphore, -value, 0));
        }
        operations.extend([
            (*semaphore, by, UNDO),
            (*semaphore, -by, 0),
            (*semaphore, 1, UNDO),
        ]);
    }
    let last = all.last().map_or(0, |(semaphore, _)| *semaphore);
    operations.push((last, 0, NOWAIT));
    in_range(&operations, id, remote)
}

/// Operations of which the last would have to wait: EAGAIN says that all before it would do.
fn in_range(operations: &[Operation], id: i32, remote: &mut Remote<'_>) -> io::Result<bool> {
    match operate(operations, id, remote)? {
        Err(e) if e.raw_os_error() == Some(libc::EAGAIN) => Ok(true),
        Err(e) if e.raw_os_error() == Some(libc::ERANGE) => Ok(false),
        // Who may not change it has nothing to undo, nor anybody in what is gone.
        Err(e) if e.raw_os_error() == Some(libc::EACCES) || is_gone(&e) => Ok(true),
        Err(e) => Err(e),
        Ok(_) => Err(io::Error::other("the kernel did what has to wait")),
    }
}

fn operate(operations: &[Operation], id: i32, remote: &mut Remote<'_>) -> io::Result<io::Result<u64>> {
    let mut bytes = Vec::new();
    for (semaphore, by, flags) in operations {
        bytes.extend((*semaphore as u16).to_ne_bytes());
        bytes.extend((*by as i16).to_ne_bytes());
        bytes.extend(flags.to_ne_bytes());
    }
    let at = remote.put(0, &bytes)?;
    remote.call(libc::SYS_semop, [id as u64, at, operations.len() as u64, 0, 0, 0])
}

pub(super) fn is_valid(record: &SemaphoreSetV1) -> bool {
    let count = record.semaphores.len();
    let most = MOST as u32;
    let fits = |a: &AdjustmentV1| (a.semaphore as usize) < count && (-MOST - 1..=MOST).contains(&a.value);
    (1..=usize::from(u16::MAX)).contains(&count)
        && record.semaphores.iter().all(|semaphore| semaphore.value <= most)
        && record.adjustments.iter().all(fits)
}

/// Adjustments first, by operations that leave the value at zero; then the values. (To set a value would clear
/// the adjustments.) Each by the process that
/// did the same last, if it is there.
pub(super) fn rebuild(record: &SemaphoreSetV1, stubs: &mut [Stub], processes: &[ProcessV1]) -> Result<()> {
    let Some(ipc) = record.ipc else { return Ok(()) };
    let name = || format!("cannot set the System V semaphores {}", ipc.id);
    let mut run = |pid: i32, operations: &[Operation]| {
        let done = operate(operations, ipc.id, &mut by(stubs, processes, pid)?.remote()?);
        done.and_then(|outcome| outcome).map(drop).context(name)
    };
    for adjustment in &record.adjustments {
        let (semaphore, mut left) = (adjustment.semaphore, adjustment.value);
        while left != 0 {
            let part = left.clamp(-MOST, MOST);
            left -= part;
            let operations = if part > 0 {
                [(semaphore, part, 0), (semaphore, -part, UNDO)]
            } else {
                [(semaphore, -part, UNDO), (semaphore, part, 0)]
            };
            run(adjustment.pid, &operations)?;
        }
    }
    for (index, semaphore) in (0..).zip(&record.semaphores) {
        if semaphore.value > 0 || semaphore.last > 0 {
            run(semaphore.last, &[(index, semaphore.value as i32, NOWAIT)])?;
        }
    }
    Ok(())
}
