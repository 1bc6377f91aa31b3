//! Restart: plan → rebuild → resume.

use crate::{Result, tree::Tree};
use std::path::{Path, PathBuf};

/// What to do with files that the program had open for writing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Files {
    /// Put back to the size at the checkpoint; what is cut off is kept in a side file.
    #[default]
    Rewind,
    /// Leave as they are.
    Keep,
    /// Refuse the restart when one has changed.
    Refuse,
}

/// How to restart.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Files open for writing.
    pub files: Files,
    /// Old path prefix → new path prefix.
    pub map: Vec<(PathBuf, PathBuf)>,
}

/// What the user should know of a restart.
#[derive(Debug, Default)]
pub struct Report {
    /// One sentence each.
    pub warnings: Vec<String>,
}

/// Rebuilds the computation of `image` and lets it run. On error nothing runs.
/// `progress` is told bytes done and bytes in all.
pub fn restart(_image: &Path, _options: &Options, _progress: crate::checkpoint::Progress<'_>) -> Result<(Tree, Report)> {
    Err(crate::Error::Ended)
}
