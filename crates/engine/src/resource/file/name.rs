//! Names of files: whether the one that the kernel shows still leads to the file, which other one does, and
//! whether it is in a volatile place, whose files may be gone at the restart.

use rethaw_image::record::FolderV1;
use rethaw_sys::proc::{self, Pid, Vma};
use rustix::fs::{Stat, statfs};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirEntryExt, MetadataExt};
use std::path::{Path, PathBuf};

/// Places of one machine, boot or batch job: scratch, shared memory, spool folders of batch systems.
const VOLATILE: [&str; 5] = ["/tmp", "/dev/shm", "/run", "/var/run", "/var/spool"];
/// Variables that tell of further ones.
const VARIABLES: [&str; 4] = ["TMPDIR", "XDG_RUNTIME_DIR", "SLURM_TMPDIR", "SLURM_JOB_TMPDIR"];

/// What is known about names while a computation is collected.
#[derive(Debug, Default)]
pub(crate) struct Names {
    /// Folders in which the computation has something open: another name of a file is looked for there too.
    folders: BTreeSet<PathBuf>,
    volatile: Vec<PathBuf>,
    /// Every file that is open is saved (`--save-open-files`).
    save_all: bool,
    /// What was found for deleted names of mapped files, which many mappings ask for.
    searched: RefCell<BTreeMap<(PathBuf, u64), Option<PathBuf>>>,
    /// The highest folders below volatile places in which something was found.
    tops: RefCell<BTreeSet<PathBuf>>,
}

/// How a file stands to its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Standing {
    /// This name leads to it.
    Named(PathBuf),
    /// It has no name, or none that was found.
    Gone,
    /// It is not deleted, but its name leads to another file (through a mount, or from another root).
    Elsewhere,
}

impl Names {
    /// For these processes.
    pub fn new(pids: impl Iterator<Item = Pid>, save_all: bool) -> Names {
        let mut volatile: BTreeSet<PathBuf> = VOLATILE.iter().map(PathBuf::from).collect();
        let ours = VARIABLES.iter().filter_map(std::env::var_os).map(PathBuf::from);
        volatile.extend(ours.filter(|path| is_below_root(path)));
        for entry in pids.flat_map(|pid| proc::environ(pid).unwrap_or_default()) {
            let place = VARIABLES
                .iter()
                .find_map(|name| entry.strip_prefix(name.as_bytes())?.strip_prefix(b"="));
            volatile.extend(place.map(path_of).filter(|path| is_below_root(path)));
        }
        Names {
            volatile: volatile.into_iter().collect(),
            save_all,
            ..Names::default()
        }
    }

    /// Notes where the computation has something open.
    pub fn know(&mut self, shown: &Path) {
        let folder = undeleted(shown).parent();
        self.folders
            .extend(folder.filter(|f| f.is_absolute()).map(Path::to_path_buf));
    }

    /// Whether a path leads to the file now; `shown` is what /proc shows of it.
    pub fn find(&self, shown: &Path, stat: &Stat) -> Standing {
        let is_it = |path: &Path| {
            fs::symlink_metadata(path).is_ok_and(|m| (m.dev(), m.ino()) == (stat.st_dev, stat.st_ino))
        };
        if is_it(shown) {
            return match will_vanish(shown) {
                true => Standing::Gone,
                false => Standing::Named(shown.to_path_buf()),
            };
        }
        if !is_deleted(shown) {
            return Standing::Elsewhere;
        }
        // A folder has one name, and some file systems never count it down.
        if stat.st_nlink == 0 || stat.st_mode & libc::S_IFMT == libc::S_IFDIR {
            return Standing::Gone;
        }
        let own = undeleted(shown).parent().map(Path::to_path_buf);
        let folders = own.iter().chain(&self.folders);
        folders
            .flat_map(|folder| names_of(folder, stat.st_ino))
            .find(|path| is_it(path))
            .map_or(Standing::Gone, Standing::Named)
    }

    /// The same for a mapping, of which only the inode is known: its device is not that of stat(2) on btrfs and
    /// overlayfs.
    pub fn find_mapped(&self, vma: &Vma) -> Option<PathBuf> {
        let path = path_of(&vma.name);
        let is_it = |path: &Path| fs::metadata(path).is_ok_and(|m| m.ino() == vma.ino);
        if !vma.deleted {
            return (is_it(&path) && !will_vanish(&path)).then_some(path);
        }
        // A file may truly be called so.
        let full = path_of(&[&vma.name[..], DELETED].concat());
        if is_it(&full) {
            return Some(full);
        }
        let key = (path, vma.ino);
        if let Some(known) = self.searched.borrow().get(&key) {
            return known.clone();
        }
        let found = key.0.parent().and_then(|folder| {
            names_of(folder, vma.ino)
                .into_iter()
                .find(|path| fs::metadata(path).is_ok_and(|m| m.is_file() && m.dev() == vma.dev))
        });
        self.searched.borrow_mut().insert(key, found.clone());
        found
    }

    /// Whether the contents of the file with this name go into the image. `private` is for a file that is only
    /// mapped privately: then the system's own do not.
    pub fn travels(&self, path: &Path, private: bool) -> bool {
        let ours = || {
            let uid = rustix::process::geteuid().as_raw();
            fs::metadata(path).is_ok_and(|m| m.is_file() && m.uid() == uid)
        };
        self.is_volatile(path) || self.save_all && (!private || ours())
    }

    /// Whether a folder with this name is made again when it is gone.
    pub fn folder_travels(&self, path: &Path) -> bool {
        self.save_all || self.is_volatile(path)
    }

