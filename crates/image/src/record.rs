//! The records of an image: plain data in protobuf encoding, never live types.
//!
//! A record is versioned by its name (`…V1`) and by the version in the section table. Fields are only
//! ever added, with new tags; a changed meaning is a new version. Unknown section kinds or versions are
//! refused by the reader, because ignoring state would lose it.

mod computation;
mod file;
mod ipc;
mod manifest;
mod memory;
mod mqueue;
mod network;
mod process;
mod terminal;
mod unix;
mod uring;

pub use computation::*;
pub use file::*;
pub use ipc::*;
pub use manifest::*;
pub use memory::*;
pub use mqueue::*;
pub use network::*;
pub use process::*;
pub use terminal::*;
pub use unix::*;
pub use uring::*;
