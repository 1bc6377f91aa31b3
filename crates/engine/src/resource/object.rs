//! Shared memory objects: shared anonymous memory, memfds and deleted files, whose contents travel in the image.

use super::memory::PageRange;
use rethaw_image::record::{FileIdentityV1, SharedObjectV1};
use rethaw_sys::proc::{Pid, Vma};
use std::collections::BTreeMap;
use std::fs::File;
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
    pub mapped: Vec<(Pid, PageRange)>,
}

/// Streams of objects follow those of processes.
const FIRST_STREAM: u32 = 1 << 16;

impl Objects {
    fn entry(&mut self, dev: u64, ino: u64) -> &mut Object {
        let object = self.by_inode.len() as u32 + 1;
        self.by_inode.entry((dev, ino)).or_insert_with(|| Object {
            record: SharedObjectV1 { object, stream: FIRST_STREAM + object, ..SharedObjectV1::default() },
            file: None,
            mapped: Vec::new(),
        })
    }

    /// Notes a shared mapping of it. Gives its number.
    pub fn mapped(&mut self, pid: Pid, vma: &Vma) -> u32 {
        let object = self.entry(vma.dev, vma.ino);
        object.describe(&vma.name);
        object.record.size = object.record.size.max(vma.offset + vma.bytes());
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
        object.mapped.push((pid, range));
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
    /// What it is, from the name in /proc.
    fn describe(&mut self, name: &[u8]) {
        let name = name.strip_suffix(b" (deleted)").unwrap_or(name);
        if let Some(name) = name.strip_prefix(b"/memfd:") {
            self.record.memfd = true;
            self.record.name = name.to_vec();
        } else if name != b"/dev/zero" && !name.starts_with(b"/anon_hugepage") {
            self.record.ghost = Some(FileIdentityV1 { path: name.to_vec(), ..FileIdentityV1::default() });
        }
    }
}
