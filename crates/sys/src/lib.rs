//! The kernel interface of rethaw, and the only crate with `unsafe`.

pub mod probe;
pub mod proc;
pub mod vdso;
