//! Objects whose contents travel in the image: shared anonymous memory, memfds, deleted files, and files with names
//! in places where they may be gone at the restart. Also deleted folders, which have no contents.

mod contents;
mod home;
mod presence;
mod rebuild;

pub(crate) use contents::put_back;
pub(crate) use home::{Placement, place};
pub(crate) use rebuild::{Made, RebuiltObjects};

use super::file::{Names, undeleted};
use super::memory::PageRange;
use crate::Result;
use crate::error::{Context, Error};
use rethaw_image::record::{AttributeV1, FileIdentityV1, SharedObjectV1};
use rethaw_sys::memory::ForcedMemory;
use rethaw_sys::proc::{Pid, Range, Vma};
use std::collections::BTreeMap;
use std::fs::{File, Metadata};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// The objects of a computation, found by inode.
#[derive(Debug, Default)]
pub(crate) struct Objects {
    pub names: Names,
    by_inode: BTreeMap<(u64, u64), Object>,
    /// Size of those that are saved for the case that they are gone.
    spare_bytes: u64,
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
    /// Size and times of a file that no process of the computation can write to.
    steady: Option<[i64; 5]>,
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
    /// For a computation whose files have these names.
    pub fn new(names: Names) -> Objects {
        Objects {
            names,
            ..Objects::default()
        }
    }

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
            steady: None,
        })
    }

    /// The object that is mapped. On btrfs and overlayfs the device of a mapping is not that of stat(2), so that the
    /// name has to tell whether it is one of those with a descriptor.
    fn of_mapping(&mut self, vma: &Vma) -> &mut Object {
        let is_it = |ino: u64, object: &Object| {
            let name = object.record.ghost.as_ref().map(|ghost| &ghost.path);
            ino == vma.ino && object.file.is_some() && name == Some(&vma.name)
        };
        let key = (vma.dev, vma.ino);
        let known = self
            .by_inode
            .iter()
            .find(|((_, ino), object)| is_it(*ino, object));
        let key = match known {
            Some((other, _)) if !self.by_inode.contains_key(&key) => *other,
            _ => key,
        };
        self.entry(key.0, key.1)
    }

    /// Notes a mapping of it. What is not the object's contents there (private pages that were written to) is left
    /// out. Gives its number.
    pub fn mapped(&mut self, pid: Pid, vma: &Vma, written: &[Range]) -> Result<u32> {
        let object = self.of_mapping(vma);
        if object.file.is_none() {
            object.describe(&vma.name);
        }
        object.swapped |= vma.swap_bytes > 0;
        object.swapped |= vma.swap_bytes > 0;
        if vma.has(b"ht") {
            object.record.huge_page = vma.page_bytes;
        }
        let writable = vma.shared && vma.has(b"mw");
        object.record.writable |= writable;
        object.record.mapped_writable |= writable;
        object.record.mapped_private |= !vma.shared;
        // A mapping may be longer than what is mapped: without a descriptor, what can be read tells the size.
        if object.file.is_none() && object.record.size < vma.offset + vma.bytes() {
            let whole = object.record.ghost.is_none() && !object.record.memfd || vma.has(b"ht");
            let end = match whole {
                true => Ok(vma.end),
                false => last_readable(pid, vma),
            };
            let end = end.context(|| format!("cannot read memory of process {pid}"))?;
            object.record.size = object.record.size.max(vma.offset + (end - vma.start));
        }
        if object.file.is_some() {
            return Ok(object.record.object);
        }
        let mut ranges = vec![PageRange {
            start: vma.start,
            end: vma.end,
            stream: object.record.stream,
            at: vma.offset,
            forced: true,
            in_pause: true,
        }];
        for gap in written {
            let (start, end) = (
                gap.start - vma.start + vma.offset,
                gap.end - vma.start + vma.offset,
            );
            ranges = ranges.into_iter().flat_map(|r| r.outside(start, end)).collect();
        }
        for range in ranges {
            object.add_parts(pid, range);
        }
        Ok(object.record.object)
    }

    /// Notes an open descriptor of one without a name. Gives its number.
    pub fn opened(&mut self, target: &Path, file: File, flags: u32) -> io::Result<u32> {
        let metadata = file.metadata()?;
        let object = self.entry(metadata.dev(), metadata.ino());
        object.describe(target.as_os_str().as_bytes());
        object.record.linked_elsewhere = !object.record.memfd && metadata.is_file() && metadata.nlink() > 0;
        object.open(file, flags)?;
        Ok(object.record.object)
    }

    /// Whether the file is one of those whose contents are saved.
    pub fn knows(&self, metadata: &Metadata) -> bool {
        self.by_inode.contains_key(&(metadata.dev(), metadata.ino()))
    }

    /// Whether the contents of a file are saved for the case that it is gone or replaced at the restart (written under
    /// another name and renamed, or removed): small ones that the program can write to, or that are the user's.
    pub fn takes_spare(&mut self, path: &Path, metadata: &Metadata, flags: u32) -> bool {
        const LARGEST: u64 = 4 << 20;
        const LARGEST_READ_ONLY: u64 = 1 << 20;
        const ALL: u64 = 64 << 20;
        if self.knows(metadata) {
            return true;
        }
        let bytes = metadata.size();
        let wanted = match writes(flags) {
            true => bytes <= LARGEST,
            false => bytes <= LARGEST_READ_ONLY && metadata.uid() == rustix::process::geteuid().as_raw(),
        };
        // Files of the kernel have no contents that could be put back.
        let kernels = path.starts_with("/sys") || path.starts_with("/dev");
        let takes = wanted && !kernels && flags & libc::O_PATH as u32 == 0 && self.spare_bytes + bytes <= ALL;
        if takes {
            self.spare_bytes += bytes;
        }
        takes
    }

    /// Notes a file with a name whose contents are to be saved. Gives its number.
    /// `spare`: only for the case that the file is gone or replaced.
    pub fn named(&mut self, path: &Path, file: File, flags: u32, spare: bool) -> io::Result<u32> {
        let metadata = file.metadata()?;
        let folders = self.names.folders(path.parent().unwrap_or(Path::new("/")));
        let object = self.entry(metadata.dev(), metadata.ino());
        if !object.record.named {
            object.describe(path.as_os_str().as_bytes());
            object.record.named = true;
            object.record.spare = spare;
            object.record.folders = folders;
        }
        object.open(file, flags)?;
        Ok(object.record.object)
    }

    /// All objects.
    pub fn into_vec(self) -> Vec<Object> {
        let mut objects: Vec<Object> = self.by_inode.into_values().collect();
        for object in &mut objects {
            object.steady = match &object.file {
                Some(file) if object.record.named && !object.record.writable => stamp(file),
                _ => None,
            };
        }
        objects
    }
}

