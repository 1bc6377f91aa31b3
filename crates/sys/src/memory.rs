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
        let local = libc::iovec { iov_base: rest.as_mut_ptr().cast(), iov_len: rest.len() };
        let remote = libc::iovec { iov_base: (address + done as u64) as *mut libc::c_void, iov_len: rest.len() };
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
        let local = libc::iovec { iov_base: rest.as_ptr().cast_mut().cast(), iov_len: rest.len() };
        let remote = libc::iovec { iov_base: (address + done as u64) as *mut libc::c_void, iov_len: rest.len() };
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
        OpenOptions::new().read(true).write(true).open(format!("/proc/{pid}/mem")).map(ForcedMemory)
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
