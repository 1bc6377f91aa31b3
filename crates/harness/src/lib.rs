//! Runs rethaw as a user would, on the programs of `tests/programs`, and checks what comes out.
//!
//! A test is a [`Case`]: a folder of its own, processes that carry its tag in their environment, time-outs on
//! every wait, and a report of everything that rethaw said when it fails.
//!
//! | variable | meaning |
//! |---|---|
//! | `RETHAW_TEST_BIN` | the `rethaw` to test; default: the one beside the test binary in `target` |
//! | `RETHAW_TEST_PROGRAMS` | folder of the compiled test programs; default `target/test-programs` |
//! | `RETHAW_TEST_WORK` | where cases put their folders; default `target/test-work` |
//! | `RETHAW_TEST_VENV` | a Python environment with pip's NumPy and mpi4py, and the beginning of the names of those with an MPI of pip; default `target/test-venv` |
//! | `RETHAW_TEST_KEEP` | keep the folders of passed tests as well |
//! | `RETHAW_TEST_KILLS` | kills of the random-kill tests |
//! | `RETHAW_TEST_SEED` | seed of everything random |
//! | `RETHAW_TEST_RESULTS` | a file to which the applications append what came out, for docs/compatibility.md |
#![forbid(unsafe_code)]

pub mod application;
mod case;
mod commands;
mod counter;
mod failure;
mod image_edit;
pub mod interrupted;
mod job;
pub mod matrix;
pub mod mpi;
pub mod places;
pub mod processes;
pub mod programs;
mod random;

pub use case::{Case, case};
pub use commands::{REFUSED, STOPPED, Status};
pub use counter::Counter;
pub use failure::{Failure, Outcome, Result};
pub use job::{Finished, Job};
pub use random::Random;

use std::time::{Duration, Instant};

/// Longest time that anything quick may take on a loaded machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Asks every few milliseconds until there is an answer; a failure that names `what` when it takes too long.
pub fn wait_for<T>(what: &str, limit: Duration, mut ask: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let begin = Instant::now();
    loop {
        if let Some(answer) = ask()? {
            return Ok(answer);
        }
        if begin.elapsed() > limit {
            return Err(Failure::new(format!("not within {} s: {what}", limit.as_secs())));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}