    /// Whether the file may be gone when the machine, the batch job or the boot is another one.
    pub fn is_volatile(&self, path: &Path) -> bool {
        /// Documentation/filesystems/{tmpfs,ramfs-rootfs-initramfs}.rst; statfs(2).
        const IN_MEMORY: [i64; 2] = [0x0102_1994, 0x8584_58f6];
        self.volatile.iter().any(|place| path.starts_with(place))
            || statfs(path).is_ok_and(|fs| IN_MEMORY.contains(&fs.f_type))
    }

    /// The folders down to `folder`, as they are to be made again where they are gone: from the top, without those that
    /// every machine has.
    pub fn folders(&self, folder: &Path) -> Vec<FolderV1> {
        self.tops.borrow_mut().extend(self.top(folder));
        let mut folders: Vec<FolderV1> = folder
            .ancestors()
            .take_while(|path| path.parent().is_some() && !self.volatile.iter().any(|place| path == place))
            .filter_map(|path| folder_record(path, &fs::metadata(path).ok()?))
            .collect();
        folders.reverse();
        folders
    }

    /// The highest folder on the way to this one that is not a volatile place itself, but in one.
    fn top(&self, folder: &Path) -> Option<PathBuf> {
        let places = self.volatile.iter().filter(|place| folder.starts_with(place));
        let place = places.max_by_key(|place| place.as_os_str().len())?;
        let name = folder.strip_prefix(place).ok()?.iter().next()?;
        Some(place.join(name))
    }

    /// What folders there are, from the top, where the computation has something in a folder of a volatile place and that is
    /// the user's: the program may know them by their names only, as the ranks of Open MPI know their launcher's.
    pub fn neighbours(&self) -> Vec<FolderV1> {
        const MOST: usize = 256;
        let mut waiting: VecDeque<PathBuf> = self.tops.borrow().iter().cloned().collect();
        let mut found = Vec::new();
        while let Some(path) = waiting.pop_front().filter(|_| found.len() < MOST) {
            let own = |m: &fs::Metadata| m.uid() == rustix::process::geteuid().as_raw();
            let metadata = fs::symlink_metadata(&path).ok().filter(own);
            let Some(folder) = metadata.and_then(|metadata| folder_record(&path, &metadata)) else {
                continue;
            };
            found.push(folder);
            let entries = fs::read_dir(&path).into_iter().flatten().flatten();
            let inner = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
            waiting.extend(inner.map(|entry| entry.path()));
        }
        found
    }
}

fn folder_record(path: &Path, metadata: &fs::Metadata) -> Option<FolderV1> {
    metadata.is_dir().then(|| FolderV1 {
        path: path.as_os_str().as_bytes().to_vec(),
        mode: metadata.mode() & 0o7777,
    })
}

const DELETED: &[u8] = b" (deleted)";

/// Whether /proc shows a file as deleted. A file may truly be called so.
pub(crate) fn is_deleted(shown: &Path) -> bool {
    shown.as_os_str().as_bytes().ends_with(DELETED)
}

/// The name that a deleted file had.
pub(crate) fn undeleted(shown: &Path) -> &Path {
    let bytes = shown.as_os_str().as_bytes();
    Path::new(OsStr::from_bytes(bytes.strip_suffix(DELETED).unwrap_or(bytes)))
}

/// A path from the bytes of a record.
pub(crate) fn path_of(bytes: &[u8]) -> PathBuf {
    PathBuf::from(OsStr::from_bytes(bytes))
}

fn is_below_root(path: &Path) -> bool {
    path.is_absolute() && path.parent().is_some()
}

/// Names in `folder` with this inode number.
fn names_of(folder: &Path, ino: u64) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.ino() == ino)
        .map(|entry| entry.path())
        .collect()
}

/// On NFS, a deleted file that is open gets a name like this from the client, which removes it when the file is
/// closed.
fn will_vanish(path: &Path) -> bool {
    const NFS: i64 = 0x6969;
    path.file_name()
        .is_some_and(|name| name.as_bytes().starts_with(b".nfs"))
        && statfs(path).is_ok_and(|fs| fs.f_type == NFS)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use rustix::fs::fstat;

    #[test]
    fn a_name_is_found_as_long_as_there_is_one() {
        let folder = std::env::temp_dir().join(format!("rethaw-names-{}", std::process::id()));
        fs::create_dir(&folder).unwrap();
        let (first, second) = (folder.join("first"), folder.join("second"));
        let file = fs::File::create(&first).unwrap();
        let names = Names::default();
        let found = |shown: &Path| names.find(shown, &fstat(&file).unwrap());
        assert_eq!(found(&first), Standing::Named(first.clone()));
        fs::hard_link(&first, &second).unwrap();
        fs::remove_file(&first).unwrap();
        let shown = folder.join("first (deleted)");
        assert_eq!(found(&shown), Standing::Named(second.clone()));
        fs::rename(&second, &shown).unwrap();
        assert_eq!(found(&shown), Standing::Named(shown.clone()));
        fs::write(&first, "another").unwrap();
        fs::remove_file(&shown).unwrap();
        assert_eq!(found(&shown), Standing::Gone);
        assert_eq!(found(&first), Standing::Elsewhere);
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn scratch_is_volatile_with_its_folders() {
        let names = Names::new(std::iter::empty(), false);
        assert!(names.is_volatile(Path::new("/tmp/rethaw-nowhere/file")));
        assert!(!names.is_volatile(Path::new("/usr/bin/env")));
        assert!(names.folders(Path::new("/tmp")).is_empty());
    }
}
