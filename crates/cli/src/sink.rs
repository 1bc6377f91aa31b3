//! Where the checkpoints of a computation go: a checkpoint folder, or the one file of the DMTCP names.

use crate::dmtcp::image::DmtcpImage;
use crate::failure::{Context, Failure, Result, status};
use crate::folder_gap::Folder;
use crate::message;
use crate::state::State;
use rustix::fs::FlockOperation;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// A checkpoint folder that this rethaw alone writes to, as long as it lives.
#[derive(Debug)]
pub struct OwnedFolder {
    /// Its path, absolute.
    pub path: PathBuf,
    /// How many checkpoints are kept.
    pub keep: u32,
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
}

impl OwnedFolder {
    /// Makes the folder if need be and locks it.
    pub fn open(path: &Path, keep: u32) -> Result<OwnedFolder> {
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .context(|| format!("make the checkpoint folder {}", path.display()))?;
        let path =
            std::fs::canonicalize(path).context(|| format!("open the checkpoint folder {}", path.display()))?;
        let lock = lock(&path)?;
        Ok(OwnedFolder { path, keep, _lock: lock })
    }
}

fn lock(folder: &Path) -> Result<std::fs::File> {
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
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::AGAIN | rustix::io::Errno::ACCESS) => Err(already_supervised(folder)),
        Err(error) => {
            message::warn(format!("cannot lock {} ({error}): take care not to use it twice", path.display()));
            Ok(file)
        }
    }
}

fn already_supervised(folder: &Path) -> Failure {
    let who = State::load(folder).and_then(|state| state.supervisor);
    let who = who.map(|seen| format!(" (process {} on {})", seen.pid, seen.machine.host)).unwrap_or_default();
    let sentence = format!(
        "another rethaw{who} is using {}; wait for it, see `rethaw status`, or choose another --dir",
        folder.display()
    );
    Failure::with_status(status::RUNNING, sentence)
}

impl Sink {
    /// Where the image of the checkpoint is to be written.
    pub fn image_path(&self, generation: u64) -> PathBuf {
        match self {
            Sink::Folder(folder) => Folder::image_path(&folder.path, generation),
            Sink::Dmtcp(image) => image.temporary(generation),
        }
    }

    /// Makes sure that there is a place to write to; it may have vanished since the last checkpoint.
    pub fn prepare(&self) -> Result<()> {
        let path = self.folder();
        let meta = std::fs::metadata(path).context(|| format!("open the folder {}", path.display()))?;
        if meta.is_dir() { Ok(()) } else { Err(Failure::said(format!("{} is not a folder", path.display()))) }
    }

    /// The folder in which images lie.
    pub fn folder(&self) -> &Path {
        match self {
            Sink::Folder(folder) => &folder.path,
            Sink::Dmtcp(image) => image.folder(),
        }
    }

    /// What `status` shows, and what `checkpoint DIR` matches.
    pub fn shown(&self) -> PathBuf {
        match self {
            Sink::Folder(folder) => folder.path.clone(),
            Sink::Dmtcp(image) => image.path().to_path_buf(),
        }
    }

    /// Makes a written checkpoint the newest one, then removes what is too old.
    pub fn commit(&self, generation: u64) -> Result<()> {
        match self {
            Sink::Folder(owned) => {
                let folder = open(&owned.path)?;
                folder
                    .commit(generation)
                    .context(|| format!("complete checkpoint {generation} in {}", owned.path.display()))?;
                if let Err(error) = folder.prune(owned.keep as usize) {
                    message::warn(format!("cannot remove old checkpoints: {error}"));
                }
                Ok(())
            }
            Sink::Dmtcp(image) => image.commit(generation),
        }
    }

    /// Removes what a failed write may have left.
    pub fn discard(&self, generation: u64) {
        let _ = std::fs::remove_file(self.image_path(generation));
    }

    /// Number for the next checkpoint, given the newest that the computation knows of.
    pub fn next_generation(&self, newest: u64) -> u64 {
        let here = match self {
            Sink::Folder(owned) => open(&owned.path).ok().and_then(|folder| folder.generations().ok()),
            Sink::Dmtcp(_) => None,
        };
        newest.max(here.and_then(|all| all.last().copied()).unwrap_or(0)) + 1
    }

    /// Records that the program ended by itself with success.
    pub fn mark_finished(&self) -> Result<()> {
        match self {
            Sink::Folder(owned) => open(&owned.path)?
                .mark_finished()
                .context(|| format!("mark {} finished", owned.path.display())),
            Sink::Dmtcp(_) => Ok(()),
        }
    }

    /// Remembers the computation for the next life of rethaw.
    pub fn save(&self, state: &State) -> Result<()> {
        match self {
            Sink::Folder(owned) => state.save(&owned.path),
            Sink::Dmtcp(_) => Ok(()),
        }
    }
}

fn open(path: &Path) -> Result<Folder> {
    Folder::open(path).context(|| format!("open the checkpoint folder {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generations_go_on_where_either_side_left_off() {
        let temporary = tempfile::tempdir().expect("a folder");
        let owned = OwnedFolder::open(&temporary.path().join("a/b"), 2).expect("owned");
        let sink = Sink::Folder(owned);
        assert_eq!(sink.next_generation(0), 1);
        assert_eq!(sink.next_generation(7), 8);
        for generation in 1..=3 {
            std::fs::write(sink.image_path(generation), b"image").expect("written");
            sink.commit(generation).expect("committed");
        }
        assert_eq!(sink.next_generation(0), 4);
        assert!(!sink.image_path(1).exists());
        assert!(sink.image_path(2).exists());
    }
}
