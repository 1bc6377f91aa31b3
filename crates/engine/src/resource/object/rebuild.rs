//! Objects, the other direction: made again and filled, each once, by the agent.

use super::home::{self, MARK, Placement};
use super::{contents, name_of};
use crate::Result;
use crate::error::{Context, Error};
use crate::init::Init;
use crate::resource::file::{Held, folder};
use crate::resource::pipe;
use crate::restart::{Passage, Plan, Stub, damaged};
use rethaw_image::ImageReader;
use rethaw_image::record::{Backing, DescriptionV1, ObjectFileV1, SharedObjectV1};
use rustix::fs::{MemfdFlags, Mode, OFlags, SealFlags, SeekFrom, StatVfsMountFlags};
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The objects of a restarted computation, in our hands.
#[derive(Debug, Default)]
pub(crate) struct RebuiltObjects {
    /// Those that are not opened by a name.
    objects: BTreeMap<u32, Rebuilt>,
    /// Those that were made under their names.
    named: Vec<(PathBuf, SharedObjectV1)>,
    made: Made,
    /// Files with names, those that were made among them.
    pub held: Held,
    /// To pass descriptors on.
    socket: Option<Passage>,
}

#[derive(Debug)]
struct Rebuilt {
    /// For a memfd the one that memfd_create(2) gave; else open for reading, since a file that is open for writing
    /// cannot be executed.
    fd: OwnedFd,
    record: SharedObjectV1,
}

/// What a restart has made on disk. It is removed again, unless the computation came to run.
#[derive(Debug, Default)]
pub(crate) struct Made {
    files: Vec<Named>,
    /// From the top.
    pub folders: Vec<PathBuf>,
}

/// A file that was made, and what tells it from another one that somebody puts in its place.
#[derive(Debug)]
struct Named {
    path: PathBuf,
    dev: u64,
    ino: u64,
}

impl Made {
    /// Notes what was just made under this name.
    pub fn note(&mut self, path: PathBuf, now: &fs::Metadata) {
        self.files.push(Named {
            path,
            dev: now.dev(),
            ino: now.ino(),
        });
    }

    /// The computation runs: it stays.
    pub fn keep(mut self) {
        self.files.clear();
        self.folders.clear();
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        for file in &self.files {
            let is_ours = |now: &fs::Metadata| (now.dev(), now.ino()) == (file.dev, file.ino);
            if fs::symlink_metadata(&file.path).is_ok_and(|now| is_ours(&now)) {
                let _ = fs::remove_file(&file.path);
            }
        }
        for folder in self.folders.iter().rev() {
            let _ = fs::remove_dir(folder);
        }
    }
}

impl RebuiltObjects {
    /// Makes every object again and fills it.
    pub fn build(
        plan: &Plan,
        reader: &ImageReader,
        init: &Init,
        held: Held,
        warnings: &mut Vec<String>,
    ) -> Result<RebuiltObjects> {
        let mut built = RebuiltObjects {
            held,
            socket: Some(Passage::new(init)?),
            ..RebuiltObjects::default()
        };
        folder::make_missing(plan, &mut built.made)?;
        pipe::make_missing(plan, &mut built.made)?;
        for (number, record) in &plan.objects {
            match plan.placement(*number) {
                Placement::There | Placement::PutBack => {}
                Placement::Made => built.make_named(record, plan, reader, warnings)?,
                Placement::Nameless => built.make_nameless(record, plan, reader)?,
            }
        }
        Ok(built)
    }

    fn make_nameless(&mut self, record: &SharedObjectV1, plan: &Plan, reader: &ImageReader) -> Result<()> {
        let name = || format!("cannot rebuild {}", name_of(record));
        let fd = match &record.ghost {
            Some(ghost) if folder::is_folder(ghost.mode) => {
                folder::make_deleted(&plan.places.path(&ghost.path)).context(name)?
            }
            Some(_) => make_ghost(record, plan, reader)?,
            None => make_memfd(record, reader)?,
        };
        let record = record.clone();
        self.objects.insert(record.object, Rebuilt { fd, record });
        Ok(())
    }

    /// Under its name. It stays ours alone until everything has opened it.
    fn make_named(
        &mut self,
        record: &SharedObjectV1,
        plan: &Plan,
        reader: &ImageReader,
        warnings: &mut Vec<String>,
    ) -> Result<()> {
        let path = home::path(record, &plan.places);
        let name = || format!("cannot make {} again", path.display());
        let Some(fd) = self.create(&path, record, plan)? else {
            warnings.push(home::cannot_be_made(&path));
            return self.make_nameless(record, plan, reader);
        };
        self.held.hold(&path, &fd).context(name)?;
        let now = rustix::fs::fstat(&fd).map_err(io::Error::from).context(name)?;
        self.made.files.push(Named {
            path: path.clone(),
            dev: now.st_dev,
            ino: now.st_ino,
        });
        // Not every file system has attributes; a second restart then takes the file for another one.
        let mark = plan.computation.id.as_bytes();
        let _ = rustix::fs::fsetxattr(&fd, MARK, mark, rustix::fs::XattrFlags::empty());
        rustix::fs::ftruncate(&fd, record.size).context(name)?;
        contents::fill(&fd, record, reader)?;
        self.named.push((path, record.clone()));
        Ok(())
    }

