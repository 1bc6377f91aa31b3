//! Pipes whose ends are inside the computation, with the bytes in flight.

use super::descriptor::{Seen, reads, writes};
use super::file::{Names, folder, path_of};
use super::object::Made;
use crate::Result;
use crate::checkpoint::refusals::Refusals;
use crate::error::{Context, Error};
use crate::restart::Plan;
use rethaw_image::record::{DescriptionKind, DescriptionV1, PipeEndV1, PipeV1};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{CWD, FileType, Mode, OFlags};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_getpipe_size, fcntl_setpipe_size, pipe_with, tee};
use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::Path;

/// The pipes of a computation, found by inode.
#[derive(Debug, Default)]
pub(crate) struct Pipes {
    by_inode: BTreeMap<u64, u32>,
}

impl Pipes {
    /// Notes one end.
    pub fn end(&mut self, seen: &Seen, ino: u64, names: &Names) -> DescriptionKind {
        let next = self.by_inode.len() as u32 + 1;
        let pipe = *self.by_inode.entry(ino).or_insert(next);
        let mut end = PipeEndV1 {
            pipe,
            ..PipeEndV1::default()
        };
        let path = seen.path();
        match fs::metadata(path) {
            Ok(named) if named.file_type().is_fifo() && named.ino() == ino => {
                end.path = path.as_os_str().as_bytes().to_vec();
                end.mode = named.mode();
                if let Some(folder) = path.parent().filter(|folder| names.folder_travels(folder)) {
                    end.folders = names.folders(folder);
                }
            }
            // A FIFO whose name is gone or leads elsewhere is like a pipe: nobody can open it any more.
            _ => {}
        }
        DescriptionKind::Pipe(end)
    }

    /// Collects the contents of every pipe, once all ends are known.
    pub fn collect(
        &self,
        seen: &[Seen],
        records: &[DescriptionV1],
        refusals: &Refusals,
    ) -> Result<Vec<PipeV1>> {
        let each = self.by_inode.values();
        each.filter_map(|pipe| refusals.pass(collect_one(*pipe, seen, records)).transpose())
            .collect()
    }
}

fn is_end_of(record: &DescriptionV1, pipe: u32) -> bool {
    matches!(&record.kind, Some(DescriptionKind::Pipe(end)) if end.pipe == pipe)
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
        (Some((end, _)), None) if !is_without_writers(&ends)? => Err(outside(end, "writes")),
        (None, Some((end, _))) if !hung_up(end, PollFlags::ERR) => Err(outside(end, "reads")),
        (Some((end, _)), writer) => Ok(PipeV1 {
            unwritten: writer.is_none() && !hung_up(end, PollFlags::HUP),
            ..contents(
                pipe,
                end,
                ends.iter().any(|(_, flags)| flags & libc::O_DIRECT as u32 != 0),
            )?
        }),
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

/// Whether nobody can write. A reader that has opened a FIFO when nobody did is not told so by poll(2), but tee(2) finds
/// the end of an empty pipe, which is not there when somebody has it open.
fn is_without_writers(ends: &[(&Seen, u32)]) -> Result<bool> {
    let mut readers = ends.iter().filter(|(_, flags)| reads(*flags));
    if readers.any(|(end, _)| hung_up(end, PollFlags::HUP)) {
        return Ok(true);
    }
    let Some((end, _)) = ends.iter().find(|(_, flags)| reads(*flags)) else {
        return Ok(false);
    };
    let name = || format!("cannot look at {}", end.name());
    let (_reader, into) = pipe_with(PipeFlags::CLOEXEC).context(name)?;
    Ok(matches!(
        tee(&end.duplicate, &into, 1, SpliceFlags::NONBLOCK),
        Ok(0)
    ))
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
        packet_mode,
        ..PipeV1::default()
    };
    if waiting > 0 {
        let copy = || copy(end.duplicate.as_fd(), waiting as usize, capacity as usize);
        let pieces = pieces(&copy().context(name)?).context(name)?;
        if packet_mode {
            let starts = packet_starts(&copy().context(name)?, &pieces).context(name)?;
            (record.packets, record.plain) = apart(pieces, &starts);
        } else {
            record.packets = vec![pieces.concat()];
        }
    }
    Ok(record)
}

