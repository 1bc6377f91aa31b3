//! Pieces: where the contents of a page stream really lie, when runs of it refer to other streams.

use crate::{ImageReader, PageRun, Result, RunKind};

/// Neighbouring pages of a stream whose contents lie in one run, of this or of another stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece {
    /// Address (or offset) of the first page.
    pub start: u64,
    /// First address after it.
    pub end: u64,
    /// Never [`RunKind::Same`].
    run: PageRun,
}

impl Piece {
    /// Bytes of memory that it covers.
    pub fn bytes(&self) -> u64 {
        self.end - self.start
    }

    /// A part of it.
    pub fn part(&self, start: u64, end: u64) -> Piece {
        debug_assert!(self.start <= start && start < end && end <= self.end);
        Piece {
            start,
            end,
            run: self.run,
        }
    }

    /// Whether all of it is zero; else there are bytes to read.
    pub fn is_zero(&self) -> bool {
        self.run.kind == RunKind::Zero
    }
}

impl ImageReader {
    /// The contents of a page stream, by address, without overlap: its runs, where those that are the same as
    /// in another stream are followed to where the bytes are.
    pub fn pieces(&self, stream: u32) -> Result<Vec<Piece>> {
        let mut pieces = Vec::new();
        for run in self.runs(stream)? {
            self.follow(run, &mut pieces)?;
        }
        Ok(pieces)
    }

    /// References lead to lower numbers only, which makes this end.
    fn follow(&self, run: &PageRun, pieces: &mut Vec<Piece>) -> Result<()> {
        let mut rest = vec![Piece {
            start: run.start,
            end: run.end(),
            run: *run,
        }];
        while let Some(piece) = rest.pop() {
            let RunKind::Same { stream } = piece.run.kind else {
                pieces.push(piece);
                continue;
            };
            let below = self.runs(stream)?;
            let first = below.partition_point(|run| run.end() <= piece.start);
            let mut parts = Vec::new();
            let mut at = piece.start;
            for run in below.iter().skip(first).take_while(|run| run.start < piece.end) {
                if run.start > at {
                    break;
                }
                let end = run.end().min(piece.end);
                parts.push(Piece {
                    start: at,
                    end,
                    run: *run,
                });
                at = end;
            }
            if at < piece.end {
                let what =
                    format!("is damaged: stream {stream} lacks the pages at {at:#x} that another refers to");
                return Err(self.damaged(what));
            }
            rest.extend(parts.into_iter().rev());
        }
        Ok(())
    }

    /// The bytes of a piece, in `buffer`; none if it is zero.
    pub fn read_piece<'a>(&self, piece: &Piece, buffer: &'a mut Vec<u8>) -> Result<&'a [u8]> {
        self.read_run(&piece.run, buffer)?;
        if piece.is_zero() {
            return Ok(&[]);
        }
        let (from, to) = (piece.start - piece.run.start, piece.end - piece.run.start);
        Ok(&buffer[from as usize..to as usize])
    }
}
