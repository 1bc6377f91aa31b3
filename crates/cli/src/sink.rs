//! Where the checkpoints of a computation go: a checkpoint folder, or the one file of the DMTCP names.

use crate::dmtcp::image::DmtcpImage;
use crate::failure::{Context, Failure, Result, status};
use crate::message;
use crate::state::State;
use rethaw_image::Folder;
use rustix::fs::FlockOperation;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// A checkpoint folder that this rethaw alone writes to, as long as it lives.
#[derive(Debug)]
pub struct OwnedFolder {
    /// Its path, absolute.
    pub path: PathBuf,
    /// Its checkpoints.
    pub folder: Folder,
    /// How many are kept.
    keep: u32,
    /// Held for its lock. A POSIX lock, unlike flock(2), is not inherited by forked processes and reaches
    /// other hosts on NFS.
    _lock: std::fs::File,
}

/// Where checkpoints go.
#[derive(Debug)]
pub enum Sink {
    /// A checkpoint folder.
    Folder(OwnedFolder),
    /// One file, overwritten each time.
    Dmtcp(DmtcpImage),
    /// None are taken: it is only looked at.
    Nowhere,
}

impl OwnedFolder {
    /// Makes the folder if need be and locks it.
    pub fn open(path: &Path, keep: u32) -> Result<OwnedFolder> {
        Folder::create(path)?;
        let path = std::fs::canonicalize(path)
            .context(|| format!("open the checkpoint folder {}", path.display()))?;
        let (lock, alone) = lock(&path)?;
        if alone {
            State::clear_up(&path);
        }
        Ok(OwnedFolder {
            folder: Folder::open(&path)?,
            path,
            keep,
            _lock: lock,
        })
    }
}

/// The lock's file, and whether it could be locked: not every file system has locks.
fn lock(folder: &Path) -> Result<(std::fs::File, bool)> {
    let path = folder.join("lock");
    let mut options = std::fs::OpenOptions::new();
    let file = options
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .context(|| format!("open {}", path.display()))?;
    match rustix::fs::fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok((file, true)),
        Err(rustix::io::Errno::AGAIN | rustix::io::Errno::ACCESS) => Err(already_supervised(folder)),
        Err(error) => {
            message::warn(format!(
                "cannot lock {} ({error}): take care not to use it twice",
                path.display()
            ));
            Ok((file, false))
        }
    }
}

fn already_supervised(folder: &Path) -> Failure {
    let who = State::load(folder).and_then(|state| state.supervisor);
    let who = who
        .map(|seen| format!(" (process {} on {})", seen.pid, seen.machine.host))
        .unwrap_or_default();
    let sentence = format!(
        "another rethaw{who} is using {}; wait for it, see `rethaw status`, or choose another --dir",
        folder.display()
    );
    Failure::with_status(status::RUNNING, sentence)
}

impl Sink {
    /// Where the image of a checkpoint is to be written.
    pub fn image_path(&self, generation: u64) -> PathBuf {
        match self {
            Sink::Folder(owned) => owned.folder.image_path(generation),
            Sink::Dmtcp(image) => image.path().to_path_buf(),
            Sink::Nowhere => PathBuf::new(),
        }
    }

    /// What `status` shows, and what `checkpoint DIR` matches.
    pub fn shown(&self) -> PathBuf {
        match self {
            Sink::Folder(owned) => owned.path.clone(),
            Sink::Dmtcp(image) => image.path().to_path_buf(),
            Sink::Nowhere => PathBuf::new(),
        }
    }

    /// Makes a written checkpoint the newest one, then removes what is too old. On error it is gone.
    pub fn commit(&self, generation: u64) -> Result<()> {
        match self {
            Sink::Folder(owned) => owned.commit(generation),
            Sink::Dmtcp(image) => image.commit(generation),
            Sink::Nowhere => Err(Failure::said("there is no folder for checkpoints")),
        }
    }

    /// Number for the next checkpoint, given the newest that the computation knows of.
    pub fn next_generation(&self, newest: u64) -> u64 {
        let here = match self {
            Sink::Folder(owned) => owned.folder.next_generation().unwrap_or(1),
            Sink::Dmtcp(_) | Sink::Nowhere => 1,
        };
        here.max(newest + 1)
    }

    /// Records that the program ended by itself with success.
    pub fn mark_finished(&self, how: &str) -> Result<()> {
        match self {
            Sink::Folder(owned) => Ok(owned.folder.mark_finished(how)?),
            Sink::Dmtcp(_) | Sink::Nowhere => Ok(()),
        }
    }

    /// A computation that goes on is not finished, even if an earlier copy of it was.
    pub fn unmark_finished(&self) {
        if let Sink::Folder(owned) = self {
            let _ = std::fs::remove_file(owned.path.join("finished"));
        }
    }

    /// Remembers the computation for the next life of rethaw.
    pub fn save(&self, state: &State) -> Result<()> {
        match self {
            Sink::Folder(owned) => state.save(&owned.path),
            Sink::Dmtcp(_) | Sink::Nowhere => Ok(()),
        }
    }
}

impl OwnedFolder {
    fn commit(&self, generation: u64) -> Result<()> {
        let image = self.folder.image_path(generation);
        if let Err(error) = self.folder.commit(generation, &[&image]) {
            let _ = std::fs::remove_file(image);
            return Err(error.into());
        }
        if let Err(error) = self.folder.prune(self.keep as usize) {
            message::warn(format!("cannot remove old checkpoints: {error}"));
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::expect_used)]
mod tests {
    use super::*;

    #[test]
    fn generations_go_on_where_either_side_left_off() {
        let temporary = tempfile::tempdir().expect("a folder");
        let owned = OwnedFolder::open(&temporary.path().join("a/b"), 2).expect("owned");
        let sink = Sink::Folder(owned);
        assert_eq!(sink.next_generation(0), 1);
        assert_eq!(sink.next_generation(7), 8);
        std::fs::write(sink.image_path(3), b"image").expect("written");
        assert_eq!(sink.next_generation(0), 4);
    }

    #[test]
    fn what_is_no_image_is_not_committed() {
        let temporary = tempfile::tempdir().expect("a folder");
        let sink = Sink::Folder(OwnedFolder::open(temporary.path(), 2).expect("owned"));
        std::fs::write(sink.image_path(1), b"image").expect("written");
        assert!(sink.commit(1).is_err());
        assert!(!sink.image_path(1).exists());
    }
}
