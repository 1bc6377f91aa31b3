//! Pipes whose ends are inside the computation, with the bytes in flight.

use super::descriptor::{Seen, reads};
use super::file::path_of;
use crate::Result;
use crate::error::{Context, Error};
use rethaw_image::record::{DescriptionKind, DescriptionV1, PipeEndV1, PipeV1};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FileType, Mode, OFlags};
use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_getpipe_size, fcntl_setpipe_size, pipe_with, tee};
use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

/// The pipes of a computation, found by inode.
#[derive(Debug, Default)]
pub(crate) struct Pipes {
    by_inode: BTreeMap<u64, u32>,
}

impl Pipes {
    /// Notes one end.
    pub fn end(&mut self, seen: &Seen, ino: u64) -> DescriptionKind {
        let next = self.by_inode.len() as u32 + 1;
        let pipe = *self.by_inode.entry(ino).or_insert(next);
        // A FIFO whose name is gone or leads elsewhere is like a pipe: nobody can open it any more.
        let path = match fs::metadata(seen.path()) {
            Ok(named) if named.file_type().is_fifo() && named.ino() == ino => {
                seen.path().as_os_str().as_bytes().to_vec()
            }
            _ => Vec::new(),
        };
        DescriptionKind::Pipe(PipeEndV1 { pipe, path })
    }

    /// Collects the contents of every pipe, once all ends are known.
    pub fn collect(&self, seen: &[Seen], records: &[DescriptionV1]) -> Result<Vec<PipeV1>> {
        self.by_inode
            .values()
            .map(|pipe| collect_one(*pipe, seen, records))
            .collect()
    }
}

fn is_end_of(record: &DescriptionV1, pipe: u32) -> bool {
    matches!(&record.kind, Some(DescriptionKind::Pipe(end)) if end.pipe == pipe)
}

fn writes(flags: u32) -> bool {
    flags & libc::O_ACCMODE as u32 != libc::O_RDONLY as u32
}

fn collect_one(pipe: u32, seen: &[Seen], records: &[DescriptionV1]) -> Result<PipeV1> {
    let ends: Vec<(&Seen, u32)> = seen
        .iter()
        .zip(records)
        .filter(|(_, r)| is_end_of(r, pipe))
        .map(|(s, r)| (s, r.flags))
        .collect();
    let reader = ends.iter().find(|(_, flags)| reads(*flags));
    let writer = ends.iter().find(|(_, flags)| writes(*flags));
    match (reader, writer) {
        (Some((end, _)), None) if !hung_up(end, PollFlags::HUP) => Err(outside(end, "writes")),
        (None, Some((end, _))) if !hung_up(end, PollFlags::ERR) => Err(outside(end, "reads")),
        (Some((end, _)), _) => contents(
            pipe,
            end,
            ends.iter().any(|(_, flags)| flags & libc::O_DIRECT as u32 != 0),
        ),
        // Nobody can ever read what is in it.
        (None, Some((end, _))) => Ok(PipeV1 {
            pipe,
            capacity: capacity(end)?,
            ..PipeV1::default()
        }),
        (None, None) => Ok(PipeV1 {
            pipe,
            ..PipeV1::default()
        }),
    }
}

/// Whether the other end is closed everywhere (poll(2): POLLHUP for a reader, POLLERR for a writer).
fn hung_up(end: &Seen, sign: PollFlags) -> bool {
    let mut fds = [PollFd::new(&end.duplicate, PollFlags::IN | PollFlags::OUT)];
    poll(&mut fds, Some(&Timespec::default())).is_ok() && fds[0].revents().contains(sign)
}

fn outside(end: &Seen, what: &str) -> Error {
    Error::Refused {
        what: format!(
            "a pipe whose other end {what} outside of the computation ({})",
            end.target.display()
        ),
        pid: end.pid.0,
        place: format!("descriptor {}", end.fd),
        remedy: "start both programs of the pipe under rethaw, e.g. `rethaw launch -- sh -c 'A | B'`"
            .to_owned(),
    }
}

fn capacity(end: &Seen) -> Result<u32> {
    let size = fcntl_getpipe_size(&end.duplicate).context(|| format!("cannot look at {}", end.name()))?;
    Ok(size as u32)
}

/// The bytes in flight, copied without consuming them (tee(2)).
fn contents(pipe: u32, end: &Seen, packet_mode: bool) -> Result<PipeV1> {
    let name = || format!("cannot read {}", end.name());
    let capacity = capacity(end)?;
    let waiting = rustix::io::ioctl_fionread(&end.duplicate).context(name)?;
    let mut record = PipeV1 {
        pipe,
        capacity,
        packets: Vec::new(),
        packet_mode,
    };
    if waiting > 0 {
        let packets = copy(end.duplicate.as_fd(), waiting as usize, capacity as usize).context(name)?;
        record.packets = if packet_mode {
            packets
        } else {
            vec![packets.concat()]
        };
    }
    Ok(record)
}

