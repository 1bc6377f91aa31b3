//! Files at which a restart has looked, held by descriptors (O_PATH: that neither reads nor breaks a lease, and nobody
//! is told of it). Whatever others do to the names meanwhile, the program gets the files on which was decided, as if it
//! had been done right after the restart. Java virtual machines, for one, remove files of others from /tmp that they
//! take for left behind.

use rustix::fs::{FileType, Mode, OFlags, fstat};
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::fs::{self, File, Metadata};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

/// By the paths under which they were found.
#[derive(Debug, Default)]
pub(crate) struct Held(BTreeMap<PathBuf, OwnedFd>);

/// More files would leave too few descriptors for everything else, where no more than 1024 are allowed. What is not
/// held is opened by its name.
const MOST: usize = 512;

impl Held {
    /// Looks at what is there, which is held from now on.
    pub fn look(&mut self, path: &Path) -> io::Result<Metadata> {
        if !self.0.contains_key(path) {
            if self.0.len() >= self.most() {
                return fs::metadata(path);
            }
            let file = rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
            self.0.insert(path.to_path_buf(), file);
        }
        match self.0.get(path) {
            Some(held) => File::from(held.try_clone()?).metadata(),
            None => fs::metadata(path),
        }
    }

    fn most(&self) -> usize {
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
        limit
            .current
            .map_or(usize::MAX, |files| files as usize / 2)
            .max(MOST)
    }

    /// Holds a file that has just been made there.
    pub fn hold(&mut self, path: &Path, file: &OwnedFd) -> io::Result<()> {
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let held = rustix::fs::open(shown(file), flags, Mode::empty())?;
        self.0.insert(path.to_path_buf(), held);
        Ok(())
    }

    /// Opens what was looked at, else what is there.
    pub fn open(&self, path: &Path, flags: OFlags) -> rustix::io::Result<OwnedFd> {
        let flags = flags | OFlags::CLOEXEC;
        let Some(held) = self.0.get(path) else {
            return rustix::fs::open(path, flags, Mode::empty());
        };
        // This flag, which fcntl(2) shows, does not go through /proc/self/fd: the name will do as long as it leads there.
        if flags.contains(OFlags::NOFOLLOW)
            && let Ok(named) = rustix::fs::open(path, flags | OFlags::NONBLOCK, Mode::empty())
            && is_same(&named, held)?
        {
            if !flags.intersects(OFlags::NONBLOCK | OFlags::PATH) {
                rustix::fs::fcntl_setfl(&named, flags)?;
            }
            return Ok(named);
        }
        let mut once = OFlags::NOFOLLOW;
        if FileType::from_raw_mode(fstat(held)?.st_mode) != FileType::Directory {
            // It has the bit of O_DIRECTORY in it.
            once |= OFlags::TMPFILE;
        }
        rustix::fs::open(shown(held), flags - once, Mode::empty())
    }

    /// Opens it to be written to.
    pub fn open_to_write(&self, path: &Path) -> io::Result<File> {
        Ok(self.open(path, OFlags::RDWR)?.into())
    }
}

fn is_same(one: &OwnedFd, other: &OwnedFd) -> Result<bool, Errno> {
    let (one, other) = (fstat(one)?, fstat(other)?);
    Ok((one.st_dev, one.st_ino) == (other.st_dev, other.st_ino))
}

fn shown(file: &OwnedFd) -> String {
    format!("/proc/self/fd/{}", file.as_raw_fd())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn what_was_looked_at_is_opened_whatever_becomes_of_its_name() {
        let path = std::env::temp_dir().join(format!("rethaw-held-{}", std::process::id()));
        let read = |held: &Held, flags: OFlags| {
            let mut text = String::new();
            File::from(held.open(&path, flags).unwrap())
                .read_to_string(&mut text)
                .unwrap();
            text
        };
        let mut held = Held::default();
        assert!(held.look(&path).is_err());
        fs::write(&path, "first").unwrap();
        assert_eq!(held.look(&path).unwrap().len(), 5);
        let flags = OFlags::RDWR | OFlags::NOFOLLOW;
        let by_name = held.open(&path, flags).unwrap();
        assert!(
            rustix::fs::fcntl_getfl(&by_name)
                .unwrap()
                .contains(OFlags::NOFOLLOW)
        );
        fs::remove_file(&path).unwrap();
        assert_eq!(read(&held, flags), "first");
        fs::write(&path, "second").unwrap();
        assert_eq!(read(&held, flags), "first");
        assert_eq!(held.look(&path).unwrap().len(), 5);
        assert_eq!(read(&Held::default(), OFlags::RDONLY), "second");
        fs::remove_file(&path).unwrap();
    }
}
