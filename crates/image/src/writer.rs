//! Writing an image: pages and records in any order, then the indexes, the section table and the header.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::frame::{Packer, leading_run};
use crate::header::Header;
use crate::index::{Codec, Frame};
use crate::output::Output;
use crate::partial::Partial;
use crate::section::{Content, MAX_RECORD, MAX_TABLE, Section};
use crate::{Compression, Error, Identity, MAX_RUN, PAGE, PageRun, Result, RunKind, SectionKind, checksum};

/// Pieces from this size on become a frame of their own without being copied.
const WHOLE_FRAME: usize = MAX_RUN / 2;
/// Lines of a page index that are encoded at a time.
const INDEX_PIECE: usize = 4096;

/// Writes one image. Nothing is visible under its name before [`finish`](Self::finish); dropped before,
/// it leaves nothing behind.
pub struct ImageWriter {
    path: PathBuf,
    identity: Identity,
    output: Output,
    packer: Option<Packer>,
    pending: Pending,
    sections: Vec<Section>,
    streams: BTreeMap<u32, Vec<PageRun>>,
    memory_pages: u64,
    zero_pages: u64,
}

/// What an image came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Summary {
    /// Size of the file.
    pub bytes: u64,
    /// Pages given to it, zero pages included.
    pub memory_pages: u64,
    /// Those that were zero and take no room.
    pub zero_pages: u64,
}

/// Neighbouring pages that are not written yet, because more may follow.
#[derive(Default)]
struct Pending {
    stream: u32,
    start: u64,
    data: Vec<u8>,
}

impl Pending {
    fn takes(&self, stream: u32, start: u64, len: usize) -> bool {
        self.data.is_empty()
            || (self.stream == stream
                && self.start + self.data.len() as u64 == start
                && self.data.len() + len <= MAX_RUN)
    }
}

impl ImageWriter {
    /// Starts an image that will be called `final_path`, mode 0600.
    pub fn create(final_path: &Path, identity: &Identity, compression: Compression) -> Result<ImageWriter> {
        if let Some(fault) = identity.fault() {
            return Err(Error::refused(final_path, fault));
        }
        let packer = match compression {
            Compression::None => None,
            Compression::Zstd => Some(Packer::new().map_err(|e| Error::io("compress for", final_path, e))?),
        };
        Ok(ImageWriter {
            path: final_path.to_owned(),
            identity: identity.clone(),
            output: Output::new(Partial::create(final_path)?),
            packer,
            pending: Pending::default(),
            sections: Vec::new(),
            streams: BTreeMap::new(),
            memory_pages: 0,
            zero_pages: 0,
        })
    }

    /// `data` (whole pages, at most [`MAX_RUN`] bytes) is what page stream `stream` holds at `start` (a
    /// multiple of [`PAGE`]). Pages may come in any order, but each only once. Zero pages take no room;
    /// pages that are not given do not exist in the stream.
    pub fn pages(&mut self, stream: u32, start: u64, data: &[u8]) -> Result<()> {
        self.check_pages(start, data)?;
        let mut at = start;
        let mut rest = data;
        while !rest.is_empty() {
            let (zero, len) = leading_run(rest);
            let (run, after) = rest.split_at(len);
            if zero {
                self.zero_pages(stream, at, run.len() / PAGE)?;
            } else {
                self.data_pages(stream, at, run)?;
            }
            at += len as u64;
            rest = after;
        }
        self.memory_pages += (data.len() / PAGE) as u64;
        Ok(())
    }

    /// `bytes` (whole pages) at `start` of page stream `stream` are what stream `other`, of a lower number, has
    /// there. They take no room. The other stream must have these pages when the image is finished.
    pub fn same_pages(&mut self, stream: u32, start: u64, bytes: u64, other: u32) -> Result<()> {
        let whole = start.is_multiple_of(PAGE as u64) && bytes.is_multiple_of(PAGE as u64);
        if !whole || start.checked_add(bytes).is_none() || other >= stream {
            let what =
                format!("the pages at {start:#x} of stream {stream} cannot be those of stream {other}");
            return Err(Error::refused(&self.path, what));
        }
        self.close_frame()?;
        let run = PageRun::same(start, 0, other);
        self.extend_run(stream, run, bytes / PAGE as u64);
        self.memory_pages += bytes / PAGE as u64;
        Ok(())
    }

    /// Makes `run`, which has no bytes, longer by `pages`, together with the one before where that fits.
    fn extend_run(&mut self, stream: u32, mut run: PageRun, mut pages: u64) {
        let runs = self.streams.entry(stream).or_default();
        if let Some(last) = runs.pop_if(|last| last.kind == run.kind && last.end() == run.start) {
            run = last;
        }
        while pages > 0 {
            let more = pages.min(u64::from(u32::MAX - run.pages));
            let mut whole = run;
            whole.pages += more as u32;
            runs.push(whole);
            (run.start, run.pages) = (whole.end(), 0);
            pages -= more;
        }
    }

    fn check_pages(&self, start: u64, data: &[u8]) -> Result<()> {
        let whole = data.len().is_multiple_of(PAGE) && start.is_multiple_of(PAGE as u64);
        if whole && data.len() <= MAX_RUN && start.checked_add(data.len() as u64).is_some() {
            return Ok(());
        }
        let what = format!(
            "{} bytes at {start:#x} are not whole pages of a megabyte at most",
            data.len()
        );
        Err(Error::refused(&self.path, what))
    }

    fn zero_pages(&mut self, stream: u32, start: u64, pages: usize) -> Result<()> {
        self.close_frame()?;
        self.zero_pages += pages as u64;
        self.extend_run(stream, PageRun::zero(start, 0), pages as u64);
        Ok(())
    }

