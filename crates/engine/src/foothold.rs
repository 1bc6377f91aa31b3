//! Where remote calls are made in a running program.

use crate::error::Context;
use crate::{Error, Result};
use rethaw_sys::proc::{Maps, Pid, Vma};
use rethaw_sys::remote::{Foothold, GADGET_SIZE, SCRATCH_SIZE};

/// Borrows a place in a frozen process.
///
/// The gadget goes to the last bytes of the vdso, where the image has its section headers or nothing: no code,
/// and nothing that is read at run time. In a program that has unmapped its vdso it goes to the zeros with which
/// a linker fills the last page of a program's or library's code. The scratch memory is the lowest part of the
/// main stack: below a thread's stack pointer would not do, because a goroutine or coroutine has somebody else's
/// data there. `stack_pointers` are those of all threads; the place must be well below any of them.
pub(crate) fn borrow(pid: Pid, maps: &Maps, stack_pointers: &[u64]) -> Result<Foothold> {
    let vdso = maps.named(b"[vdso]").filter(|vdso| vdso.exec);
    let gadget = vdso
        .map(|vdso| vdso.end - GADGET_SIZE)
        .or_else(|| padding(pid, maps))
        .ok_or_else(|| missing(pid, "no vdso and no room at the end of its code"))?;
    let stack = maps
        .named(b"[stack]")
        .ok_or_else(|| missing(pid, "no main stack"))?;
    if !(stack.read && stack.write) {
        return Err(missing(pid, "a main stack that it cannot write to"));
    }
    let lowest = lowest_part(maps, stack);
    // Where the stack is used to its last page, it grows: an access through /proc/PID/mem lets the kernel
    // extend it (Linux 6.5, __access_remote_vm), up to the program's own limit.
    let scratch = free_part(lowest, stack_pointers)
        .or_else(|| room_below(maps, lowest))
        .ok_or_else(|| missing(pid, "no room on or below its main stack"))?;
    Foothold::borrow(pid, gadget, scratch).context(|| format!("cannot write to the memory of process {pid}"))
}

/// Zeros at the end of code that comes from a file.
fn padding(pid: Pid, maps: &Maps) -> Option<u64> {
    let code = maps
        .vmas
        .iter()
        .filter(|vma| vma.read && vma.exec && !vma.write && !vma.shared && vma.is_file());
    let mut places = code.map(|vma| vma.end - GADGET_SIZE);
    places.find(|place| {
        let mut bytes = [1; GADGET_SIZE as usize];
        rethaw_sys::memory::read(pid, *place, &mut bytes).is_ok() && bytes.iter().all(|byte| *byte == 0)
    })
}

/// The lowest part of a stack of which parts were protected otherwise (mprotect(2)), as far as it can be written to.
fn lowest_part<'a>(maps: &'a Maps, stack: &'a Vma) -> &'a Vma {
    let below = |part: &Vma| {
        let before = part.start.checked_sub(1).and_then(|address| maps.at(address))?;
        (before.read && before.write && before.has(b"gd")).then_some(before)
    };
    std::iter::successors(Some(stack), |part| below(part))
        .last()
        .unwrap_or(stack)
}

/// The lowest pages of a part of the stack, if no thread's stack pointer is near them.
fn free_part(part: &Vma, stack_pointers: &[u64]) -> Option<u64> {
    const RED_ZONE: u64 = 128;
    let lowest = stack_pointers
        .iter()
        .filter(|sp| (part.start..part.end).contains(sp))
        .min();
    let limit = lowest.copied().unwrap_or(part.end) - RED_ZONE;
    (part.start + SCRATCH_SIZE <= limit).then_some(part.start)
}

/// Where the stack would grow to, if nothing is there.
fn room_below(maps: &Maps, part: &Vma) -> Option<u64> {
    let start = part.start.checked_sub(SCRATCH_SIZE)?;
    let taken = maps
        .vmas
        .iter()
        .any(|vma| vma.start < part.start && start < vma.end);
    (!taken).then_some(start)
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
