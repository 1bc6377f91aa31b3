//! Checking a whole image: every byte of the file is covered by a checksum, or is padding and zero.

use crate::header::HEADER_LEN;
use crate::section::Content;
use crate::{ImageReader, PAGE, Result, RunKind};

/// A part of the file that something refers to.
type Extent = std::ops::Range<u64>;

impl ImageReader {
    /// Reads and checks everything. `progress` is told how many bytes of how many are done.
    pub fn verify(&self, progress: &dyn Fn(u64, u64)) -> Result<()> {
        let total = self.bytes();
        let mut extents = vec![0..HEADER_LEN as u64, self.header.table_offset..total];
        let mut done = extents.iter().map(length).sum();
        progress(done, total);
        for section in &self.sections {
            if let Content::Record(kind) = section.content {
                let bytes = self.record(section, kind)?;
                kind.decodes(&bytes).map_err(|e| self.undecodable(kind, &e))?;
            }
            extents.push(section.offset..section.offset + section.len);
            done += section.len;
            progress(done, total);
        }
        self.verify_pages(&mut extents, |bytes| {
            done += bytes;
            progress(done, total);
        })?;
        self.verify_tiling(extents)
    }

    fn verify_pages(&self, extents: &mut Vec<Extent>, mut advance: impl FnMut(u64)) -> Result<()> {
        let mut buffer = Vec::new();
        for stream in self.streams() {
            for run in self.runs(stream)?.iter().filter(|run| run.kind == RunKind::Data) {
                self.read_run(run, &mut buffer)?;
                extents.push(run.frame.offset..run.frame.offset + run.frame.len);
                advance(run.frame.len);
            }
            self.pieces(stream)?;
        }
        Ok(())
    }

    /// Nothing overlaps, and what lies between is zero and shorter than a page.
    fn verify_tiling(&self, mut extents: Vec<Extent>) -> Result<()> {
        extents.retain(|extent| !extent.is_empty());
        extents.sort_unstable_by_key(|extent| extent.start);
        for pair in extents.windows(2) {
            let [before, after] = pair else { continue };
            if before.end > after.start {
                return Err(self.damaged("is damaged: two parts of it overlap"));
            }
            self.verify_padding(before.end..after.start)?;
        }
        Ok(())
    }

    fn verify_padding(&self, gap: Extent) -> Result<()> {
        if length(&gap) >= PAGE as u64 {
            return Err(self.damaged("is damaged: a part of it belongs to nothing"));
        }
        let mut bytes = vec![0; length(&gap) as usize];
        self.read_at(&mut bytes, gap.start)?;
        if bytes.iter().any(|b| *b != 0) {
            return Err(self.damaged("is damaged: its padding is not zero"));
        }
        Ok(())
    }
}

fn length(extent: &Extent) -> u64 {
    extent.end - extent.start
}
