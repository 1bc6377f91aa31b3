//! Tests on this process's own vdso, and on damaged copies of it.

#![allow(clippy::unwrap_used)]

use super::*;
use crate::proc::{Maps, Pid};
use proptest::prelude::*;
use rustix::mm::{MapFlags, MprotectFlags, ProtFlags, mmap_anonymous, mprotect};

const ELSEWHERE: u64 = 0x7fff_1234_5000;

/// This process's vdso and its address.
fn own() -> (&'static [u8], u64) {
    let maps = Maps::read_brief(Pid::own()).unwrap();
    let vma = maps.named(b"[vdso]").unwrap();
    // SAFETY: the kernel mapped these bytes for reading, and neither it nor the tests ever change or unmap them.
    let bytes = unsafe { std::slice::from_raw_parts(vma.start as *const u8, vma.bytes() as usize) };
    (bytes, vma.start)
}

/// A copy of the own vdso without the function `name`, under either of its names.
fn without(name: &str) -> Vec<u8> {
    let (bytes, _) = own();
    let mut copy = bytes.to_vec();
    let ended = [name.as_bytes(), b"\0"].concat();
    let places: Vec<_> = (0..copy.len())
        .filter(|&at| copy[at..].starts_with(&ended))
        .collect();
    for at in places {
        copy[at] = b'?';
    }
    copy
}

/// A copy of the own vdso at a place of its own, patched to lead to `new`, ready to be called.
fn patched_copy(new: &[u8]) -> (u64, Redirection) {
    let (bytes, address) = own();
    let writable = ProtFlags::READ | ProtFlags::WRITE;
    // SAFETY: a new mapping at a place of the kernel's choice touches no existing memory. It is never unmapped.
    let start =
        unsafe { mmap_anonymous(std::ptr::null_mut(), bytes.len(), writable, MapFlags::PRIVATE) }.unwrap();
    let redirection = redirect(bytes, start as u64, new, address).unwrap();
    // SAFETY: the mapping is as long as `bytes` and nobody else knows of it yet.
    let copy = unsafe { std::slice::from_raw_parts_mut(start.cast::<u8>(), bytes.len()) };
    copy.copy_from_slice(bytes);
    for patch in &redirection.patches {
        let at = (patch.address - start as u64) as usize;
        copy[at..at + patch.bytes.len()].copy_from_slice(&patch.bytes);
    }
    let executable = MprotectFlags::READ | MprotectFlags::EXEC;
    // SAFETY: `copy` is not used after this, so no reference sees the pages become read-only.
    unsafe { mprotect(start, bytes.len(), executable) }.unwrap();
    (start as u64, redirection)
}

fn address_of(name: &str, base: u64) -> u64 {
    let (bytes, _) = own();
    let all = functions(bytes).unwrap();
    base + all.iter().find(|function| function.name == name).unwrap().offset
}

/// Calls clock_gettime(CLOCK_MONOTONIC) at this address; nanoseconds.
fn monotonic_at(address: u64) -> u128 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the address is that of a function with clock_gettime's signature, here or behind a patch, and the
    // kernel's code writes only to `time`.
    let returned = unsafe {
        let function: extern "C" fn(libc::clockid_t, *mut libc::timespec) -> libc::c_int =
            std::mem::transmute(address as *const ());
        function(libc::CLOCK_MONOTONIC, &mut time)
    };
    assert_eq!(returned, 0);
    std::time::Duration::new(time.tv_sec as u64, time.tv_nsec as u32).as_nanos()
}

#[test]
fn own_functions_are_found() {
    let (bytes, _) = own();
    let names: Vec<_> = functions(bytes)
        .unwrap()
        .into_iter()
        .map(|function| function.name)
        .collect();
    for name in [
        "__vdso_clock_gettime",
        "clock_gettime",
        "__vdso_getcpu",
        "__vdso_time",
    ] {
        assert!(names.iter().any(|found| found == name), "{name} of {names:?}");
    }
    assert!(interchangeable(bytes, bytes));
    assert!(!interchangeable(bytes, &without("getcpu")));
    assert!(!interchangeable(bytes, b""));
}

#[test]
fn a_patched_copy_leads_to_the_new_one() {
    let (bytes, address) = own();
    let (start, redirection) = patched_copy(bytes);
    assert!(redirection.left.is_empty());
    let function = address_of("__vdso_clock_gettime", start);
    let patch = redirection
        .patches
        .iter()
        .find(|patch| patch.address == function)
        .unwrap();
    assert_eq!(patch.bytes, far_jump(address_of("clock_gettime", address)));
    let before = monotonic_at(address_of("clock_gettime", address));
    let through = monotonic_at(function);
    assert!(before <= through && through <= monotonic_at(address_of("clock_gettime", address)));
}

