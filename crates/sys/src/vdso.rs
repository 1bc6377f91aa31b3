//! Patching an old vdso.
