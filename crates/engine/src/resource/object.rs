//! Shared memory objects: shared anonymous memory, memfds and deleted files, whose contents travel in the image.

mod presence;

use super::memory::PageRange;
use crate::Result;
use crate::error::{Context, Error};
use crate::init::Init;
use crate::restart::{Passage, Plan, Stub, damaged};
use rethaw_image::ImageReader;
use rethaw_image::record::{DescriptionV1, FileIdentityV1, ObjectFileV1, SharedObjectV1};
use rethaw_sys::proc::{Pid, Vma};
use rustix::fs::{MemfdFlags, Mode, OFlags, SealFlags, SeekFrom};
use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// The objects of a computation, found by inode.
#[derive(Debug, Default)]
pub(crate) struct Objects {
    by_inode: BTreeMap<(u64, u64), Object>,
}

/// One object and where its contents can be read.
#[derive(Debug)]
pub(crate) struct Object {
    pub record: SharedObjectV1,
    /// A descriptor of it, if the program has one.
    pub file: Option<File>,
    /// Where it is mapped: the only way to it when there is no descriptor.
    mapped: Vec<Part>,
    /// Some of it was in swap space when it was looked at.
    swapped: bool,
}

/// A part of an object and where it is mapped. No two parts overlap.
#[derive(Debug)]
struct Part {
    pid: Pid,
    range: PageRange,
    /// What of it exists, if that is known.
    present: Option<Vec<PageRange>>,
}

/// Streams of objects follow those of processes.
const FIRST_STREAM: u32 = 1 << 16;

impl Objects {
    fn entry(&mut self, dev: u64, ino: u64) -> &mut Object {
        let object = self.by_inode.len() as u32 + 1;
        self.by_inode.entry((dev, ino)).or_insert_with(|| Object {
            record: SharedObjectV1 {
                object,
                stream: FIRST_STREAM + object,
                ..SharedObjectV1::default()
            },
            file: None,
            mapped: Vec::new(),
            swapped: false,
        })
    }

    /// Notes a shared mapping of it. Gives its number.
    pub fn mapped(&mut self, pid: Pid, vma: &Vma) -> u32 {
        let object = self.entry(vma.dev, vma.ino);
        object.describe(&vma.name);
        // A mapping may be longer than what is mapped: only without a descriptor it has to tell the size.
        if object.file.is_none() {
            object.record.size = object.record.size.max(vma.offset + vma.bytes());
        }
        object.swapped |= vma.swap_bytes > 0;
        if vma.has(b"ht") {
            object.record.huge_page = vma.page_bytes;
        }
        let range = PageRange {
            start: vma.start,
            end: vma.end,
            stream: object.record.stream,
            at: vma.offset,
            forced: true,
            in_pause: true,
        };
        object.add_parts(pid, range);
        object.record.object
    }

    /// Notes an open descriptor of it. Gives its number.
    pub fn opened(&mut self, target: &Path, file: File) -> std::io::Result<u32> {
        let metadata = file.metadata()?;
        let object = self.entry(metadata.dev(), metadata.ino());
        object.describe(target.as_os_str().as_bytes());
        object.record.size = metadata.size();
        if object.record.memfd {
            object.record.seals = rustix::fs::fcntl_get_seals(&file).map_or(0, |seals| seals.bits());
        } else if let Some(ghost) = &mut object.record.ghost {
            ghost.mode = metadata.mode();
        }
        object.file = Some(file);
        Ok(object.record.object)
    }

    /// All objects.
    pub fn into_vec(self) -> Vec<Object> {
        self.by_inode.into_values().collect()
    }
}

impl Object {
    /// Where its contents can be read when there is no descriptor.
    pub fn readable(&self) -> impl Iterator<Item = (Pid, &[PageRange])> {
        self.mapped.iter().map(|part| {
            let whole = std::slice::from_ref(&part.range);
            (part.pid, part.present.as_deref().unwrap_or(whole))
        })
    }

    /// Notes where it is mapped, as far as that part of it is not known from elsewhere.
    fn add_parts(&mut self, pid: Pid, range: PageRange) {
        let mut parts = vec![range];
        for known in self.mapped.iter().map(|part| &part.range) {
            let (known_start, known_end) = (known.at, known.at + (known.end - known.start));
            parts = parts
                .into_iter()
                .flat_map(|part| part.outside(known_start, known_end))
                .collect();
        }
        self.mapped.extend(parts.into_iter().map(|range| Part {
            pid,
            range,
            present: None,
        }));
    }

    /// What it is, from the name in /proc.
    fn describe(&mut self, name: &[u8]) {
        let name = name.strip_suffix(b" (deleted)").unwrap_or(name);
        if let Some(name) = name.strip_prefix(b"/memfd:") {
            self.record.memfd = true;
            self.record.name = name.to_vec();
        } else if name != b"/dev/zero" && !name.starts_with(b"/anon_hugepage") {
            self.record.ghost = Some(FileIdentityV1 {
                path: name.to_vec(),
                ..FileIdentityV1::default()
            });
        }
    }
}

/// The objects of a restarted computation, in our hands.
#[derive(Debug, Default)]
pub(crate) struct RebuiltObjects {
    objects: BTreeMap<u32, (OwnedFd, SharedObjectV1)>,
    /// To pass descriptors on.
    socket: Option<Passage>,
}

impl RebuiltObjects {
    /// Makes every object again and fills it.
    pub fn build(plan: &Plan, reader: &ImageReader, init: &Init) -> Result<RebuiltObjects> {
        let mut objects = BTreeMap::new();
        for (number, record) in &plan.objects {
            let name = || format!("cannot rebuild the shared memory object {}", describe(record));
            let fd = make(record, plan).context(name)?;
            fill(&fd, record, reader)?;
            objects.insert(*number, (fd, record.clone()));
        }
        Ok(RebuiltObjects {
            objects,
            socket: Some(Passage::new(init)?),
        })
    }

