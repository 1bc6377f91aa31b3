//! The kernel interface of rethaw, and the only crate with `unsafe`.

pub mod proc;
