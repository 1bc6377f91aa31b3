//! One module per kind of kernel object, each with both directions: `collect` into a record, `rebuild` from it.

pub(crate) mod credentials;
pub(crate) mod descriptor;
pub(crate) mod epoll;
pub(crate) mod event;
pub(crate) mod file;
pub(crate) mod limit;
pub(crate) mod lock;
pub(crate) mod memory;
pub(crate) mod numbers;
pub(crate) mod object;
pub(crate) mod owner;
pub(crate) mod pipe;
pub(crate) mod process;
pub(crate) mod scheduling;
pub(crate) mod sharing;
pub(crate) mod signal;
pub(crate) mod socket;
pub(crate) mod table;
pub(crate) mod terminal;
pub(crate) mod thread;
pub(crate) mod timer;
pub(crate) mod vdso;
