//! Checkpoint and restart of the processes of one node. Knows nothing of networks or terminals.
#![forbid(unsafe_code)]

pub mod checkpoint;
pub mod error;
pub mod restart;
pub mod tree;

pub use error::{Error, Result};
