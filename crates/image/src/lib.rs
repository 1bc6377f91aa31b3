//! The checkpoint image format: no system calls beyond reading and writing files, and no policy.
#![forbid(unsafe_code)]

pub mod record;

/// Which checkpoint of which computation an image is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Random identity of the computation: 16 lower-case hex digits.
    pub computation: String,
    /// Checkpoint sequence number, from 1.
    pub generation: u64,
    /// Which agent's image this is, from 0.
    pub agent: u32,
    /// How many agents' images make the checkpoint.
    pub agents: u32,
}

/// Codec of page frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Compression {
    /// Pages as they are.
    #[default]
    None,
    /// zstd where it pays.
    Zstd,
}

/// Why an image cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file system's answer.
    #[error("{operation}: {source}")]
    Io {
        /// What was being done, with the path.
        operation: String,
        /// The cause.
        source: std::io::Error,
    },
    /// Damaged or foreign.
    #[error("{path} {what}")]
    Damaged {
        /// Path of the image.
        path: String,
        /// What is wrong with it.
        what: String,
    },
}
