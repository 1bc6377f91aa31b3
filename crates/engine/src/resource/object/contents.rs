//! The contents of an object: written to a new file, compared with one that is there, or put back into it.

use super::rebuild::times;
use super::{home, name_of};
use crate::Result;
use crate::error::Context;
use crate::resource::file::{Held, rewind};
use crate::restart::Plan;
use rethaw_image::record::SharedObjectV1;
use rethaw_image::{ImageReader, Piece};
use rustix::fs::FallocateFlags;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;

/// Fills a new file.
pub(super) fn fill(fd: &OwnedFd, record: &SharedObjectV1, reader: &ImageReader) -> Result<()> {
    let mut buffer = Vec::new();
    let pieces = reader.pieces(record.stream)?;
    pieces
        .iter()
        .filter(|piece| !piece.is_zero())
        .try_for_each(|piece| fill_piece(fd, record, reader, piece, &mut buffer))
}
fn fill_piece(
    fd: &OwnedFd,
    record: &SharedObjectV1,
    reader: &ImageReader,
    piece: &Piece,
    buffer: &mut Vec<u8>,
) -> Result<()> {
    let bytes = reader.read_piece(piece, buffer)?;
    let len = length(record, piece, bytes);
    write_all_at(fd, &bytes[..len], piece.start, record.huge_page)
        .context(|| format!("cannot fill {}", name_of(record)))
}

/// write(2) does not work on hugetlbfs; such an object is filled through a mapping.
fn write_all_at(fd: &OwnedFd, bytes: &[u8], offset: u64, huge_page: u64) -> io::Result<()> {
    if huge_page != 0 {
        return rethaw_sys::memory::write_mapped(fd.as_fd(), offset, bytes, huge_page);
    }
    let mut done = 0;
    while done < bytes.len() {
        done += rustix::io::pwrite(fd, &bytes[done..], offset + done as u64)?;
    }
    Ok(())
}

/// Whether a file begins with these contents.
pub(super) fn begins_as(file: &File, record: &SharedObjectV1, reader: Option<&ImageReader>) -> bool {
    let pieces = reader.and_then(|reader| Some((reader, reader.pieces(record.stream).ok()?)));
    let Some((reader, pieces)) = pieces else {
        return false;
    };
    if file.metadata().map_or(0, |now| now.len()) < record.size {
        return false;
    }
    let (mut buffer, mut end) = (Vec::new(), 0);
    for piece in pieces.iter().filter(|piece| !piece.is_zero()) {
        let same = reader.read_piece(piece, &mut buffer).is_ok_and(|bytes| {
            let len = length(record, piece, bytes);
            is_zero(file, end, piece.start) && is_same(file, piece.start, &bytes[..len])
        });
        if !same {
            return false;
        }
        end = piece.end;
    }
    is_zero(file, end, record.size)
}

/// How much of a piece belongs to the file: its last page may be longer than the file.
fn length(record: &SharedObjectV1, piece: &Piece, bytes: &[u8]) -> usize {
    let left = record.size.saturating_sub(piece.start);
    bytes.len().min(left.try_into().unwrap_or(usize::MAX))
}

fn is_same(file: &File, start: u64, bytes: &[u8]) -> bool {
    let mut there = vec![0; bytes.len()];
    file.read_exact_at(&mut there, start).is_ok() && there == bytes
}

/// Whether a part of a file reads as zeros.
fn is_zero(file: &File, start: u64, end: u64) -> bool {
    const STEP: u64 = 1 << 20;
    let mut position = start;
    while position < end {
        // Holes are passed over, where the file system tells of them.
        match rustix::fs::seek(file, rustix::fs::SeekFrom::Data(position)) {
            Ok(data) => position = data,
            Err(rustix::io::Errno::NXIO) => return true,
            Err(_) => {}
        }
        let len = end.saturating_sub(position).min(STEP);
        if !is_same(file, position, &vec![0; len as usize]) {
            return false;
        }
        position += len.max(1);
    }
    true
}

/// Gives a named file that is there its contents of the checkpoint. What lies behind them is kept in a side file.
/// Gives what was done, if anything was.
pub(crate) fn put_back(
    record: &SharedObjectV1,
    plan: &Plan,
    reader: &ImageReader,
    held: &Held,
) -> Result<Option<String>> {
    let path = home::path(record, &plan.places);
    let name = || format!("cannot put back the contents of {}", path.display());
    let file = held.open_to_write(&path).context(name)?;
    let kept = match file.metadata().context(name)?.len() > record.size {
        true => Some(rewind::cut(&path, record.size, held)?),
        false => None,
    };
    file.set_len(record.size).context(name)?;
    let changed = overwrite(file.try_clone().context(name)?, record, reader)?;
    if let Some(ghost) = &record.ghost {
        rustix::fs::futimens(&file, &times(ghost.atime_ns, ghost.mtime_ns)).context(name)?;
    }
    let what = match (changed, kept.is_some()) {
        (false, false) => return Ok(None),
        (false, true) => format!("its {} bytes of the checkpoint", record.size),
        (true, _) => "its contents of the checkpoint".to_owned(),
    };
    let kept = kept.unwrap_or_default();
    Ok(Some(format!("{} is back to {what}{kept}", path.display())))
}

/// Writes what is not there already. Gives whether that was anything.
fn overwrite(file: File, record: &SharedObjectV1, reader: &ImageReader) -> Result<bool> {
    let name = || format!("cannot put back the contents of {}", name_of(record));
    let fd = OwnedFd::from(file.try_clone().context(name)?);
    let (mut changed, mut buffer, mut end) = (false, Vec::new(), 0);
    let clear = |start: u64, end: u64| -> Result<bool> {
        let wanted = !is_zero(&file, start, end);
        if wanted {
            empty(&fd, start, end, record.huge_page).context(name)?;
        }
        Ok(wanted)
    };
    for piece in reader.pieces(record.stream)?.iter().filter(|p| !p.is_zero()) {
        changed |= clear(end, piece.start)?;
        let bytes = reader.read_piece(piece, &mut buffer)?;
        let len = length(record, piece, bytes);
        if !is_same(&file, piece.start, &bytes[..len]) {
            write_all_at(&fd, &bytes[..len], piece.start, record.huge_page).context(name)?;
            changed = true;
        }
        end = piece.end;
    }
    changed |= clear(end, record.size)?;
    Ok(changed)
}

/// Makes a part of a file read as zeros.
fn empty(fd: &OwnedFd, start: u64, end: u64, huge_page: u64) -> io::Result<()> {
    let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    match rustix::fs::fallocate(fd, punch, start, end - start) {
        Err(rustix::io::Errno::OPNOTSUPP) => {}
        outcome => return Ok(outcome?),
    }
    const STEP: u64 = 1 << 20;
    let zeros = vec![0; STEP as usize];
    for at in (start..end).step_by(STEP as usize) {
        write_all_at(fd, &zeros[..(end - at).min(STEP) as usize], at, huge_page)?;
    }
    Ok(())
}