/// Size and times, which change when a file does.
fn stamp(file: &File) -> Option<[i64; 5]> {
    let now = file.metadata().ok()?;
    Some([
        now.size() as i64,
        now.mtime(),
        now.mtime_nsec(),
        now.ctime(),
        now.ctime_nsec(),
    ])
}

/// End of what can be read of a mapping; what follows lies beyond the end of the file.
fn last_readable(pid: Pid, vma: &Vma) -> io::Result<u64> {
    const PAGE: u64 = rethaw_image::PAGE as u64;
    let memory = ForcedMemory::open(pid)?;
    let readable = |page: u64| memory.read(vma.start + page * PAGE, &mut [0]).is_ok();
    let (mut low, mut high) = (0, vma.bytes() / PAGE);
    while low < high {
        let middle = low.midpoint(high);
        if readable(middle) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    Ok(vma.start + low * PAGE)
}

impl Object {
    /// It has to be copied while the program stands still.
    pub fn in_pause(&self) -> bool {
        self.steady.is_none()
    }

    /// Refuses an object that was copied while the program ran, and was changed meanwhile.
    pub fn ensure_steady(&self) -> Result<()> {
        match (&self.steady, &self.file) {
            (Some(before), Some(file)) if stamp(file).as_ref() != Some(before) => Err(Error::Os {
                operation: format!("cannot save {}", name_of(&self.record)),
                source: io::Error::other(
                    "it was changed while it was copied; the next checkpoint tries again",
                ),
            }),
            _ => Ok(()),
        }
    }

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
    fn describe(&mut self, shown: &[u8]) {
        let name = undeleted(Path::new(std::ffi::OsStr::from_bytes(shown)));
        let name = name.as_os_str().as_bytes();
        if let Some(name) = name.strip_prefix(b"/memfd:") {
            self.record.memfd = true;
            self.record.name = name.to_vec();
        } else if name != b"/dev/zero" && !name.starts_with(b"/anon_hugepage") {
            let ghost = self.record.ghost.get_or_insert_default();
            ghost.path = name.to_vec();
        }
    }

    /// What a descriptor tells.
    fn open(&mut self, file: File, flags: u32) -> io::Result<()> {
        let metadata = file.metadata()?;
        if metadata.is_file() {
            self.record.size = metadata.size();
        }
        self.record.writable |= writes(flags);
        if self.record.memfd {
            self.record.seals = rustix::fs::fcntl_get_seals(&file).map_or(0, |seals| seals.bits());
            self.record.mode = metadata.mode();
            self.record.huge_page = huge_page(&file);
        } else if let Some(ghost) = &mut self.record.ghost {
            fill_ghost(ghost, &file, &metadata);
            self.record.attributes = attributes(&file);
        }
        let readable = flags & (libc::O_PATH as u32) == 0 && super::descriptor::reads(flags);
        if self.file.is_none() || readable {
            self.file = Some(file);
        }
        Ok(())
    }
}

/// Whether a description with these flags can be written to.
fn writes(flags: u32) -> bool {
    flags & libc::O_ACCMODE as u32 != libc::O_RDONLY as u32 && flags & libc::O_PATH as u32 == 0
}

/// Page size of hugetlbfs, else 0.
fn huge_page(file: &File) -> u64 {
    const HUGETLBFS: i64 = 0x9584_58f6;
    match rustix::fs::fstatfs(file) {
        Ok(fs) if fs.f_type == HUGETLBFS => fs.f_bsize as u64,
        _ => 0,
    }
}

fn fill_ghost(ghost: &mut FileIdentityV1, file: &File, metadata: &std::fs::Metadata) {
    crate::fill_identity(ghost, metadata);
    ghost.atime_ns = metadata.atime() * 1_000_000_000 + metadata.atime_nsec();
    ghost.born_ns = born_ns(file);
}

/// When a file was made (statx(2), Linux 4.11), with which an inode number that is used again is told apart; 0 when
/// the file system does not tell.
fn born_ns(file: impl AsFd) -> i64 {
    use rustix::fs::{AtFlags, StatxFlags, statx};
    match statx(file, "", AtFlags::EMPTY_PATH, StatxFlags::BTIME) {
        Ok(told) if told.stx_mask & StatxFlags::BTIME.bits() != 0 => {
            told.stx_btime.tv_sec * 1_000_000_000 + i64::from(told.stx_btime.tv_nsec)
        }
        _ => 0,
    }
}

/// Extended attributes that an ordinary user can set.
fn attributes(file: &File) -> Vec<AttributeV1> {
    let mut list = vec![0; 1 << 16];
    let len = rustix::fs::flistxattr(file, &mut list).unwrap_or(0);
    let names = list[..len].split(|byte| *byte == 0);
    let ours = names.filter(|name| name.starts_with(b"user.") && *name != home::MARK.as_bytes());
    ours.filter_map(|name| {
        let mut value = vec![0; 1 << 16];
        let len = rustix::fs::fgetxattr(file, name, &mut value).ok()?;
        value.truncate(len);
        Some(AttributeV1 {
            name: name.to_vec(),
            value,
        })
    })
    .collect()
}

/// For messages.
fn name_of(record: &SharedObjectV1) -> String {
    match &record.ghost {
        Some(ghost) => String::from_utf8_lossy(&ghost.path).into_owned(),
        None => format!("{} ({})", record.object, String::from_utf8_lossy(&record.name)),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use rustix::fs::MemfdFlags;

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
                objects.mapped(Pid::own(), &vma, &[]).unwrap();
            }
            objects
                .opened(Path::new("/memfd:short (deleted)"), file, libc::O_RDWR as u32)
                .unwrap();
            objects.mapped(Pid::own(), &vma, &[]).unwrap();
            let all = objects.into_vec();
            assert_eq!(all.iter().map(|o| o.record.size).collect::<Vec<_>>(), [100]);
        }
    }
}