    fn data_pages(&mut self, stream: u32, start: u64, data: &[u8]) -> Result<()> {
        if !self.pending.takes(stream, start, data.len()) {
            self.close_frame()?;
        }
        if self.pending.data.is_empty() {
            if data.len() >= WHOLE_FRAME {
                return self.write_frame(stream, start, data);
            }
            self.pending.stream = stream;
            self.pending.start = start;
        }
        self.pending.data.extend_from_slice(data);
        Ok(())
    }

    fn close_frame(&mut self) -> Result<()> {
        if self.pending.data.is_empty() {
            return Ok(());
        }
        let pending = std::mem::take(&mut self.pending);
        self.write_frame(pending.stream, pending.start, &pending.data)?;
        self.pending = pending;
        self.pending.data.clear();
        Ok(())
    }

    fn write_frame(&mut self, stream: u32, start: u64, data: &[u8]) -> Result<()> {
        let packed = self.packer.as_mut().and_then(|packer| packer.pack(data));
        let (codec, stored) = packed.map_or((Codec::Raw, data), |packed| (Codec::Zstd, packed));
        let checksum = checksum::of(stored);
        let offset = match codec {
            Codec::Raw => self.output.append_aligned(stored)?,
            _ => self.output.append(stored)?,
        };
        let frame = Frame {
            codec,
            offset,
            len: stored.len() as u64,
            checksum,
        };
        let pages = (data.len() / PAGE) as u32;
        let runs = self.streams.entry(stream).or_default();
        runs.push(PageRun {
            start,
            pages,
            kind: RunKind::Data,
            frame,
        });
        Ok(())
    }

    /// Adds a record; records of one kind are read back in the order in which they were added.
    pub fn record<M: prost::Message>(&mut self, kind: SectionKind, message: &M) -> Result<()> {
        let bytes = message.encode_to_vec();
        if bytes.len() as u64 > MAX_RECORD {
            let what = format!("a record ({}) has more than a gigabyte", kind.name());
            return Err(Error::refused(&self.path, what));
        }
        let section = Section {
            content: Content::Record(kind),
            offset: self.output.append(&bytes)?,
            len: bytes.len() as u64,
            checksum: checksum::of(&bytes),
        };
        self.sections.push(section);
        Ok(())
    }

    /// Size of the file so far, for progress; up to a megabyte of pages may still be gathered in memory.
    pub fn bytes_written(&self) -> u64 {
        self.output.position()
    }

    /// Completes the image, makes it durable and visible under its name. On error there is no trace of
    /// it, and what had the name before still has it; except when the very last step, the sync of the
    /// folder, fails: then the whole image has the name, but a loss of power may take it away.
    pub fn finish(mut self) -> Result<Summary> {
        self.close_frame()?;
        self.sort_runs()?;
        for (stream, runs) in std::mem::take(&mut self.streams) {
            self.write_index(stream, &runs)?;
        }
        let mut table = Vec::with_capacity(self.sections.len() * Section::ENCODED_LEN);
        for section in &self.sections {
            section.encode_into(&mut table);
        }
        if table.len() as u64 > MAX_TABLE {
            return Err(Error::refused(&self.path, "it has too many records"));
        }
        let table_offset = self.output.append(&table)?;
        let file_len = self.output.position();
        let header = Header {
            identity: self.identity,
            file_len,
            table_offset,
            table_len: table.len() as u64,
            table_checksum: checksum::of(&table),
        };
        self.output.publish(&header.encode())?;
        Ok(Summary {
            bytes: file_len,
            memory_pages: self.memory_pages,
            zero_pages: self.zero_pages,
        })
    }

    /// By address, each page once, and those that are another stream's there.
    fn sort_runs(&mut self) -> Result<()> {
        for (stream, runs) in &mut self.streams {
            // Nearly sorted already, which this sort makes use of.
            runs.sort_by_key(|run| run.start);
            if let Some(pair) = runs.windows(2).find(|pair| pair[0].end() > pair[1].start) {
                let what = format!(
                    "the page at {:#x} of stream {stream} was given twice",
                    pair[1].start
                );
                return Err(Error::refused(&self.path, what));
            }
        }
        for (stream, run) in self
            .streams
            .iter()
            .flat_map(|(n, runs)| runs.iter().map(move |run| (n, run)))
        {
            let RunKind::Same { stream: other } = run.kind else {
                continue;
            };
            let there = self.streams.get(&other).map_or(&[][..], Vec::as_slice);
            if !covers(there, run) {
                let what = format!(
                    "stream {other} lacks pages at {:#x} that stream {stream} refers to",
                    run.start
                );
                return Err(Error::refused(&self.path, what));
            }
        }
        Ok(())
    }

    fn write_index(&mut self, stream: u32, runs: &[PageRun]) -> Result<()> {
        let offset = self.output.position();
        let mut checksum = checksum::Running::new();
        let mut bytes = Vec::new();
        for piece in runs.chunks(INDEX_PIECE) {
            bytes.clear();
            piece.iter().for_each(|run| run.encode_into(&mut bytes));
            checksum.update(&bytes);
            self.output.append(&bytes)?;
        }
        let len = (runs.len() * PageRun::ENCODED_LEN) as u64;
        let content = Content::PageIndex { stream };
        self.sections.push(Section {
            content,
            offset,
            len,
            checksum: checksum.finish(),
        });
        Ok(())
    }
}

/// Whether sorted runs have all pages of `wanted`.
fn covers(runs: &[PageRun], wanted: &PageRun) -> bool {
    let first = runs.partition_point(|run| run.end() <= wanted.start);
    let mut at = wanted.start;
    for run in runs.iter().skip(first) {
        if at >= wanted.end() || run.start > at {
            break;
        }
        at = run.end();
    }
    at >= wanted.end()
}
