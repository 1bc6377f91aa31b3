//! Folders: those that are deleted and still open or current, and those of volatile places that are gone.

use super::{Standing, procfs};
use crate::Result;
use crate::error::{Context, Error};
use crate::resource::object::{Made, Objects, RebuiltObjects};
use crate::resource::thread::ContextProc;
use crate::restart::{Places, Plan, Stub};
use rethaw_image::record::{DescriptionKind, FolderV1, ProcessV1, UnixSocketV1};
use rethaw_sys::proc::{self, Pid};
use rustix::fs::{FileType, Mode, OFlags};
use std::collections::BTreeSet;
use std::fs::{self, File, Permissions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;

/// Whether the mode in a record is a folder's.
pub(crate) fn is_folder(mode: u32) -> bool {
    FileType::from_raw_mode(mode) == FileType::Directory
}

/// The current folder of a process.
pub(crate) fn collect_current(
    pid: Pid,
    record: &mut ProcessV1,
    objects: &mut Objects,
    members: &BTreeSet<Pid>,
) -> Result<()> {
    let shown = proc::cwd(pid).context_proc()?;
    let name = || format!("cannot look at the current folder of process {pid}");
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let fd = rustix::fs::open(format!("/proc/{pid}/cwd"), flags, Mode::empty()).context(name)?;
    record.proc_folder = procfs::current(pid, &shown, &fd, members)?;
    if record.proc_folder.is_some() {
        return Ok(());
    }
    let stat = rustix::fs::fstat(&fd).context(name)?;
    match objects.names.find(&shown, &stat) {
        Standing::Named(path) if objects.names.folder_travels(&path) => {
            record.volatile_folders = objects.names.folders(&path);
        }
        Standing::Named(_) => {}
        Standing::Gone => {
            let opened = objects.opened(&shown, File::from(fd), flags.bits());
            record.deleted_folder = opened.context(name)?;
        }
        Standing::Elsewhere => {
            return Err(Error::Refused {
                what: format!(
                    "a current folder whose name leads to another one by now ({})",
                    shown.display()
                ),
                pid: pid.0,
                place: "current folder".to_owned(),
                remedy: "take the checkpoint while the program is in another folder".to_owned(),
            });
        }
    }
    Ok(())
}

/// Makes the folders that are missing, with their permissions, from the top; more than once where somebody removes
/// them meanwhile.
pub(crate) fn make(folders: &[FolderV1], places: &Places, made: &mut Made) -> Result<()> {
    const TRIES: usize = 16;
    let mut tries = 0;
    let mut rest = folders.iter();
    while let Some(folder) = rest.next() {
        let path = places.path(&folder.path);
        match make_one(&path, folder.mode, made) {
            Err(e) if e.kind() == io::ErrorKind::NotFound && tries < TRIES => {
                tries += 1;
                rest = folders.iter();
            }
            outcome => outcome.context(|| format!("cannot make the folder {} again", path.display()))?,
        }
    }
    Ok(())
}

fn make_one(path: &Path, mode: u32, made: &mut Made) -> io::Result<()> {
    match fs::DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => {
            made.folders.push(path.to_path_buf());
            fs::set_permissions(path, Permissions::from_mode(mode & 0o7777))
        }
        Err(_) if path.is_dir() => Ok(()),
        Err(e) => Err(e),
    }
}

/// Makes the folders that are missing: of volatile places that are current or open, those beside them, and those of Unix
/// sockets.
pub(crate) fn make_missing(plan: &Plan, made: &mut Made) -> Result<()> {
    for folder in &plan.computation.neighbours {
        // The place may be one that this machine does not have.
        if plan.places.path(&folder.path).parent().is_some_and(Path::is_dir) {
            make(std::slice::from_ref(folder), &plan.places, made)?;
        }
    }
    for process in &plan.processes {
        make(&process.volatile_folders, &plan.places, made)?;
    }
    for description in plan.descriptions.values() {
        let folders = match &description.kind {
            Some(DescriptionKind::Regular(regular)) => &regular.folders,
            Some(DescriptionKind::Unix(UnixSocketV1 {
                bound: Some(bound), ..
            })) => &bound.folders,
            _ => continue,
        };
        make(folders, &plan.places, made)?;
    }
    Ok(())
}

