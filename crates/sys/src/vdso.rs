//! Making an old vdso lead to this kernel's.
//!
//! A program holds pointers into the vdso that its kernel mapped (vdso(7)). Restarted under another kernel, the old
//! code is in the way: it reads kernel data (vvar) whose layout may be another one. So the old pages stay where they
//! were, and the first bytes of each exported function are replaced by a jump to the function of the same name in the
//! new vdso, or by a plain system call. Where [`interchangeable`] says so, the new vdso may simply take the old one's
//! place.
//!
//! All functions here are pure. Two duties stay with the caller: no thread may be inside the vdso (by its
//! instruction pointer, or a signal handler's return) when its pages are patched, because the code there reads the
//! old vvar; and pages that the program gave to `getrandom` (VmFlags `dp`, `wf`) come back as zeros.

mod elf;

use elf::Function;
pub use elf::{ElfError, functions};

/// Bytes to be written to an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Patch {
    /// First address, in the old vdso.
    pub address: u64,
    /// What to write there.
    pub bytes: Vec<u8>,
}

/// How to make an old vdso lead to the new one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Redirection {
    /// What to write; patches do not overlap.
    pub patches: Vec<Patch>,
    /// Functions of the old vdso that neither the new one nor a system call can stand in for. A program that uses
    /// one of these cannot go on here.
    pub left: Vec<String>,
}

/// Why a vdso cannot be redirected.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Error {
    /// The image's vdso is damaged, or of another architecture.
    #[error("the vdso of the image is unusable")]
    Old(#[source] ElfError),
    /// This kernel's vdso is not understood.
    #[error("the vdso of this kernel is unusable")]
    New(#[source] ElfError),
}

/// Numbers of the system calls (x86-64) with the arguments and results of the function of that name.
const SYSTEM_CALLS: [(&str, i64); 6] = [
    ("clock_gettime", libc::SYS_clock_gettime),
    ("gettimeofday", libc::SYS_gettimeofday),
    ("time", libc::SYS_time),
    ("getcpu", libc::SYS_getcpu),
    ("clock_getres", libc::SYS_clock_getres),
    ("getrandom", libc::SYS_getrandom),
];

/// Whether both export the same functions at the same places, so that the new vdso, mapped at the old one's address,
/// serves as it is. Machine code may differ: the kernel fits it to the processor at boot.
pub fn interchangeable(old: &[u8], new: &[u8]) -> bool {
    match (functions(old), functions(new)) {
        (Ok(old), Ok(new)) => {
            let places = |all: &[Function]| {
                let mut places: Vec<_> = all.iter().map(|one| (one.name.clone(), one.offset)).collect();
                places.sort_unstable();
                places
            };
            places(&old) == places(&new)
        }
        _ => false,
    }
}

/// Plans the patches for the vdso `old` that lies at `old_address`, so that it leads to `new` at `new_address`.
///
/// `getrandom` always becomes a system call: the size of the state that the program allocated for it was told by the
/// old kernel, and the new vdso would refuse another one (lib/vdso/getrandom.c, Linux 6.11).
pub fn redirect(old: &[u8], old_address: u64, new: &[u8], new_address: u64) -> Result<Redirection, Error> {
    let old_functions = functions(old).map_err(Error::Old)?;
    let new_functions = functions(new).map_err(Error::New)?;
    let mut redirection = Redirection::default();
    for function in &old_functions {
        let address = old_address.wrapping_add(function.offset);
        if redirection.patches.iter().any(|patch| patch.address == address) {
            continue;
        }
        let target = new_functions
            .iter()
            .find(|candidate| plain_name(candidate) == plain_name(function));
        let target = target.map(|target| new_address.wrapping_add(target.offset));
        match replacement(
            plain_name(function),
            address,
            target,
            room(function, &old_functions),
        ) {
            Some(bytes) => redirection.patches.push(Patch { address, bytes }),
            None => redirection.left.push(function.name.clone()),
        }
    }
    Ok(redirection)
}

/// Every function has the names `NAME` and `__vdso_NAME`.
fn plain_name(function: &Function) -> &str {
    function.name.strip_prefix("__vdso_").unwrap_or(&function.name)
}

/// How many bytes from the function's start may be overwritten.
fn room(function: &Function, all: &[Function]) -> u64 {
    let starts = all.iter().map(|other| other.offset);
    let next = starts
        .filter(|&start| start > function.offset)
        .min()
        .unwrap_or(u64::MAX);
    function.size.min(next - function.offset)
}

/// Machine code for the function's start; the first choice that fits in `room` bytes.
fn replacement(name: &str, address: u64, target: Option<u64>, room: u64) -> Option<Vec<u8>> {
    let call = SYSTEM_CALLS
        .iter()
        .find(|(known, _)| *known == name)
        .map(|&(_, number)| number);
    let choices = if name == "getrandom" {
        [call.map(random_stub), None, call.map(call_stub)]
    } else {
        [
            target.map(far_jump),
            target.and_then(|target| near_jump(address, target)),
            call.map(call_stub),
        ]
    };
    choices
        .into_iter()
        .flatten()
        .find(|code| code.len() as u64 <= room)
}

/// `movabs r11, target; jmp r11`: r11 is free at a function's start (System V ABI).
fn far_jump(target: u64) -> Vec<u8> {
    [&[0x49, 0xbb][..], &target.to_le_bytes(), &[0x41, 0xff, 0xe3]].concat()
}

/// `jmp target`, if it is within 2 GiB.
fn near_jump(address: u64, target: u64) -> Option<Vec<u8>> {
    const LENGTH: u64 = 5;
    let distance = target.wrapping_sub(address.wrapping_add(LENGTH)) as i64;
    let distance = i32::try_from(distance).ok()?;
    Some([&[0xe9][..], &distance.to_le_bytes()].concat())
}

/// `mov eax, number; syscall; ret`: function and system call take up to three arguments in the same registers, and
/// both return -errno.
fn call_stub(number: i64) -> Vec<u8> {
    [&[0xb8][..], &(number as u32).to_le_bytes(), &[0x0f, 0x05, 0xc3]].concat()
}

/// The system call, but for `opaque_len` (r8) of -1, which asks for the size of the state: that returns -ENOSYS, so
/// that a C library loaded later makes its system calls itself.
fn random_stub(number: i64) -> Vec<u8> {
    let compare = [0x49, 0x83, 0xf8, 0xff]; // cmp r8, -1
    let skip = [0x75, 0x08]; // jne past the next two
    let refuse = [0x48, 0xc7, 0xc0, 0xda, 0xff, 0xff, 0xff, 0xc3]; // mov rax, -ENOSYS; ret
    [&compare[..], &skip, &refuse, &call_stub(number)].concat()
}

#[cfg(test)]
#[path = "vdso/tests.rs"]
mod tests;
