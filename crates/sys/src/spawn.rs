//! Starting a program as the shell would.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

/// SIGXFSZ had its default action before [`ignore_file_size_signal`].
static FILE_SIZE_SIGNAL_IGNORED: AtomicBool = AtomicBool::new(false);

/// Ignores SIGXFSZ, so that a limit on file sizes becomes an ordinary error (EFBIG).
pub fn ignore_file_size_signal() {
    // SAFETY: no handler is installed.
    let before = unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
    if before == libc::SIG_DFL {
        FILE_SIZE_SIGNAL_IGNORED.store(true, Ordering::Relaxed);
    }
}

/// Undoes in the child what this process changed for itself and children would inherit: blocked signals (this
/// process reads them from a signalfd) and the ignored SIGXFSZ.
pub fn as_from_the_shell(command: &mut Command) {
    let undo = || {
        // SAFETY: both calls are async-signal-safe (signal-safety(7)), as is needed between fork and exec; the
        // set is initialised by sigemptyset.
        unsafe {
            let mut none = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
            libc::sigemptyset(none.as_mut_ptr());
            if libc::sigprocmask(libc::SIG_SETMASK, none.as_ptr(), std::ptr::null_mut()) == -1 {
                return Err(io::Error::last_os_error());
            }
            if FILE_SIZE_SIGNAL_IGNORED.load(Ordering::Relaxed) {
                libc::signal(libc::SIGXFSZ, libc::SIG_DFL);
            }
        }
        Ok(())
    };
    // SAFETY: the closure only makes async-signal-safe calls and allocates nothing.
    unsafe { command.pre_exec(undo) };
}
