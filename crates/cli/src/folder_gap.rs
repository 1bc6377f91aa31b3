//! Stand-in for `rethaw_image::folder` until that is merged.

use std::path::{Path, PathBuf};

/// A checkpoint folder.
#[derive(Debug, Clone)]
pub struct Folder {
    path: PathBuf,
}

impl Folder {
    /// An existing folder.
    pub fn open(path: &Path) -> std::io::Result<Folder> {
        std::fs::read_dir(path)?;
        Ok(Folder { path: path.to_path_buf() })
    }
    /// A folder that is made if it is not there.
    pub fn create(path: &Path) -> std::io::Result<Folder> {
        std::fs::create_dir_all(path)?;
        Folder::open(path)
    }
    /// Complete checkpoints, oldest first.
    pub fn generations(&self) -> std::io::Result<Vec<u64>> {
        let mut found = Vec::new();
        for file in std::fs::read_dir(&self.path)? {
            let name = file?.file_name().to_string_lossy().into_owned();
            let number = name.strip_prefix("ckpt-").and_then(|rest| rest.strip_suffix(".manifest"));
            found.extend(number.and_then(|number| number.parse::<u64>().ok()));
        }
        found.sort_unstable();
        Ok(found)
    }
    /// Where the image of a checkpoint lies.
    pub fn image_path(folder: &Path, generation: u64) -> PathBuf {
        folder.join(format!("ckpt-{generation:08}.rethaw"))
    }
    fn manifest(&self, generation: u64) -> PathBuf {
        self.path.join(format!("ckpt-{generation:08}.manifest"))
    }
    /// Makes a checkpoint complete.
    pub fn commit(&self, generation: u64) -> std::io::Result<()> {
        std::fs::write(self.manifest(generation), b"")
    }
    /// Removes all but the newest `keep`.
    pub fn prune(&self, keep: usize) -> std::io::Result<Vec<u64>> {
        let all = self.generations()?;
        let old = &all[..all.len().saturating_sub(keep)];
        for &generation in old {
            std::fs::remove_file(self.manifest(generation))?;
            std::fs::remove_file(Folder::image_path(&self.path, generation))?;
        }
        Ok(old.to_vec())
    }
    /// The computation ended by itself with success.
    pub fn mark_finished(&self) -> std::io::Result<()> {
        std::fs::write(self.path.join("finished"), b"")
    }
    /// Whether it did.
    pub fn finished(&self) -> bool {
        self.path.join("finished").exists()
    }
    /// Removes everything.
    pub fn clear(&self) -> std::io::Result<()> {
        self.prune(0)?;
        let _ = std::fs::remove_file(self.path.join("finished"));
        Ok(())
    }
}
