//! The checkpoint image format: no system calls beyond reading and writing files, and no policy.
//!
//! [`ImageWriter`] makes one image, [`ImageReader`] reads it, [`Folder`] binds the images of a
//! computation into checkpoints. Every byte is described in docs/image-format.md.
//!
//! Promises:
//! - An image is complete or does not exist; a failed write leaves no file behind.
//! - No byte is handed out before its checksum was compared.
//! - Bad bytes give an [`Error`]; they never panic and never allocate more than a small multiple of the
//!   file's size.
#![forbid(unsafe_code)]

mod checksum;
#[cfg(test)]
mod crash_tests;
mod error;
mod fault;
mod folder;
#[cfg(test)]
mod forged_tests;
mod frame;
mod header;
mod index;
mod manifest;
mod output;
mod partial;
mod piece;
mod reader;
pub mod record;
mod section;
mod verify;
mod writer;

pub use error::{Error, Result};
pub use folder::{Folder, Generation, ImageFile, Survey};
pub use header::FORMAT_VERSION;
pub use index::{PageRun, RunKind};
pub use piece::Piece;
pub use reader::{ImageReader, SectionSize, Sizes, StreamSize};
pub use section::SectionKind;
pub use writer::{ImageWriter, Summary};

/// Size of a page in an image. Page streams are cut in these whatever the machine's page size is.
pub const PAGE: usize = 4096;

/// Most bytes of pages in one call of [`ImageWriter::pages`] and in one data run.
pub const MAX_RUN: usize = 1 << 20;

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

impl Identity {
    /// What is wrong with it, if anything.
    pub(crate) fn fault(&self) -> Option<&'static str> {
        let hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        if self.computation.len() != 16 || !self.computation.bytes().all(hex) {
            Some("its computation id is not 16 lower-case hex digits")
        } else if self.generation == 0 {
            Some("its generation is 0")
        } else if self.agent >= self.agents {
            Some("its agent number is not below the number of agents")
        } else {
            None
        }
    }
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