    /// A new file under its name; none where somebody goes on removing its folder.
    fn create(&mut self, path: &Path, record: &SharedObjectV1, plan: &Plan) -> Result<Option<OwnedFd>> {
        const TRIES: usize = 16;
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        for _ in 0..TRIES {
            folder::make(&record.folders, &plan.places, &mut self.made)?;
            match rustix::fs::open(path, flags, Mode::RWXU) {
                Err(Errno::NOENT) => {}
                Err(Errno::EXIST) => return Err(home::changed(path, "is another file than the program had")),
                outcome => {
                    return Ok(Some(
                        outcome.context(|| format!("cannot make {} again", path.display()))?,
                    ));
                }
            }
        }
        Ok(None)
    }

    /// Opens a file with a name inside a stub, for mapping or to be executed. Gives the descriptor there.
    pub fn open_named_in(&self, stub: &mut Stub, path: &Path, flags: OFlags) -> Result<u64> {
        let name = || format!("cannot open {}", path.display());
        match self.held.open(path, flags) {
            Ok(fd) => self.pass(stub, fd.as_fd()),
            // There, its permissions do not matter if it is the user's.
            Err(Errno::ACCESS) => stub.open(path, flags.bits() as i32).context(name),
            Err(e) => Err(e).context(name),
        }
    }

    fn pass(&self, stub: &mut Stub, fd: BorrowedFd<'_>) -> Result<u64> {
        let passage = self.socket.as_ref().ok_or(Error::Ended)?;
        passage.pass(stub, fd)
    }

    /// Whether an object is opened here, and not by its name. 0 is no object.
    pub fn has(&self, number: u32) -> bool {
        self.objects.contains_key(&number)
    }

    fn get(&self, number: u32) -> Result<&Rebuilt> {
        self.objects
            .get(&number)
            .ok_or_else(|| damaged("an object that is missing"))
    }

    /// Opens it inside a stub, for mapping, to be executed or as a folder. Gives the descriptor there.
    pub fn open_in(&self, stub: &mut Stub, number: u32, flags: OFlags) -> Result<u64> {
        self.pass(stub, self.reopen(number, flags)?.as_fd())
    }

    /// A description of its own.
    fn reopen(&self, number: u32, flags: OFlags) -> Result<OwnedFd> {
        let rebuilt = self.get(number)?;
        let path = format!("/proc/self/fd/{}", rebuilt.fd.as_raw_fd());
        rustix::fs::open(path, flags | OFlags::CLOEXEC, Mode::empty())
            .context(|| format!("cannot open {}", name_of(&rebuilt.record)))
    }

    /// A description of it with the flags and offset that the program's had.
    pub fn open(&self, record: &DescriptionV1, of: &ObjectFileV1) -> Result<OwnedFd> {
        let rebuilt = self.get(of.object)?;
        let name = || format!("cannot open {}", name_of(&rebuilt.record));
        // O_NOFOLLOW would not go through /proc/self/fd.
        let mut once = OFlags::CREATE | OFlags::EXCL | OFlags::TRUNC | OFlags::NOFOLLOW;
        if !rebuilt
            .record
            .ghost
            .as_ref()
            .is_some_and(|g| folder::is_folder(g.mode))
        {
            // It has the bit of O_DIRECTORY in it.
            once |= OFlags::TMPFILE;
        }
        let flags = OFlags::from_bits_retain(record.flags) - once;
        let fd = if rebuilt.record.memfd && flags.contains(OFlags::RDWR) && !flags.contains(OFlags::PATH) {
            // What memfd_create(2) gives does not keep the memfd from being executed, another description does.
            let fd = rebuilt.fd.try_clone().context(name)?;
            rustix::fs::fcntl_setfl(&fd, flags).context(name)?;
            fd
        } else {
            self.reopen(of.object, flags)?
        };
        if of.offset > 0 && !flags.contains(OFlags::PATH) {
            rustix::fs::seek(&fd, SeekFrom::Start(of.offset as u64)).context(name)?;
        }
        Ok(fd)
    }

    /// What has to wait until every mapping and every description exists: seals (F_SEAL_WRITE forbids writable
    /// mappings), permissions, attributes, times.
    pub fn seal(&self) -> Result<()> {
        for Rebuilt { fd, record } in self.objects.values() {
            finish(fd, record).context(|| format!("cannot finish {}", name_of(record)))?;
        }
        for (path, record) in &self.named {
            let name = || format!("cannot finish {}", path.display());
            let file = self.held.open(path, OFlags::RDONLY).context(name)?;
            finish(file, record).context(name)?;
        }
        Ok(())
    }

