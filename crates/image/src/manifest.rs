//! The manifest file: plain-byte magic, version, length and checksum around one [`ManifestV1`].

use std::fs::File;
use std::io::Read;
use std::path::Path;

use prost::Message;

use crate::header::{u32_at, u64_at};
use crate::partial::Partial;
use crate::record::ManifestV1;
use crate::{Error, Result, checksum};

const MAGIC: &[u8; 8] = b"\x89RTHM\r\n\x1a";
const VERSION: u32 = 1;
/// Magic, version, length of the record.
const HEAD_LEN: usize = 16;
/// Room for a hundred thousand agents. Nothing larger is read.
const MAX_LEN: u64 = 16 << 20;

pub(crate) fn encode(manifest: &ManifestV1) -> Vec<u8> {
    let record = manifest.encode_to_vec();
    let mut bytes = MAGIC.to_vec();
    bytes.extend_from_slice(&VERSION.to_le_bytes());
    bytes.extend_from_slice(&(record.len() as u32).to_le_bytes());
    bytes.extend_from_slice(&record);
    let sum = checksum::of(&bytes);
    bytes.extend_from_slice(&sum.to_le_bytes());
    bytes
}

/// Checks magic, checksum and version in this order, then decodes. `path` is for messages.
pub(crate) fn decode(bytes: &[u8], path: &Path) -> Result<ManifestV1> {
    let damaged = |what| Err(Error::damaged(path, what));
    if !bytes.starts_with(MAGIC) {
        return Err(Error::foreign(path, "manifest"));
    }
    if bytes.len() < HEAD_LEN + 8 {
        return damaged("is truncated");
    }
    let (checked, sum) = bytes.split_at(bytes.len() - 8);
    if checksum::of(checked) != u64_at(sum, 0) {
        return damaged("is damaged or truncated: its checksum does not match");
    }
    let version = u32_at(checked, 8);
    if version != VERSION {
        let what = format!("has manifest version {version}; this rethaw reads version {VERSION}");
        return Err(Error::newer(path, what));
    }
    let record = &checked[HEAD_LEN..];
    if u32_at(checked, 12) as usize != record.len() {
        return damaged("is damaged: its length is wrong");
    }
    ManifestV1::decode(record)
        .map_err(|e| Error::damaged(path, format!("is damaged: its record cannot be decoded: {e}")))
}

pub(crate) fn read(path: &Path) -> Result<ManifestV1> {
    let bytes = read_bounded(path, MAX_LEN).map_err(|e| Error::io("read", path, e))?;
    if bytes.len() as u64 > MAX_LEN {
        return Err(Error::damaged(path, "is too large for a manifest"));
    }
    decode(&bytes, path)
}

pub(crate) fn write(path: &Path, manifest: &ManifestV1) -> Result<()> {
    let bytes = encode(manifest);
    if bytes.len() as u64 > MAX_LEN {
        return Err(Error::refused(path, "it has too many images"));
    }
    let file = Partial::create(path)?;
    file.write_at(&bytes, 0)?;
    file.publish()
}

/// A small regular file; one byte more than `limit` when it is longer.
pub(crate) fn read_bounded(path: &Path, limit: u64) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    // A FIFO under this name would be waited for.
    if std::fs::metadata(path)?.is_file() {
        File::open(path)?.take(limit + 1).read_to_end(&mut bytes)?;
    }
    Ok(bytes)
}
