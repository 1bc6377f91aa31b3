//! Memory of another process.

use crate::proc::Pid;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;

/// Reads `buffer.len()` bytes at `address` of `pid` with process_vm_readv(2); the mapping must be readable
/// by the process.
///
/// # Errors
/// EFAULT when a page is not readable; ESRCH when the process is gone. A short read is an error too.
pub fn read(pid: Pid, address: u64, buffer: &mut [u8]) -> io::Result<()> {
    let mut done = 0;
    while done < buffer.len() {
        let rest = &mut buffer[done..];
        let local = libc::iovec {
            iov_base: rest.as_mut_ptr().cast(),
            iov_len: rest.len(),
        };
        let remote = libc::iovec {
            iov_base: (address + done as u64) as *mut libc::c_void,
            iov_len: rest.len(),
        };
        // SAFETY: `local` describes `rest`, which is alive and writable; `remote` is only an address in the
        // other process, checked by the kernel.
        let got = unsafe { libc::process_vm_readv(pid.0, &raw const local, 1, &raw const remote, 1, 0) };
        done += positive(got)?;
    }
    Ok(())
}

/// Writes `bytes` at `address` of `pid` with process_vm_writev(2); the mapping must be writable.
///
/// # Errors
/// As [`read`].
pub fn write(pid: Pid, address: u64, bytes: &[u8]) -> io::Result<()> {
    let mut done = 0;
    while done < bytes.len() {
        let rest = &bytes[done..];
        let local = libc::iovec {
            iov_base: rest.as_ptr().cast_mut().cast(),
            iov_len: rest.len(),
        };
        let remote = libc::iovec {
            iov_base: (address + done as u64) as *mut libc::c_void,
            iov_len: rest.len(),
        };
        // SAFETY: `local` describes `rest`, which is alive and only read; `remote` is an address in the
        // other process, checked by the kernel.
        let got = unsafe { libc::process_vm_writev(pid.0, &raw const local, 1, &raw const remote, 1, 0) };
        done += positive(got)?;
    }
    Ok(())
}

fn positive(got: isize) -> io::Result<usize> {
    match got {
        -1 => Err(io::Error::last_os_error()),
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        n => Ok(n as usize),
    }
}

/// /proc/PID/mem: reads and writes whatever the protection of the mapping (a tracer has FOLL_FORCE), at half
/// the speed of [`read`].
#[derive(Debug)]
pub struct ForcedMemory(File);

impl ForcedMemory {
    /// Opens /proc/PID/mem.
    pub fn open(pid: Pid) -> io::Result<ForcedMemory> {
        OpenOptions::new()
            .read(true)
            .write(true)
            .open(format!("/proc/{pid}/mem"))
            .map(ForcedMemory)
    }

    /// Reads exactly `buffer.len()` bytes.
    pub fn read(&self, address: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.0.read_exact_at(buffer, address)
    }

    /// Writes all bytes.
    pub fn write(&self, address: u64, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all_at(bytes, address)
    }
}

/// Writes bytes to a file through a shared mapping, for files that write(2) does not work on (hugetlbfs).
/// `page` is the file's page size.
pub fn write_mapped(fd: std::os::fd::BorrowedFd<'_>, offset: u64, bytes: &[u8], page: u64) -> io::Result<()> {
    use std::os::fd::AsRawFd;
    let start = offset - offset % page;
    let len = (offset + bytes.len() as u64 - start).next_multiple_of(page) as usize;
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: a new mapping where the kernel likes it; no memory of ours is replaced.
    let map = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            len,
            protection,
            libc::MAP_SHARED,
            fd.as_raw_fd(),
            start as i64,
        )
    };
    if map == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the mapping is `len` bytes and holds offset..offset + bytes.len(); nobody else knows of it, and it
    // is not used after munmap.
    unsafe {
        let target = map.cast::<u8>().add((offset - start) as usize);
        std::ptr::copy_nonoverlapping(bytes.as_ptr(), target, bytes.len());
        libc::munmap(map, len);
    }
    Ok(())
}
