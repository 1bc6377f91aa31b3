//! The page index of a stream: which runs of pages there are, and where their contents are.

use std::path::Path;

use crate::header::{HEADER_LEN, u32_at, u64_at};
use crate::{Error, MAX_RUN, PAGE, Result};

/// Neighbouring pages with contents of one sort.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageRun {
    /// Address (or offset) of the first page in its stream.
    pub start: u64,
    /// Number of pages, at least 1.
    pub pages: u32,
    /// Whether there are bytes to read.
    pub kind: RunKind,
    pub(crate) frame: Frame,
}

/// Sort of contents of a [`PageRun`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunKind {
    /// All bytes are zero; any number of pages.
    Zero,
    /// Contents are in the image; at most [`MAX_RUN`] bytes.
    Data,
    /// The same as another stream, of a lower number, has at the same addresses; any number of pages. See
    /// [`ImageReader::pieces`](crate::ImageReader::pieces).
    Same {
        /// The other stream.
        stream: u32,
    },
}

/// Where and how the pages of a run are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) codec: Codec,
    pub(crate) offset: u64,
    pub(crate) len: u64,
    /// Of the stored bytes.
    pub(crate) checksum: u64,
}

/// The numbers are in files: never change or use one again. 4 is kept for pages of a parent generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Codec {
    /// Nothing stored.
    Zero = 1,
    /// Pages as they are, on a page boundary of the file.
    Raw = 2,
    /// One zstd frame, anywhere.
    Zstd = 3,
    /// Nothing stored: the pages are those of another stream, whose number is in place of the offset.
    Same = 5,
}

impl PageRun {
    pub(crate) const ENCODED_LEN: usize = 40;

    /// A run of `pages` zero pages.
    pub(crate) fn zero(start: u64, pages: u32) -> PageRun {
        let frame = Frame {
            codec: Codec::Zero,
            offset: 0,
            len: 0,
            checksum: 0,
        };
        PageRun {
            start,
            pages,
            kind: RunKind::Zero,
            frame,
        }
    }

    /// A run of `pages` pages that are those of stream `other`.
    pub(crate) fn same(start: u64, pages: u32, other: u32) -> PageRun {
        let frame = Frame {
            codec: Codec::Same,
            offset: other.into(),
            len: 0,
            checksum: 0,
        };
        PageRun {
            start,
            pages,
            kind: RunKind::Same { stream: other },
            frame,
        }
    }

    /// Bytes of memory that it covers.
    pub fn bytes(&self) -> u64 {
        u64::from(self.pages) * PAGE as u64
    }

    /// First address after it.
    pub fn end(&self) -> u64 {
        self.start + self.bytes()
    }

    /// Bytes that it takes in the image.
    pub fn stored_bytes(&self) -> u64 {
        self.frame.len
    }

    /// Offset in the image file of the pages as they are, page-aligned, so that they can be mapped;
    /// `None` when they are compressed, zero, or another stream's. Mapped pages are not checked against the checksum.
    pub fn raw_offset(&self) -> Option<u64> {
        (self.frame.codec == Codec::Raw).then_some(self.frame.offset)
    }

    pub(crate) fn encode_into(&self, index: &mut Vec<u8>) {
        index.extend_from_slice(&self.start.to_le_bytes());
        index.extend_from_slice(&self.pages.to_le_bytes());
        index.extend_from_slice(&(self.frame.codec as u32).to_le_bytes());
        for number in [self.frame.offset, self.frame.len, self.frame.checksum] {
            index.extend_from_slice(&number.to_le_bytes());
        }
    }

    /// `bytes` is one line of the index of `stream`; `None` when it makes no sense.
    fn decode(bytes: &[u8], stream: u32, body_end: u64) -> Option<PageRun> {
        let codec = match u32_at(bytes, 12) {
            1 => Codec::Zero,
            2 => Codec::Raw,
            3 => Codec::Zstd,
            5 => Codec::Same,
            _ => return None,
        };
        let [offset, len, checksum] = [16, 24, 32].map(|at| u64_at(bytes, at));
        let kind = match codec {
            Codec::Zero => RunKind::Zero,
            Codec::Raw | Codec::Zstd => RunKind::Data,
            // Only to lower numbers, so that there is no circle.
            Codec::Same => RunKind::Same {
                stream: u32::try_from(offset).ok().filter(|other| *other < stream)?,
            },
        };
        let frame = Frame {
            codec,
            offset,
            len,
            checksum,
        };
        let run = PageRun {
            start: u64_at(bytes, 0),
            pages: u32_at(bytes, 8),
            kind,
            frame,
        };
        run.is_sound(body_end).then_some(run)
    }

    fn is_sound(&self, body_end: u64) -> bool {
        let Frame {
            codec,
            offset,
            len,
            checksum,
        } = self.frame;
        let bytes = self.bytes();
        let stored = || {
            let end = offset.checked_add(len);
            bytes <= MAX_RUN as u64 && offset >= HEADER_LEN as u64 && end.is_some_and(|end| end <= body_end)
        };
        let frame_is_sound = match codec {
            Codec::Zero => offset == 0 && len == 0 && checksum == 0,
            Codec::Same => len == 0 && checksum == 0,
            Codec::Raw => len == bytes && offset.is_multiple_of(PAGE as u64) && stored(),
            Codec::Zstd => len > 0 && len < bytes && stored(),
        };
        let aligned = self.start.is_multiple_of(PAGE as u64);
        frame_is_sound && aligned && self.pages > 0 && self.start.checked_add(bytes).is_some()
    }
}

/// Decodes the index of a stream piece by piece.
pub(crate) struct Decoder<'a> {
    path: &'a Path,
    stream: u32,
    /// Where the section table begins.
    body_end: u64,
    runs: Vec<PageRun>,
}

impl<'a> Decoder<'a> {
    pub(crate) fn new(path: &'a Path, stream: u32, body_end: u64) -> Decoder<'a> {
        Decoder {
            path,
            stream,
            body_end,
            runs: Vec::new(),
        }
    }

    /// `piece` is whole lines, except for a damaged end.
    pub(crate) fn decode(&mut self, piece: &[u8]) -> Result<()> {
        let lines = piece.chunks_exact(PageRun::ENCODED_LEN);
        if !lines.remainder().is_empty() {
            return Err(self.damaged());
        }
        for line in lines {
            let run = PageRun::decode(line, self.stream, self.body_end).ok_or_else(|| self.damaged())?;
            if self.runs.last().is_some_and(|before| before.end() > run.start) {
                return Err(self.damaged());
            }
            self.runs.push(run);
        }
        Ok(())
    }

    pub(crate) fn into_runs(self) -> Vec<PageRun> {
        self.runs
    }

    fn damaged(&self) -> Error {
        Error::damaged(
            self.path,
            format!(
                "is damaged: the index of page stream {} makes no sense",
                self.stream
            ),
        )
    }
}