/// What a read(2) gives at a time, which in packet mode is one packet.
fn copy(from: rustix::fd::BorrowedFd<'_>, waiting: usize, capacity: usize) -> io::Result<Vec<Vec<u8>>> {
    let (ours, into) = pipe_with(PipeFlags::CLOEXEC)?;
    fcntl_setpipe_size(&into, capacity)?;
    let copied = tee(from, &into, waiting, SpliceFlags::NONBLOCK)?;
    if copied < waiting {
        return Err(io::Error::other(format!("got {copied} of {waiting} bytes")));
    }
    let mut packets = Vec::new();
    let mut left = copied;
    while left > 0 {
        let mut bytes = vec![0; left];
        let got = rustix::io::read(&ours, &mut bytes)?;
        bytes.truncate(got);
        packets.push(bytes);
        left -= got;
    }
    Ok(packets)
}

/// Makes a pipe again, or opens the FIFO that it is. Gives its two ends.
pub(crate) fn rebuild(record: &PipeV1, fifo: Option<&Path>) -> Result<(OwnedFd, OwnedFd)> {
    let name = || match fifo {
        Some(path) => format!("cannot rebuild the named pipe {}", path.display()),
        None => "cannot rebuild a pipe".to_owned(),
    };
    let (reader, writer) = match fifo {
        Some(path) => {
            let both = open_fifo(path)?;
            (both.try_clone().context(name)?, both)
        }
        None => pipe_with(PipeFlags::CLOEXEC).context(name)?,
    };
    if record.capacity > 0 && fcntl_getpipe_size(&writer).is_ok_and(|size| size != record.capacity as usize) {
        fcntl_setpipe_size(&writer, record.capacity as usize).context(name)?;
    }
    refill(&writer, record).context(name)?;
    Ok((reader, writer))
}

/// Both ends of a FIFO in one description, so that no opening of it waits for the other end.
fn open_fifo(path: &Path) -> Result<OwnedFd> {
    let gone = || Error::CannotRestart {
        what: format!(
            "the named pipe {} is gone, which the program had open",
            path.display()
        ),
        remedy: "make it again (mkfifo), or tell where it is now with --map OLD=NEW".to_owned(),
    };
    let name = || format!("cannot open the named pipe {}", path.display());
    if !fs::metadata(path).is_ok_and(|now| now.file_type().is_fifo()) {
        return Err(gone());
    }
    let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let fd = rustix::fs::open(path, flags, Mode::empty()).context(name)?;
    let stat = rustix::fs::fstat(&fd).context(name)?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Fifo => Ok(fd),
        _ => Err(gone()),
    }
}

/// Never blocks: what does not fit is an error.
fn refill(writer: &OwnedFd, record: &PipeV1) -> io::Result<()> {
    let mut flags = OFlags::NONBLOCK;
    flags.set(OFlags::DIRECT, record.packet_mode);
    rustix::fs::fcntl_setfl(writer, flags)?;
    let mut file = fs::File::from(writer.try_clone()?);
    for packet in &record.packets {
        file.write_all(packet).map_err(|e| match e.kind() {
            io::ErrorKind::WouldBlock => io::Error::other("what was in it does not fit"),
            _ => e,
        })?;
    }
    Ok(())
}

/// One end with the flags that it had. The ends that pipe(2) gives are plain; any other description of the
/// same pipe is opened through /proc/self/fd.
pub(crate) fn open_end(record: &DescriptionV1, ends: &(OwnedFd, OwnedFd)) -> Result<OwnedFd> {
    let name = || "cannot rebuild the end of a pipe".to_owned();
    // open(2) refuses packet mode, fcntl(2) does not.
    let flags = (OFlags::from_bits_retain(record.flags) - OFlags::DIRECT) | OFlags::CLOEXEC;
    let end = if reads(record.flags) { &ends.0 } else { &ends.1 };
    let path = format!("/proc/self/fd/{}", rustix::fd::AsRawFd::as_raw_fd(end));
    let fd = rustix::fs::open(path_of(path.as_bytes()), flags, Mode::empty()).context(name)?;
    super::event::set_flags(&fd, record)?;
    Ok(fd)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_an_error_and_does_not_block() {
        let record = PipeV1 {
            capacity: 4096,
            packets: vec![vec![1; 2 * 4096]],
            ..PipeV1::default()
        };
        assert!(rebuild(&record, None).is_err());
    }

    #[test]
    fn a_fifo_that_is_gone_or_another_file_is_refused() {
        for path in ["/nowhere/fifo", "/dev/null"] {
            assert!(rebuild(&PipeV1::default(), Some(Path::new(path))).is_err());
        }
    }
}
