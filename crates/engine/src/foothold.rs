//! Where remote calls are made in a running program.

use crate::error::Context;
use crate::{Error, Result};
use rethaw_sys::proc::{Maps, Pid, Vma};
use rethaw_sys::remote::{Foothold, GADGET_SIZE, SCRATCH_SIZE};

/// Borrows a place in a frozen process.
///
/// The gadget goes to the last bytes of the vdso, where the image has its section headers or nothing: no code,
/// and nothing that is read at run time. The scratch memory is the lowest part of the main stack: below a
/// thread's stack pointer would not do, because a goroutine or coroutine has somebody else's data there.
/// `stack_pointers` are those of all threads; the place must be well below any of them.
pub(crate) fn borrow(pid: Pid, maps: &Maps, stack_pointers: &[u64]) -> Result<Foothold> {
    let vdso = maps.named(b"[vdso]").ok_or_else(|| missing(pid, "no vdso"))?;
    let gadget = vdso.end - GADGET_SIZE;
    let stack = maps
        .named(b"[stack]")
        .ok_or_else(|| missing(pid, "no main stack"))?;
    if !(stack.read && stack.write) {
        return Err(missing(pid, "a main stack that it cannot write to"));
    }
    // Where the stack is used to its last page, it grows: an access through /proc/PID/mem lets the kernel
    // extend it (Linux 6.5, __access_remote_vm), up to the program's own limit.
    let scratch = free_part(stack, stack_pointers).unwrap_or(stack.start - SCRATCH_SIZE);
    Foothold::borrow(pid, gadget, scratch).context(|| format!("cannot write to the memory of process {pid}"))
}

/// The lowest pages of the stack, if no thread's stack pointer is near them.
fn free_part(stack: &Vma, stack_pointers: &[u64]) -> Option<u64> {
    const RED_ZONE: u64 = 128;
    let lowest = stack_pointers
        .iter()
        .filter(|sp| (stack.start..stack.end).contains(sp))
        .min();
    let limit = lowest.copied().unwrap_or(stack.end) - RED_ZONE;
    (stack.start + SCRATCH_SIZE <= limit).then_some(stack.start)
}

fn missing(pid: Pid, what: &str) -> Error {
    Error::Refused {
        what: format!("the process has {what}, so that nothing can be asked of it"),
        pid: pid.0,
        place: "memory map".to_owned(),
        remedy: "the next checkpoint tries again".to_owned(),
    }
}

/// A thread for a message.
pub(crate) fn thread_name(pid: Pid, tid: rethaw_sys::proc::Tid) -> String {
    format!("thread {tid} of process {pid}")
}