#[test]
fn a_function_that_is_gone_becomes_a_system_call() {
    let (start, redirection) = patched_copy(&without("clock_gettime"));
    assert!(redirection.left.is_empty());
    let function = address_of("__vdso_clock_gettime", start);
    let patch = redirection
        .patches
        .iter()
        .find(|patch| patch.address == function)
        .unwrap();
    assert_eq!(patch.bytes, call_stub(libc::SYS_clock_gettime));
    let (_, address) = own();
    let before = monotonic_at(address_of("clock_gettime", address));
    assert!(before <= monotonic_at(function));
}

#[test]
fn getrandom_becomes_a_system_call_that_tells_no_size() {
    let (bytes, _) = own();
    if !functions(bytes)
        .unwrap()
        .iter()
        .any(|function| function.name == "__vdso_getrandom")
    {
        eprintln!("skipped: the vdso of this kernel has no getrandom");
        return;
    }
    let (start, _) = patched_copy(bytes);
    let mut buffer = [0u8; 32];
    // SAFETY: the signature is that of __vdso_getrandom (Linux 6.11); the code behind it writes at most 32 bytes to
    // `buffer` and ignores the last two arguments but for a length of -1.
    let (filled, refused) = unsafe {
        let function: extern "C" fn(*mut u8, usize, u32, *mut u8, usize) -> isize =
            std::mem::transmute(address_of("__vdso_getrandom", start) as *const ());
        let none = std::ptr::null_mut();
        (
            function(buffer.as_mut_ptr(), 32, 0, none, 144),
            function(none, 0, 0, none, usize::MAX),
        )
    };
    assert_eq!((filled, refused), (32, -libc::ENOSYS as isize));
    assert_ne!(buffer, [0; 32]);
}

#[test]
fn short_functions_get_what_fits() {
    let near = ELSEWHERE + 0x1000;
    assert_eq!(
        replacement("time", ELSEWHERE, Some(near), 13),
        Some(far_jump(near))
    );
    assert_eq!(
        replacement("time", ELSEWHERE, Some(near), 12),
        near_jump(ELSEWHERE, near)
    );
    assert_eq!(near_jump(ELSEWHERE, near).unwrap(), [0xe9, 0xfb, 0x0f, 0, 0]);
    assert_eq!(near_jump(ELSEWHERE, 0), None);
    assert_eq!(
        replacement("time", ELSEWHERE, Some(0), 12),
        Some(call_stub(libc::SYS_time))
    );
    assert_eq!(replacement("time", ELSEWHERE, Some(0), 7), None);
    assert_eq!(replacement("sgx_enter_enclave", ELSEWHERE, None, 500), None);
    assert_eq!(
        replacement("getrandom", ELSEWHERE, Some(near), 500)
            .unwrap()
            .len(),
        22
    );
}

#[test]
fn functions_are_not_written_over_one_another() {
    let function = |name: &str, offset, size| Function {
        name: name.into(),
        offset,
        size,
    };
    let all = [
        function("time", 0x100, 40),
        function("__vdso_time", 0x100, 40),
        function("x", 0x105, 9),
    ];
    assert_eq!((room(&all[0], &all), room(&all[2], &all)), (5, 9));
}

#[test]
fn other_machines_are_refused() {
    let (bytes, address) = own();
    let mut copy = bytes.to_vec();
    copy[18] = 183;
    let refused = redirect(&copy, ELSEWHERE, bytes, address);
    assert_eq!(refused, Err(Error::Old(ElfError::Machine(183))));
    assert_eq!(
        redirect(bytes, ELSEWHERE, b"", address),
        Err(Error::New(ElfError::Format))
    );
}

/// Every patch must lie in the old image and not touch another.
fn check(old: &[u8], new: &[u8]) {
    let Ok(redirection) = redirect(old, ELSEWHERE, new, 0x1000) else {
        return;
    };
    let end = ELSEWHERE + old.len() as u64;
    let mut patches = redirection.patches;
    patches.sort_by_key(|patch| patch.address);
    let ends = |patch: &Patch| patch.address + patch.bytes.len() as u64;
    assert!(
        patches
            .iter()
            .all(|patch| patch.address >= ELSEWHERE && ends(patch) <= end)
    );
    assert!(patches.windows(2).all(|pair| ends(&pair[0]) <= pair[1].address));
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes: Vec<u8>) {
        check(&bytes, own().0);
        check(own().0, &bytes);
        let headed = [&own().0[..64], &bytes[..]].concat();
        check(&headed, &headed);
    }

    #[test]
    fn no_damage_panics(changes in proptest::collection::vec((0..1200usize, any::<u8>()), 1..8)) {
        let mut copy = own().0.to_vec();
        for (at, byte) in changes {
            copy[at] = byte;
        }
        check(&copy, own().0);
        check(own().0, &copy);
    }

    #[test]
    fn no_cut_panics(length in 0..8192usize) {
        let bytes = own().0;
        check(&bytes[..length.min(bytes.len())], bytes);
    }
}
