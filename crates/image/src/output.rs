//! Sequential writing of an image's body: small pieces are gathered, large ones go straight to the file.

use crate::header::HEADER_LEN;
use crate::partial::Partial;
use crate::{Error, PAGE, Result};

const CAPACITY: usize = 4 << 20;
/// From this size on a write of its own costs less than copying into the buffer.
const DIRECT: usize = 256 << 10;

pub(crate) struct Output {
    partial: Partial,
    buffer: Vec<u8>,
    /// Offset in the file of the buffer's first byte.
    flushed: u64,
    failed: bool,
}

impl Output {
    pub(crate) fn new(partial: Partial) -> Output {
        Output {
            partial,
            buffer: Vec::new(),
            flushed: HEADER_LEN as u64,
            failed: false,
        }
    }

    /// Where the next byte goes.
    pub(crate) fn position(&self) -> u64 {
        self.flushed + self.buffer.len() as u64
    }

    /// Writes `data` next and says where it is.
    pub(crate) fn append(&mut self, data: &[u8]) -> Result<u64> {
        if data.len() >= DIRECT {
            self.flush()?;
            self.write(data)?;
            self.flushed += data.len() as u64;
            return Ok(self.flushed - data.len() as u64);
        }
        if self.buffer.len() + data.len() > CAPACITY {
            self.flush()?;
        }
        let at = self.position();
        self.buffer.extend_from_slice(data);
        Ok(at)
    }

    /// The same on a page boundary; what is skipped is zero.
    pub(crate) fn append_aligned(&mut self, data: &[u8]) -> Result<u64> {
        let gap = self.position().next_multiple_of(PAGE as u64) - self.position();
        self.buffer.resize(self.buffer.len() + gap as usize, 0);
        self.append(data)
    }

    fn flush(&mut self) -> Result<()> {
        if !self.buffer.is_empty() {
            let buffer = std::mem::take(&mut self.buffer);
            self.write(&buffer)?;
            self.flushed += buffer.len() as u64;
            self.buffer = buffer;
            self.buffer.clear();
        }
        Ok(())
    }

    /// After a failed write the file has a hole, so nothing after it may succeed.
    fn write(&mut self, data: &[u8]) -> Result<()> {
        if self.failed {
            return Err(Error::refused(
                self.partial.target(),
                "an earlier write to it has failed",
            ));
        }
        self.failed = true;
        self.partial.write_at(data, self.flushed)?;
        self.failed = false;
        Ok(())
    }

    /// Writes the rest and the header, and makes the image visible.
    pub(crate) fn publish(mut self, header: &[u8; HEADER_LEN]) -> Result<()> {
        self.flush()?;
        if self.failed {
            return Err(Error::refused(
                self.partial.target(),
                "an earlier write to it has failed",
            ));
        }
        self.partial.write_at(header, 0)?;
        self.partial.publish()
    }
}
