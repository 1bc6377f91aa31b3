//! Restart under another kernel than the one of the checkpoint.
#![forbid(unsafe_code)]

use rethaw_harness::{Outcome, matrix};

#[test]
fn clocks_are_read_through_the_old_vdso() -> Outcome {
    // Not clock_vdso, which is in the middle of the vdso most of the time: that is rightly refused.
    matrix::under_another_kernel("clock_continues")
}

#[test]
fn threads_and_timers_go_on_with_the_old_vdso() -> Outcome {
    matrix::under_another_kernel("timer_posix")?;
    matrix::under_another_kernel("threads_many")
}