/// A pipe with the same bytes.
fn copy(from: rustix::fd::BorrowedFd<'_>, waiting: usize, capacity: usize) -> io::Result<OwnedFd> {
    let (ours, into) = pipe_with(PipeFlags::CLOEXEC)?;
    fcntl_setpipe_size(&into, capacity)?;
    let copied = tee(from, &into, waiting, SpliceFlags::NONBLOCK)?;
    if copied < waiting {
        return Err(io::Error::other(format!("got {copied} of {waiting} bytes")));
    }
    Ok(ours)
}

/// What a read(2) gives at a time: up to the end of a packet, or all.
fn pieces(copy: &OwnedFd) -> io::Result<Vec<Vec<u8>>> {
    let mut pieces = Vec::new();
    loop {
        let waiting = rustix::io::ioctl_fionread(copy)? as usize;
        if waiting == 0 {
            return Ok(pieces);
        }
        let mut bytes = vec![0; waiting];
        let got = rustix::io::read(copy, &mut bytes)?;
        bytes.truncate(got);
        pieces.push(bytes);
    }
}

/// Where in each piece its packet begins; at its end, if it has none. Reading a byte of a packet throws the rest of
/// it away (pipe(7)).
fn packet_starts(copy: &OwnedFd, pieces: &[Vec<u8>]) -> io::Result<Vec<usize>> {
    let mut starts = Vec::new();
    let mut left = rustix::io::ioctl_fionread(copy)? as usize;
    for (index, piece) in pieces.iter().enumerate() {
        let (mut at, mut start) = (0, piece.len());
        while at < piece.len() {
            rustix::io::read(copy, &mut [0; 1])?;
            let now = rustix::io::ioctl_fionread(copy)? as usize;
            let gone = left.saturating_sub(now).max(1);
            // Between two pieces there is always the end of a packet, of a single byte perhaps.
            if gone > 1 || at + 1 == piece.len() && index + 1 < pieces.len() {
                start = at;
            }
            at += gone;
            left = now;
        }
        starts.push(start);
    }
    Ok(starts)
}

/// Packets, and what is none, by its number.
fn apart(pieces: Vec<Vec<u8>>, starts: &[usize]) -> (Vec<Vec<u8>>, Vec<u32>) {
    let (mut all, mut plain) = (Vec::new(), Vec::new());
    for (mut piece, start) in pieces.into_iter().zip(starts) {
        let packet = piece.split_off((*start).min(piece.len()));
        if !piece.is_empty() {
            plain.push(all.len() as u32);
            all.push(piece);
        }
        if !packet.is_empty() {
            all.push(packet);
        }
    }
    (all, plain)
}

/// Makes the FIFOs that are gone, and folders of volatile places that lead to them.
pub(crate) fn make_missing(plan: &Plan, made: &mut Made) -> Result<()> {
    let kinds = plan.descriptions.values().map(|record| &record.kind);
    let ends = kinds.filter_map(|kind| match kind {
        Some(DescriptionKind::Pipe(end)) if end.mode != 0 => Some(end),
        _ => None,
    });
    for end in ends {
        folder::make(&end.folders, &plan.places, made)?;
        let path = plan.places.path(&end.path);
        let name = || format!("cannot make the named pipe {} again", path.display());
        match rustix::fs::mknodat(CWD, &path, FileType::Fifo, Mode::RWXU, 0) {
            Ok(()) => {
                made.note(path.clone(), &fs::symlink_metadata(&path).context(name)?);
                fs::set_permissions(&path, fs::Permissions::from_mode(end.mode & 0o7777)).context(name)?;
            }
            // Whether what is there can be taken is seen when it is opened.
            Err(Errno::EXIST | Errno::NOENT) => {}
            Err(e) => return Err(e).context(name),
        }
    }
    Ok(())
}