/// Makes a folder again that is deleted: under its name if that is free, else under another one, in its place or
/// the nearest one above it.
pub(crate) fn make_deleted(path: &Path) -> io::Result<OwnedFd> {
    let other = format!(".rethaw-{}", std::process::id());
    let own_name = path.file_name().unwrap_or_default().to_owned();
    let scratch = std::env::temp_dir();
    let parents = path.ancestors().skip(1).chain([scratch.as_path()]);
    let candidates = parents.flat_map(|parent| [parent.join(&own_name), parent.join(&other)]);
    let mut outcome = io::Error::from(io::ErrorKind::NotFound);
    for candidate in candidates {
        match fs::DirBuilder::new().mode(0o700).create(&candidate) {
            Ok(()) => {
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let opened = rustix::fs::open(&candidate, flags, Mode::empty());
                fs::remove_dir(&candidate)?;
                return Ok(opened?);
            }
            Err(e) => outcome = e,
        }
    }
    Err(outcome)
}

/// Makes the current folder of a process that is being rebuilt the one that it was, if no name outside leads to it.
pub(crate) fn enter_nameless(stub: &mut Stub, record: &ProcessV1, objects: &RebuiltObjects) -> Result<()> {
    if let Some(folder) = &record.proc_folder {
        return procfs::enter(stub, record.pid, folder);
    }
    if record.deleted_folder == 0 {
        return Ok(());
    }
    let name = || format!("cannot enter a deleted folder in process {}", record.pid);
    let flags = OFlags::RDONLY | OFlags::DIRECTORY;
    let fd = objects.open_in(stub, record.deleted_folder, flags)?;
    let mut remote = stub.remote()?;
    remote.must(libc::SYS_fchdir, [fd, 0, 0, 0, 0, 0]).context(name)?;
    remote
        .must(libc::SYS_close, [fd, 0, 0, 0, 0, 0])
        .context(name)
        .map(drop)
}

/// Makes a deleted symbolic link again, which is open itself (O_PATH with O_NOFOLLOW).
pub(crate) fn make_deleted_link(path: &Path, target: &[u8], flags: OFlags) -> io::Result<OwnedFd> {
    let name = format!(".rethaw-link-{}", std::process::id());
    let scratch = std::env::temp_dir();
    let mut outcome = io::Error::from(io::ErrorKind::NotFound);
    for parent in path.ancestors().skip(1).chain([scratch.as_path()]) {
        let candidate = parent.join(&name);
        match std::os::unix::fs::symlink(std::ffi::OsStr::from_bytes(target), &candidate) {
            Ok(()) => {
                let opened = rustix::fs::open(&candidate, flags, Mode::empty());
                fs::remove_file(&candidate)?;
                return Ok(opened?);
            }
            Err(e) => outcome = e,
        }
    }
    Err(outcome)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_deleted_folder_leaves_nothing_behind() {
        let place = std::env::temp_dir().join(format!("rethaw-folder-{}", std::process::id()));
        fs::create_dir(&place).unwrap();
        let taken = place.join("taken");
        fs::create_dir(&taken).unwrap();
        for path in [place.join("free"), taken.clone(), place.join("gone/deeper")] {
            let fd = make_deleted(&path).unwrap();
            let shown = fs::read_link(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&fd)));
            assert!(super::super::is_deleted(&shown.unwrap()), "{}", path.display());
        }
        assert_eq!(fs::read_dir(&place).unwrap().count(), 1);
        fs::remove_dir_all(&place).unwrap();
    }
}
