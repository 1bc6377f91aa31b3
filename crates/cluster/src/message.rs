//! What coordinator and agents say to each other: protobuf records, tags never used again.

mod order;
mod report;

pub use order::*;
pub use report::*;

/// Version of the protocol; both sides must have the same.
pub const VERSION: u32 = 1;
