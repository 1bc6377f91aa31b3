//! Frames: the stored form of a run of pages, and the decision whether to compress it.

use std::io;

use zstd::bulk::{Compressor, Decompressor};

use crate::{MAX_RUN, PAGE};

/// Fastest level that still finds entropy: numeric data gains little from higher ones.
const LEVEL: i32 = 1;
/// Frames up to this size are compressed without a probe, which would cost as much.
const PROBE_FROM: usize = 64 << 10;
const PROBE_SAMPLES: usize = 4;

static ZERO_PAGE: [u8; PAGE] = [0; PAGE];

/// Number of bytes at the front of `data` (whole pages) that are all zero pages, or all not.
pub(crate) fn leading_run(data: &[u8]) -> (bool, usize) {
    // Comparing slices is memcmp: it ends at the first difference, and runs at memory speed otherwise.
    let is_zero = |page: &[u8]| *page == ZERO_PAGE;
    let zero = data.get(..PAGE).is_some_and(is_zero);
    let len = data
        .chunks_exact(PAGE)
        .take_while(|page| is_zero(page) == zero)
        .count()
        * PAGE;
    (zero, len)
}

/// Compresses frames, where it pays.
pub(crate) struct Packer {
    zstd: Compressor<'static>,
    packed: Vec<u8>,
    sample: Vec<u8>,
}

impl Packer {
    pub(crate) fn new() -> io::Result<Packer> {
        Ok(Packer {
            zstd: Compressor::new(LEVEL)?,
            packed: Vec::new(),
            sample: Vec::new(),
        })
    }

    /// The compressed form of `pages`, or `None` when they are better stored as they are.
    pub(crate) fn pack(&mut self, pages: &[u8]) -> Option<&[u8]> {
        if pages.len() > PROBE_FROM && !self.is_promising(pages) {
            return None;
        }
        // Less than an eighth saved is not worth the time of unpacking at restart.
        self.compress(pages, pages.len() / 8 * 7)
    }

    /// Compresses a few pages spread over the frame.
    fn is_promising(&mut self, pages: &[u8]) -> bool {
        let mut sample = std::mem::take(&mut self.sample);
        sample.clear();
        for page in pages
            .chunks_exact(PAGE)
            .step_by(pages.len() / PAGE / PROBE_SAMPLES)
        {
            sample.extend_from_slice(page);
        }
        let promising = self.compress(&sample, sample.len() / 10 * 9).is_some();
        self.sample = sample;
        promising
    }

    /// zstd gives up when the result does not fit into `limit` bytes.
    fn compress(&mut self, bytes: &[u8], limit: usize) -> Option<&[u8]> {
        self.packed.resize(limit, 0);
        let len = self.zstd.compress_to_buffer(bytes, &mut self.packed[..]).ok()?;
        self.packed.get(..len)
    }
}

/// Unpacks frames.
pub(crate) struct Unpacker {
    zstd: Decompressor<'static>,
    /// Stored bytes of the frame in work.
    pub(crate) packed: Vec<u8>,
}

impl Unpacker {
    pub(crate) fn new() -> io::Result<Unpacker> {
        Ok(Unpacker {
            zstd: Decompressor::new()?,
            packed: Vec::new(),
        })
    }

    /// Unpacks `self.packed` into exactly `pages`. False when it gives fewer or more bytes.
    pub(crate) fn unpack(&mut self, pages: &mut [u8]) -> bool {
        debug_assert!(pages.len() <= MAX_RUN);
        self.zstd
            .decompress_to_buffer(&self.packed, pages)
            .is_ok_and(|len| len == pages.len())
    }
}