    fn get(&self, number: u32) -> Result<&OwnedFd> {
        self.objects
            .get(&number)
            .map(|(fd, _)| fd)
            .ok_or_else(|| damaged("a shared memory object that is missing"))
    }

    /// Opens it inside a stub, for mapping. Gives the descriptor there.
    pub fn open_in(&self, stub: &mut Stub, number: u32) -> Result<u64> {
        let Some(passage) = &self.socket else {
            return Err(Error::Ended);
        };
        passage.pass(stub, self.get(number)?.as_fd())
    }

    /// A description of it with the flags and offset that the program's had.
    pub fn open(&self, record: &DescriptionV1, of: &ObjectFileV1) -> Result<OwnedFd> {
        let name = || "cannot open a shared memory object".to_owned();
        let path = format!("/proc/self/fd/{}", self.get(of.object)?.as_raw_fd());
        let once = OFlags::CREATE | OFlags::EXCL | OFlags::TRUNC | OFlags::TMPFILE;
        let flags = (OFlags::from_bits_retain(record.flags) - once) | OFlags::CLOEXEC;
        let fd = rustix::fs::open(path, flags, Mode::empty()).context(name)?;
        if of.offset > 0 {
            rustix::fs::seek(&fd, SeekFrom::Start(of.offset as u64)).context(name)?;
        }
        Ok(fd)
    }

    /// Seals memfds, once every mapping exists: F_SEAL_WRITE forbids writable ones.
    pub fn seal(&self) -> Result<()> {
        for (fd, record) in self
            .objects
            .values()
            .filter(|(_, record)| record.memfd && record.seals != 0)
        {
            let name = || format!("cannot seal {}", describe(record));
            let now = rustix::fs::fcntl_get_seals(fd).context(name)?;
            let missing = SealFlags::from_bits_retain(record.seals) - now;
            if !missing.is_empty() {
                rustix::fs::fcntl_add_seals(fd, missing).context(name)?;
            }
        }
        Ok(())
    }
}

fn describe(record: &SharedObjectV1) -> String {
    match &record.ghost {
        Some(ghost) => String::from_utf8_lossy(&ghost.path).into_owned(),
        None => format!("{} ({})", record.object, String::from_utf8_lossy(&record.name)),
    }
}

fn make(record: &SharedObjectV1, plan: &Plan) -> io::Result<OwnedFd> {
    let fd = match &record.ghost {
        Some(ghost) => make_ghost(&plan.places.path(&ghost.path), ghost.mode)?,
        None => make_memfd(record)?,
    };
    rustix::fs::ftruncate(&fd, record.size)?;
    Ok(fd)
}

fn make_memfd(record: &SharedObjectV1) -> io::Result<OwnedFd> {
    let mut flags = MemfdFlags::CLOEXEC;
    // Made without MFD_ALLOW_SEALING, a memfd has exactly this seal.
    flags.set(
        MemfdFlags::ALLOW_SEALING,
        record.memfd && record.seals != SealFlags::SEAL.bits(),
    );
    if record.huge_page != 0 {
        flags |= MemfdFlags::HUGETLB | MemfdFlags::from_bits_retain(record.huge_page.trailing_zeros() << 26);
    }
    let name = if record.memfd {
        String::from_utf8_lossy(&record.name)
    } else {
        "dev/zero".into()
    };
    Ok(rustix::fs::memfd_create(name.as_ref(), flags)?)
}

/// A deleted file comes back deleted, in its folder if that can still be written to, else in memory.
fn make_ghost(path: &Path, mode: u32) -> io::Result<OwnedFd> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    let made = rustix::fs::open(folder, flags, Mode::from_raw_mode(mode & 0o777));
    match made {
        Ok(fd) => Ok(fd),
        Err(_) => Ok(rustix::fs::memfd_create(path, MemfdFlags::CLOEXEC)?),
    }
}

fn fill(fd: &OwnedFd, record: &SharedObjectV1, reader: &ImageReader) -> Result<()> {
    let name = || format!("cannot fill {}", describe(record));
    let mut buffer = Vec::new();
    for piece in reader
        .pieces(record.stream)?
        .iter()
        .filter(|piece| !piece.is_zero())
    {
        let bytes = reader.read_piece(piece, &mut buffer)?;
        // The last page of a file may be longer than the file.
        let len = bytes.len().min(record.size.saturating_sub(piece.start) as usize);
        write_all_at(fd, &bytes[..len], piece.start, record.huge_page).context(name)?;
    }
    Ok(())
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// A memfd of 100 bytes and a mapping of its one page.
    fn short_memfd() -> (File, Vma) {
        let file = File::from(rustix::fs::memfd_create("short", MemfdFlags::CLOEXEC).unwrap());
        file.set_len(100).unwrap();
        let metadata = file.metadata().unwrap();
        let vma = Vma {
            start: 0x10000,
            end: 0x11000,
            shared: true,
            dev: metadata.dev(),
            ino: metadata.ino(),
            name: b"/memfd:short".to_vec(),
            deleted: true,
            ..Vma::default()
        };
        (file, vma)
    }

    #[test]
    fn a_mapping_does_not_make_a_file_longer() {
        for mapped_first in [false, true] {
            let (file, vma) = short_memfd();
            let mut objects = Objects::default();
            if mapped_first {
                objects.mapped(Pid(1), &vma);
            }
            objects.opened(Path::new("/memfd:short (deleted)"), file).unwrap();
            objects.mapped(Pid(1), &vma);
            let all = objects.into_vec();
            assert_eq!(all.iter().map(|o| o.record.size).collect::<Vec<_>>(), [100]);
        }
    }
}
