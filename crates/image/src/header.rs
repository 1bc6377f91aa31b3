//! The first page of an image: plain little-endian bytes, checked before anything else is believed.

use std::path::Path;

use crate::{Error, Identity, Result, checksum};

/// Version of the format that this crate writes, and the latest that it reads.
pub const FORMAT_VERSION: u32 = 1;

/// The header is a page, so that page data after it is aligned in the file.
pub(crate) const HEADER_LEN: usize = 4096;

/// Not text, and damaged by a transfer that changes line ends.
const MAGIC: &[u8; 8] = b"\x89RTHW\r\n\x1a";
const CHECKSUM_AT: usize = HEADER_LEN - 8;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) identity: Identity,
    pub(crate) file_len: u64,
    pub(crate) table_offset: u64,
    pub(crate) table_len: u64,
    pub(crate) table_checksum: u64,
}

impl Header {
    pub(crate) fn encode(&self) -> [u8; HEADER_LEN] {
        let mut page = [0; HEADER_LEN];
        let mut put = |at: usize, bytes: &[u8]| page[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, MAGIC);
        put(8, &FORMAT_VERSION.to_le_bytes());
        put(12, &(HEADER_LEN as u32).to_le_bytes());
        put(16, &self.file_len.to_le_bytes());
        put(24, &self.table_offset.to_le_bytes());
        put(32, &self.table_len.to_le_bytes());
        put(40, &self.table_checksum.to_le_bytes());
        put(48, &self.identity.generation.to_le_bytes());
        put(56, &self.identity.agent.to_le_bytes());
        put(60, &self.identity.agents.to_le_bytes());
        put(64, self.identity.computation.as_bytes());
        let sum = checksum::of(&page[..CHECKSUM_AT]);
        page[CHECKSUM_AT..].copy_from_slice(&sum.to_le_bytes());
        page
    }

    /// Checks magic, checksum and version, in this order: a damaged version is damage, not a newer
    /// version. `path` is for messages; `file_len` is the real size.
    pub(crate) fn decode(page: &[u8; HEADER_LEN], path: &Path, file_len: u64) -> Result<Header> {
        let damaged = |what: &str| Err(Error::damaged(path, what));
        if page[..8] != *MAGIC {
            return Err(Error::foreign(path, "image"));
        }
        if checksum::of(&page[..CHECKSUM_AT]) != u64_at(page, CHECKSUM_AT) {
            return damaged("is damaged: the checksum of its header does not match");
        }
        let version = u32_at(page, 8);
        if version != FORMAT_VERSION {
            let what = format!("has format version {version}; this rethaw reads version {FORMAT_VERSION}");
            return Err(Error::newer(path, what));
        }
        let header = Header {
            identity: identity(page),
            file_len: u64_at(page, 16),
            table_offset: u64_at(page, 24),
            table_len: u64_at(page, 32),
            table_checksum: u64_at(page, 40),
        };
        if let Some(fault) = header.identity.fault() {
            return damaged(&format!("is damaged: {fault}"));
        }
        if u32_at(page, 12) as usize != HEADER_LEN || page[80..CHECKSUM_AT].iter().any(|b| *b != 0) {
            return damaged("is damaged: its header has bytes that mean nothing");
        }
        header.check_sizes(path, file_len)?;
        Ok(header)
    }

    /// What is wrong with a file that is shorter than a header.
    pub(crate) fn too_short(start: &[u8], path: &Path) -> Error {
        if start.len() >= MAGIC.len() && start.starts_with(MAGIC) {
            Error::damaged(path, format!("is truncated: only {} bytes are left", start.len()))
        } else {
            Error::foreign(path, "image")
        }
    }

    /// The checksum that a header page bears.
    pub(crate) fn checksum(page: &[u8; HEADER_LEN]) -> u64 {
        u64_at(page, CHECKSUM_AT)
    }

    fn check_sizes(&self, path: &Path, file_len: u64) -> Result<()> {
        if file_len < self.file_len {
            let what = format!("is truncated: it has {file_len} of {} bytes", self.file_len);
            return Err(Error::damaged(path, what));
        }
        if file_len > self.file_len {
            let what = format!("is damaged: it has {} bytes too many", file_len - self.file_len);
            return Err(Error::damaged(path, what));
        }
        let table_end = self.table_offset.checked_add(self.table_len);
        if self.table_offset < HEADER_LEN as u64 || table_end != Some(self.file_len) {
            return Err(Error::damaged(
                path,
                "is damaged: its section table is not at its end",
            ));
        }
        Ok(())
    }
}

fn identity(page: &[u8; HEADER_LEN]) -> Identity {
    Identity {
        computation: String::from_utf8_lossy(&page[64..80]).into_owned(),
        generation: u64_at(page, 48),
        agent: u32_at(page, 56),
        agents: u32_at(page, 60),
    }
}

/// Little-endian number at `at`; the caller knows that it is inside.
pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut raw = [0; 8];
    raw.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(raw)
}

/// Little-endian number at `at`; the caller knows that it is inside.
pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut raw = [0; 4];
    raw.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(raw)
}
