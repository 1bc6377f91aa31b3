//! Write: pages and records into the image.

use super::Progress;
use super::collect::Collected;
use super::inherited::{self, Part};
use crate::Result;
use crate::error::Context;
use crate::resource::file;
use crate::resource::memory::PageRange;
use crate::resource::object::Object;
use rethaw_image::{ImageWriter, MAX_RUN, PAGE, SectionKind};
use rethaw_sys::memory::{self, ForcedMemory};
use rethaw_sys::proc::Pid;
use rustix::fs::{Mode, OFlags, SeekFrom, seek};
use std::io;
use std::os::unix::fs::FileExt;

/// Copies pages of processes into an image.
pub(crate) struct PageCopier<'a> {
    writer: &'a mut ImageWriter,
    buffer: Vec<u8>,
    /// Pages of the process with which one is compared.
    other: Vec<u8>,
    progress: Progress<'a>,
    done: u64,
    total: u64,
}

/// Where the pages of a process can be read.
#[derive(Clone, Copy)]
pub(crate) struct Source<'a> {
    /// The process, or its copy.
    pub pid: Pid,
    pub ranges: &'a [PageRange],
}

/// A source that is open.
struct Open<'a> {
    source: Source<'a>,
    forced: ForcedMemory,
}

impl<'a> PageCopier<'a> {
    pub fn new(writer: &'a mut ImageWriter, total: u64, progress: Progress<'a>) -> PageCopier<'a> {
        PageCopier {
            writer,
            buffer: vec![0; MAX_RUN],
            other: Vec::new(),
            progress,
            done: 0,
            total,
        }
    }

    /// Copies the ranges of a process that `wanted` selects, but for pages that are the same in `base`, whose
    /// stream is an earlier one.
    pub fn process(
        &mut self,
        source: Source<'_>,
        base: Option<Source<'_>>,
        wanted: impl Fn(&PageRange) -> bool,
    ) -> Result<()> {
        let own = Open::new(source)?;
        let base = base.map(Open::new).transpose()?;
        for range in source.ranges.iter().filter(|range| wanted(range)) {
            match &base {
                Some(base) => self.compared(&own, base, range)?,
                None => self.range(&own, range, range.start, range.end)?,
            }
        }
        Ok(())
    }

    fn range(&mut self, own: &Open<'_>, range: &PageRange, mut start: u64, end: u64) -> Result<()> {
        while start < end {
            let len = (end - start).min(MAX_RUN as u64) as usize;
            own.read(start, &mut self.buffer[..len], range.forced)?;
            self.writer.pages(
                range.stream,
                range.at + (start - range.start),
                &self.buffer[..len],
            )?;
            self.count(len);
            start += len as u64;
        }
        Ok(())
    }

    fn compared(&mut self, own: &Open<'_>, base: &Open<'_>, range: &PageRange) -> Result<()> {
        for Part { addresses, in_base } in inherited::cut(range, base.source.ranges) {
            let Some(forced) = in_base else {
                self.range(own, range, addresses.start, addresses.end)?;
                continue;
            };
            self.other.resize(MAX_RUN, 0);
            let mut start = addresses.start;
            while start < addresses.end {
                let len = (addresses.end - start).min(MAX_RUN as u64) as usize;
                own.read(start, &mut self.buffer[..len], range.forced)?;
                base.read(start, &mut self.other[..len], forced)?;
                self.differences(range.stream, base.source.stream(), start, len)?;
                self.count(len);
                start += len as u64;
            }
        }
        Ok(())
    }

    /// Writes those pages of `buffer` that are not in `other`.
    fn differences(&mut self, stream: u32, base: u32, start: u64, len: usize) -> Result<()> {
        let mut at = 0;
        for (same, len) in inherited::alternate(&self.buffer[..len], &self.other[..len]) {
            let address = start + at as u64;
            match same {
                true => self.writer.same_pages(stream, address, len as u64, base)?,
                false => self.writer.pages(stream, address, &self.buffer[at..at + len])?,
            }
            at += len;
        }
        Ok(())
    }

    /// Copies a shared object: from its descriptor without touching its holes, else from where it is mapped.
    pub fn object(&mut self, object: &Object) -> Result<()> {
        match &object.file {
            Some(file) => self.file(object.record.stream, file, object.record.size),
            None => object
                .readable()
                .try_for_each(|(pid, ranges)| self.process(Source { pid, ranges }, None, |_| true)),
        }
    }

    /// Copies what is mapped in several processes.
    pub fn mapped(&mut self, mapped: &[(Pid, PageRange)]) -> Result<()> {
        mapped.iter().try_for_each(|(pid, range)| {
            let ranges = std::slice::from_ref(range);
            self.process(Source { pid: *pid, ranges }, None, |_| true)
        })
    }

    fn file(&mut self, stream: u32, file: &std::fs::File, size: u64) -> Result<()> {
        let name = || "cannot read a shared memory object".to_owned();
        let own = description_of_our_own(file).context(name)?;
        let mut position = 0;
        while position < size {
            let start = match seek(&own, SeekFrom::Data(position)) {
                Err(rustix::io::Errno::NXIO) => break,
                outcome => outcome.context(name)?,
            };
            let end = seek(&own, SeekFrom::Hole(start))
                .context(name)?
                .min(size.next_multiple_of(PAGE as u64));
            position = start - start % PAGE as u64;
            while position < end {
                let len = (end - position).next_multiple_of(PAGE as u64).min(MAX_RUN as u64) as usize;
                let buffer = &mut self.buffer[..len];
                buffer.fill(0);
                read_up_to(&own, position, buffer).context(name)?;
                self.writer.pages(stream, position, buffer)?;
                self.count(len);
                position += len as u64;
            }
        }
        Ok(())
    }

    fn count(&mut self, bytes: usize) {
        self.done += bytes as u64;
        (self.progress)(self.done, self.total);
    }
}

