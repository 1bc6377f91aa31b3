//! Which of the kernel's newer interfaces are there? All are tried on this process, without lasting effect.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use super::Outcome;
use crate::proc::{Categories, Maps, Pagemap, Pid, Query, Range};

/// What came of each interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interfaces {
    /// The ioctl PAGEMAP_SCAN (Linux 6.7).
    pub pagemap_scan: Outcome,
    /// Unprivileged userfaultfd(2) with UFFD_FEATURE_WP_ASYNC (Linux 6.7).
    pub write_tracking: Outcome,
    /// arch_prctl(2) ARCH_MAP_VDSO_64 (CONFIG_CHECKPOINT_RESTORE).
    pub place_vdso: Outcome,
    /// prctl(2) PR_SET_MM_MAP (CONFIG_CHECKPOINT_RESTORE).
    pub set_mm: Outcome,
    /// kcmp(2).
    pub kcmp: Outcome,
    /// seccomp(2) with SECCOMP_RET_TRACE.
    pub seccomp_trace: Outcome,
    /// seccomp(2) with SECCOMP_RET_USER_NOTIF.
    pub seccomp_notify: Outcome,
}

const PR_SET_MM_MAP_SIZE: libc::c_int = 15;
const ARCH_MAP_VDSO_64: libc::c_int = 0x2003;
const KCMP_FILE: libc::c_int = 0;
const UFFD_USER_MODE_ONLY: libc::c_int = 1;
const UFFD_FEATURE_WP_UNPOPULATED: u64 = 1 << 13;
const UFFD_FEATURE_WP_ASYNC: u64 = 1 << 15;
/// `_IOWR(0xaa, 0x3f, struct uffdio_api)`.
const UFFDIO_API: libc::Ioctl = 0xc018_aa3f_u32 as libc::Ioctl;

/// struct uffdio_api of linux/userfaultfd.h.
#[repr(C)]
struct UffdioApi {
    api: u64,
    features: u64,
    ioctls: u64,
}

pub(super) fn try_all() -> Interfaces {
    Interfaces {
        pagemap_scan: outcome(pagemap_scan()),
        write_tracking: outcome(write_tracking()),
        place_vdso: place_vdso(),
        set_mm: outcome(set_mm()),
        kcmp: outcome(kcmp()),
        seccomp_trace: outcome(seccomp_action(libc::SECCOMP_RET_TRACE)),
        seccomp_notify: outcome(seccomp_action(libc::SECCOMP_RET_USER_NOTIF)),
    }
}

fn outcome(tried: io::Result<()>) -> Outcome {
    match tried {
        Ok(()) => Outcome::Works,
        Err(error) => Outcome::refused(&error),
    }
}

fn checked(returned: libc::c_long) -> io::Result<()> {
    if returned < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

fn pagemap_scan() -> io::Result<()> {
    let own = Pid::own();
    let flat = |error: crate::proc::Error| match error {
        crate::proc::Error::Read { source, .. } => source,
        error @ crate::proc::Error::Parse { .. } => io::Error::other(error),
    };
    let maps = Maps::read_brief(own).map_err(flat)?;
    let Some(vma) = maps.vmas.first() else {
        return Err(io::ErrorKind::NotFound.into());
    };
    let range = Range {
        start: vma.start,
        end: vma.end,
    };
    let query = Query {
        all: Categories::PRESENT,
        ..Query::default()
    };
    Pagemap::open(own)
        .and_then(|map| map.scan(range, query))
        .map_err(flat)?;
    Ok(())
}

fn write_tracking() -> io::Result<()> {
    // SAFETY: no memory is involved.
    let fd = unsafe { libc::syscall(libc::SYS_userfaultfd, libc::O_CLOEXEC | UFFD_USER_MODE_ONLY) };
    checked(fd)?;
    // SAFETY: the kernel has just made this descriptor, and nobody else knows of it.
    let fd = unsafe { OwnedFd::from_raw_fd(fd as i32) };
    let features = UFFD_FEATURE_WP_ASYNC | UFFD_FEATURE_WP_UNPOPULATED;
    let mut api = UffdioApi {
        api: 0xaa,
        features,
        ioctls: 0,
    };
    // SAFETY: `api` has the kernel's layout (repr(C), 24 bytes as the ioctl's number says) and outlives the call.
    checked(unsafe { libc::ioctl(fd.as_raw_fd(), UFFDIO_API, &raw mut api) }.into())
}

/// With a vdso in place the call says EEXIST (`map_vdso_once`), so nothing is mapped; without support, EINVAL.
fn place_vdso() -> Outcome {
    // SAFETY: the address is only a hint; if this process has no vdso, it gets one where nothing is mapped.
    let returned = unsafe { libc::syscall(libc::SYS_arch_prctl, ARCH_MAP_VDSO_64, 0) };
    match checked(returned) {
        Err(error) if error.raw_os_error() != Some(libc::EEXIST) => Outcome::refused(&error),
        _ => Outcome::Works,
    }
}

/// Asks for the size of the structure only.
fn set_mm() -> io::Result<()> {
    let mut size: libc::c_uint = 0;
    // SAFETY: the kernel writes one unsigned int to `size`, which outlives the call.
    checked(unsafe { libc::prctl(libc::PR_SET_MM, PR_SET_MM_MAP_SIZE, &raw mut size, 0, 0) }.into())
}

fn kcmp() -> io::Result<()> {
    let pid = Pid::own().0;
    let file = std::fs::File::open("/proc/self/stat")?;
    let fd = file.as_raw_fd();
    // SAFETY: no memory is involved.
    checked(unsafe { libc::syscall(libc::SYS_kcmp, pid, pid, KCMP_FILE, fd, fd) })
}

fn seccomp_action(action: u32) -> io::Result<()> {
    // SAFETY: the kernel reads one unsigned int at `action`, which outlives the call.
    checked(unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_GET_ACTION_AVAIL,
            0,
            &raw const action,
        )
    })
}