    /// What was made on disk, and the files that the program has.
    pub fn into_made(self) -> (Made, Held) {
        (self.made, self.held)
    }
}

fn finish(fd: impl AsFd, record: &SharedObjectV1) -> io::Result<()> {
    if record.memfd && record.seals != 0 {
        let now = rustix::fs::fcntl_get_seals(&fd)?;
        let missing = SealFlags::from_bits_retain(record.seals) - now;
        if !missing.is_empty() {
            rustix::fs::fcntl_add_seals(&fd, missing)?;
        }
    }
    for attribute in &record.attributes {
        let none = rustix::fs::XattrFlags::empty();
        match rustix::fs::fsetxattr(&fd, &attribute.name[..], &attribute.value, none) {
            Err(rustix::io::Errno::OPNOTSUPP) => {}
            outcome => outcome?,
        }
    }
    let mode = record.ghost.as_ref().map_or(record.mode, |ghost| ghost.mode);
    if mode != 0 {
        rustix::fs::fchmod(&fd, Mode::from_raw_mode(mode & 0o7777))?;
    }
    if let Some(ghost) = record.ghost.as_ref().filter(|ghost| ghost.mtime_ns != 0) {
        rustix::fs::futimens(&fd, &times(ghost.atime_ns, ghost.mtime_ns))?;
    }
    Ok(())
}

pub(super) fn times(access_ns: i64, modification_ns: i64) -> rustix::fs::Timestamps {
    let time = |ns: i64| rustix::fs::Timespec {
        tv_sec: ns.div_euclid(1_000_000_000),
        tv_nsec: ns.rem_euclid(1_000_000_000),
    };
    rustix::fs::Timestamps {
        last_access: time(access_ns),
        last_modification: time(modification_ns),
    }
}

fn make_memfd(record: &SharedObjectV1, reader: &ImageReader) -> Result<OwnedFd> {
    let mut flags = MemfdFlags::CLOEXEC;
    // Made without MFD_ALLOW_SEALING, a memfd has exactly this seal.
    flags.set(
        MemfdFlags::ALLOW_SEALING,
        record.memfd && record.seals != SealFlags::SEAL.bits(),
    );
    if record.huge_page != 0 {
        flags |= MemfdFlags::HUGETLB | MemfdFlags::from_bits_retain(record.huge_page.trailing_zeros() << 26);
    }
    let label = if record.memfd {
        String::from_utf8_lossy(&record.name)
    } else {
        "dev/zero".into()
    };
    let name = || format!("cannot rebuild {}", name_of(record));
    let fd = rustix::fs::memfd_create(label.as_ref(), flags).context(name)?;
    rustix::fs::ftruncate(&fd, record.size).context(name)?;
    contents::fill(&fd, record, reader)?;
    Ok(fd)
}

/// A file without a name: in its folder if that can still be written to, else in one above it or in another place
/// for such files, else in memory.
fn make_ghost(record: &SharedObjectV1, plan: &Plan, reader: &ImageReader) -> Result<OwnedFd> {
    let name = || format!("cannot rebuild {}", name_of(record));
    let path = home::path(record, &plan.places);
    let executed = is_executed(record.object, plan);
    let scratch = [std::env::temp_dir(), PathBuf::from("/var/tmp")];
    let folders = path.ancestors().skip(1).map(Path::to_path_buf).chain(scratch);
    let fd = folders
        .filter(|folder| !executed || can_execute_in(folder))
        .find_map(|folder| {
            let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
            rustix::fs::open(folder, flags, Mode::RWXU).ok()
        });
    let fd = match fd {
        Some(fd) => fd,
        None => rustix::fs::memfd_create(&path, MemfdFlags::CLOEXEC).context(name)?,
    };
    rustix::fs::ftruncate(&fd, record.size).context(name)?;
    contents::fill(&fd, record, reader)?;
    rustix::fs::open(
        format!("/proc/self/fd/{}", fd.as_raw_fd()),
        OFlags::RDONLY | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .context(name)
}

fn can_execute_in(folder: &Path) -> bool {
    rustix::fs::statvfs(folder).is_ok_and(|fs| !fs.f_flag.contains(StatVfsMountFlags::NOEXEC))
}

/// Whether it is a program or a library.
fn is_executed(object: u32, plan: &Plan) -> bool {
    let memories = plan
        .processes
        .iter()
        .filter_map(|process| process.memory.as_ref());
    memories.into_iter().any(|memory| {
        let executed = memory
            .mappings
            .iter()
            .filter(|m| m.protection & libc::PROT_EXEC as u32 != 0);
        memory.exe_object == object
            || executed
                .into_iter()
                .any(|m| matches!(m.backing(), Backing::Object | Backing::File) && m.object == object)
    })
}