impl Source<'_> {
    fn stream(&self) -> u32 {
        self.ranges.first().map_or(0, |range| range.stream)
    }
}

impl<'a> Open<'a> {
    fn new(source: Source<'a>) -> Result<Open<'a>> {
        let name = || format!("cannot open the memory of process {}", source.pid);
        let forced = ForcedMemory::open(source.pid).context(name)?;
        Ok(Open { source, forced })
    }

    fn read(&self, start: u64, buffer: &mut [u8], forced: bool) -> Result<()> {
        let read = match forced {
            false => memory::read(self.source.pid, start, buffer),
            true => read_forced(|at, page| self.forced.read(at, page), start, buffer),
        };
        read.context(|| format!("cannot read memory of process {} at {start:#x}", self.source.pid))
    }
}

/// So that the program's offset stays where it is, without waiting for somebody's lease on it; its access time, too, where that is ours to decide (O_NOATIME,
/// open(2)).
fn description_of_our_own(file: &std::fs::File) -> io::Result<std::fs::File> {
    let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(file));
    let open = |flags| {
        rustix::fs::open(
            &path,
            OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC | flags,
            Mode::empty(),
        )
    };
    match open(OFlags::NOATIME) {
        Err(rustix::io::Errno::PERM) => Ok(open(OFlags::empty())?.into()),
        outcome => Ok(outcome?.into()),
    }
}

/// Pages that cannot be read even with force (EIO) lie beyond the end of a mapped file (SIGBUS for the program):
/// there is nothing in them. Any other error means that the memory could not be read.
fn read_forced(
    read: impl Fn(u64, &mut [u8]) -> io::Result<()>,
    start: u64,
    buffer: &mut [u8],
) -> io::Result<()> {
    let nothing_there = |e: &io::Error| e.raw_os_error() == Some(libc::EIO);
    match read(start, buffer) {
        Err(e) if nothing_there(&e) => {}
        outcome => return outcome,
    }
    for (address, page) in (start..).step_by(PAGE).zip(buffer.chunks_mut(PAGE)) {
        match read(address, page) {
            Err(e) if nothing_there(&e) => page.fill(0),
            outcome => outcome?,
        }
    }
    Ok(())
}

fn read_up_to(file: &std::fs::File, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
    let mut done = 0;
    while done < buffer.len() {
        match file.read_at(&mut buffer[done..], offset + done as u64)? {
            0 => break,
            n => done += n,
        }
    }
    Ok(())
}

/// Writes all records.
pub(crate) fn records(writer: &mut ImageWriter, collected: &Collected) -> Result<()> {
    writer.record(SectionKind::Computation, &collected.computation)?;
    for process in collected.processes.iter().chain(&collected.ended) {
        writer.record(SectionKind::Process, process)?;
    }
    for description in &collected.descriptions {
        writer.record(SectionKind::Description, description)?;
    }
    for object in &collected.objects {
        writer.record(SectionKind::SharedObject, &object.record)?;
    }
    for pipe in &collected.pipes {
        writer.record(SectionKind::Pipe, pipe)?;
    }
    for terminal in &collected.terminals {
        writer.record(SectionKind::Terminal, terminal)?;
    }
    collected.sysv.write(writer)
}

/// Makes files durable that the program was writing: after the loss of the node they must be at least as
/// long as the image says.
pub(crate) fn sync_files(collected: &Collected) -> Result<()> {
    collected.written_files.iter().try_for_each(file::sync)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// Memory of which only the first page can be read, with `error` for the others.
    fn one_page(error: fn() -> io::Error) -> impl Fn(u64, &mut [u8]) -> io::Result<()> {
        move |start, buffer| {
            if start + buffer.len() as u64 > PAGE as u64 {
                return Err(error());
            }
            buffer.fill(7);
            Ok(())
        }
    }

    #[test]
    fn pages_beyond_the_end_of_a_file_are_zero() {
        let mut buffer = vec![1; 3 * PAGE];
        let memory = one_page(|| io::Error::from_raw_os_error(libc::EIO));
        read_forced(memory, 0, &mut buffer).unwrap();
        assert!(buffer[..PAGE].iter().all(|byte| *byte == 7));
        assert!(buffer[PAGE..].iter().all(|byte| *byte == 0));
    }

    #[test]
    fn other_errors_are_no_zeros() {
        let mut buffer = vec![1; 3 * PAGE];
        let errors: [fn() -> io::Error; 2] = [
            || io::Error::from_raw_os_error(libc::ESRCH),
            || io::ErrorKind::UnexpectedEof.into(),
        ];
        for error in errors {
            assert!(read_forced(one_page(error), 0, &mut buffer).is_err());
        }
    }
}
