//! Fault points: every operation that changes the file system passes one, so that tests can make any
//! step fail, or stop everything from it on as a crash would. Outside of tests they are nothing.

#[cfg(not(test))]
#[inline(always)]
pub(crate) fn point() -> std::io::Result<()> {
    Ok(())
}

#[cfg(test)]
pub(crate) use injected::{Fault, point, run_with};

#[cfg(test)]
mod injected {
    use std::cell::Cell;
    use std::io;

    /// What happens at the chosen step.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub(crate) enum Fault {
        /// This step fails with ENOSPC; later ones work.
        Fails,
        /// This step and all later ones do nothing, clean-up included.
        Crash,
    }

    thread_local! {
        static NEXT: Cell<Option<(Fault, u32)>> = const { Cell::new(None) };
        static HIT: Cell<bool> = const { Cell::new(false) };
    }

    pub(crate) fn point() -> io::Result<()> {
        match NEXT.get() {
            None => Ok(()),
            Some((fault, 0)) => {
                HIT.set(true);
                NEXT.set((fault == Fault::Crash).then_some((fault, 0)));
                Err(io::Error::from_raw_os_error(28))
            }
            Some((fault, left)) => {
                NEXT.set(Some((fault, left - 1)));
                Ok(())
            }
        }
    }

    /// Runs `work` with `fault` at step `step` (from 0). Says whether that step was reached.
    pub(crate) fn run_with<T>(fault: Fault, step: u32, work: impl FnOnce() -> T) -> (T, bool) {
        HIT.set(false);
        NEXT.set(Some((fault, step)));
        let result = work();
        NEXT.set(None);
        (result, HIT.get())
    }
}