/// Makes a pipe again, or opens the FIFO that it is. Gives its two ends.
pub(crate) fn rebuild(record: &PipeV1, fifo: Option<&Path>) -> Result<(OwnedFd, OwnedFd)> {
    let name = || match fifo {
        Some(path) => format!("cannot rebuild the named pipe {}", path.display()),
        None => "cannot rebuild a pipe".to_owned(),
    };
    let (reader, writer) = match fifo {
        // Nobody may have it open for writing, not even now.
        Some(path) if record.unwritten && record.packets.is_empty() => {
            let only = open_fifo(path, OFlags::RDONLY)?;
            (only.try_clone().context(name)?, only)
        }
        Some(path) => {
            let both = open_fifo(path, OFlags::RDWR)?;
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

/// A FIFO; with RDWR both ends of it in one description, so that no opening of it waits for the other end.
fn open_fifo(path: &Path, access: OFlags) -> Result<OwnedFd> {
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
    let flags = access | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let fd = rustix::fs::open(path, flags, Mode::empty()).context(name)?;
    let stat = rustix::fs::fstat(&fd).context(name)?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Fifo => Ok(fd),
        _ => Err(gone()),
    }
}

/// Never blocks: what does not fit is an error.
fn refill(writer: &OwnedFd, record: &PipeV1) -> io::Result<()> {
    let mut file = fs::File::from(writer.try_clone()?);
    for (index, packet) in (0..).zip(&record.packets) {
        let mut flags = OFlags::NONBLOCK;
        flags.set(
            OFlags::DIRECT,
            record.packet_mode && !record.plain.contains(&index),
        );
        rustix::fs::fcntl_setfl(writer, flags)?;
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
    // open(2) refuses packet mode, fcntl(2) does not; and it would wait for the other end of a FIFO.
    let flags =
        (OFlags::from_bits_retain(record.flags) - OFlags::DIRECT) | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let end = if reads(record.flags) { &ends.0 } else { &ends.1 };
    // What pipe(2) has made is the only description without this flag, which every opening adds.
    const LARGE_FILE: u32 = 0o100_000;
    if record.flags & LARGE_FILE == 0 {
        let fd = end.try_clone().context(name)?;
        super::event::set_flags(&fd, record)?;
        return Ok(fd);
    }
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
    fn packets_and_a_stream_are_told_apart() {
        for (pieces, plain) in [
            (vec![(true, "one"), (true, "x"), (false, "stream")], vec![2]),
            (vec![(true, "x")], vec![]),
            (vec![(false, "stream")], vec![0]),
            (vec![(true, "three"), (true, "yy")], vec![]),
        ] {
            let record = PipeV1 {
                capacity: 65536,
                packet_mode: true,
                packets: pieces.iter().map(|(_, text)| text.as_bytes().to_vec()).collect(),
                plain,
                ..PipeV1::default()
            };
            let (reader, _writer) = rebuild(&record, None).unwrap();
            let waiting = rustix::io::ioctl_fionread(&reader).unwrap() as usize;
            let copied = || copy(reader.as_fd(), waiting, 65536).unwrap();
            let all = super::pieces(&copied()).unwrap();
            let starts = packet_starts(&copied(), &all).unwrap();
            let (packets, plain) = apart(all, &starts);
            assert_eq!(packets, record.packets);
            // A last packet of one byte reads like a stream of one.
            let last_byte = packets.last().is_some_and(|last| last.len() == 1);
            assert!(plain == record.plain || last_byte, "{plain:?}");
        }
    }

    #[test]
    fn a_fifo_that_is_gone_or_another_file_is_refused() {
        for path in ["/nowhere/fifo", "/dev/null"] {
            assert!(rebuild(&PipeV1::default(), Some(Path::new(path))).is_err());
        }
    }
}
