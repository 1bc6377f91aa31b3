//! `rethaw`: checkpoints running Linux computations and restarts them later.
#![forbid(unsafe_code)]

fn main() {}
