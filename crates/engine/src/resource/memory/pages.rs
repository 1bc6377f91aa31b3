//! Pages of private memory: which are saved, and back from the image into the process.

use super::inherit::{self, Part};
use crate::Result;
use crate::checkpoint::Progress;
use crate::error::{Context, Error};
use crate::resource::thread::ContextProc;
use rethaw_image::record::{Backing, MappingV1, MemoryV1};
use rethaw_image::{ImageReader, PageRun, Piece, RunKind};
use rethaw_sys::proc::{self, Pid, Vma};
use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

const PAGE: u64 = rethaw_image::PAGE as u64;

/// Pages that go into the image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PageRange {
    /// First address in the process.
    pub start: u64,
    /// First address after.
    pub end: u64,
    /// Stream of the image.
    pub stream: u32,
    /// Where it belongs in the stream: an address, or an offset in a shared object.
    pub at: u64,
    /// The mapping may not be readable, or parts of it may not exist: read with force, page by page if needed.
    pub forced: bool,
    /// Does not come along into a copy-on-write child: has to be copied while the program stands still.
    pub in_pause: bool,
}

impl PageRange {
    /// The parts of it whose place in the stream is outside of `start..end`.
    pub fn outside(self, start: u64, end: u64) -> Vec<PageRange> {
        let last = self.at + (self.end - self.start);
        let part = |from: u64, to: u64| {
            let (first, after) = (self.start + (from - self.at), self.start + (to - self.at));
            PageRange {
                start: first,
                end: after,
                at: from,
                ..self.clone()
            }
        };
        let before = (self.at < start).then(|| part(self.at, last.min(start)));
        let behind = (last > end).then(|| part(self.at.max(end), last));
        before.into_iter().chain(behind).collect()
    }
}

pub(super) fn pages_to_save(pid: Pid, stream: u32, vma: &Vma, mapping: &MappingV1) -> Result<Vec<PageRange>> {
    // The state of the vdso's random number generator (MAP_DROPPABLE, Linux 6.11): two runs from one image must not
    // get the same numbers. Found zero, as after it was dropped, it is seeded anew.
    if vma.has(b"dp") {
        return Ok(Vec::new());
    }
    let in_pause = vma.has(b"dc") || vma.has(b"wf") || vma.has(b"ht");
    let range = |start, end, forced| PageRange {
        start,
        end,
        stream,
        at: start,
        forced,
        in_pause,
    };
    Ok(match mapping.backing() {
        Backing::Anonymous | Backing::File if !vma.shared => {
            let ranges = proc::pages_to_save(pid, vma.start, vma.end, mapping.backing() == Backing::File)
                .context_proc()?;
            ranges
                .into_iter()
                .map(|r| range(r.start, r.end, !vma.read))
                .collect()
        }
        Backing::SavedFile => vec![range(vma.start, vma.end, true)],
        _ => Vec::new(),
    })
}

/// What has to be written to a process, and which pages of its parent it has no more; see [`inherit`].
pub(super) fn to_write(
    reader: &ImageReader,
    record: &MemoryV1,
    parent: Option<&MemoryV1>,
    parts: &[Part],
) -> Result<(Vec<Piece>, Vec<Range<u64>>)> {
    let pieces = reader.pieces(record.stream)?;
    let Some(parent) = parent else {
        return Ok((pieces, Vec::new()));
    };
    let ranges = |stream: u32, wanted: &dyn Fn(&PageRun) -> bool| -> Result<Vec<Range<u64>>> {
        let runs = reader.runs(stream)?.iter().filter(|run| wanted(run));
        Ok(runs.map(|run| run.start..run.end()).collect())
    };
    let same_as_parent = RunKind::Same {
        stream: parent.stream,
    };
    let same = ranges(record.stream, &|run| run.kind == same_as_parent)?;
    let zero: Vec<_> = pieces
        .iter()
        .filter(|piece| piece.is_zero())
        .map(|piece| piece.start..piece.end)
        .collect();
    let (own, parents) = (
        ranges(record.stream, &|_| true)?,
        ranges(parent.stream, &|_| true)?,
    );
    let inherit::Pages { there, stale } = inherit::pages(parts, &same, &zero, &own, &parents);
    let changed = |piece: Piece| {
        let ranges = inherit::minus(std::slice::from_ref(&(piece.start..piece.end)), &there);
        ranges
            .into_iter()
            .map(move |range| piece.part(range.start, range.end))
    };
    Ok((pieces.into_iter().flat_map(changed).collect(), stale))
}

/// Whether the image has pages of a mapping.
pub(super) fn has_pages(mapping: &MappingV1, pieces: &[Piece]) -> bool {
    let after = pieces.partition_point(|piece| piece.end <= mapping.start);
    pieces.get(after).is_some_and(|piece| piece.start < mapping.end)
}

/// Reads, verifies and writes the pages, on as many threads as there are processors.
pub(super) fn fill(
    pid: Pid,
    reader: &ImageReader,
    pieces: &[Piece],
    mappings: &[MappingV1],
    progress: Progress<'_>,
) -> Result<()> {
    const MOST: usize = 4;
    let total = pieces.iter().map(Piece::bytes).sum();
    let (next, done) = (AtomicUsize::new(0), AtomicU64::new(0));
    let work = || -> Result<()> {
        let mut buffer = Vec::new();
        while let Some(piece) = pieces.get(next.fetch_add(1, Ordering::Relaxed)) {
            fill_piece(pid, reader, piece, mappings, &mut buffer)?;
            progress(
                done.fetch_add(piece.bytes(), Ordering::Relaxed) + piece.bytes(),
                total,
            );
        }
        Ok(())
    };
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get().min(MOST));
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        workers
            .into_iter()
            .try_for_each(|worker| worker.join().unwrap_or(Err(Error::Ended)))
    })
}

fn fill_piece(
    pid: Pid,
    reader: &ImageReader,
    piece: &Piece,
    mappings: &[MappingV1],
    buffer: &mut Vec<u8>,
) -> Result<()> {
    let name = || format!("cannot fill memory at {:#x}", piece.start);
    if piece.is_zero() {
        return fill_zero(pid, piece, mappings).context(name);
    }
    let bytes = reader.read_piece(piece, buffer)?;
    rethaw_sys::memory::write(pid, piece.start, bytes).context(name)
}

/// Fresh anonymous memory is zero already; only over a file's contents zeros have to be written.
fn fill_zero(pid: Pid, piece: &Piece, mappings: &[MappingV1]) -> io::Result<()> {
    let over_file = mappings.iter().filter(|m| m.backing() == Backing::File);
    for mapping in over_file.filter(|m| m.start < piece.end && piece.start < m.end) {
        let (start, end) = (mapping.start.max(piece.start), mapping.end.min(piece.end));
        let zeros = vec![0; PAGE as usize];
        for address in (start..end).step_by(PAGE as usize) {
            rethaw_sys::memory::write(pid, address, &zeros)?;
        }
    }
    Ok(())
}
