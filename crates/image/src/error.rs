//! Why an image or a checkpoint folder cannot be written or read, in sentences for the user.

use std::io;
use std::path::Path;

/// Result of this crate's operations.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why an image cannot be written or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file system's answer.
    #[error("{operation}: {source}")]
    Io {
        /// What was being done, with the path.
        operation: String,
        /// The cause.
        source: io::Error,
    },
    /// Damaged or foreign.
    #[error("{path} {what}")]
    Damaged {
        /// Path of the image.
        path: String,
        /// What is wrong with it.
        what: String,
    },
    /// Not made by rethaw at all.
    #[error("{path} is not a rethaw {expected}")]
    Foreign {
        /// Path of the file.
        path: String,
        /// What was looked for: "image", "manifest".
        expected: &'static str,
    },
    /// Made by a later version of rethaw.
    #[error("{path} {what}; use the version of rethaw that wrote it, or a later one")]
    Newer {
        /// Path of the file.
        path: String,
        /// What this version does not know.
        what: String,
    },
    /// The caller asked for something that an image cannot hold.
    #[error("{path} cannot be written: {what}")]
    Refused {
        /// Path of the image.
        path: String,
        /// What cannot be.
        what: String,
    },
}

impl Error {
    /// `verb` completes "cannot … PATH".
    pub(crate) fn io(verb: &str, path: &Path, source: io::Error) -> Error {
        Error::Io {
            operation: format!("cannot {verb} {}", path.display()),
            source,
        }
    }

    pub(crate) fn damaged(path: &Path, what: impl Into<String>) -> Error {
        Error::Damaged {
            path: path.display().to_string(),
            what: what.into(),
        }
    }

    pub(crate) fn foreign(path: &Path, expected: &'static str) -> Error {
        Error::Foreign {
            path: path.display().to_string(),
            expected,
        }
    }

    pub(crate) fn newer(path: &Path, what: impl Into<String>) -> Error {
        Error::Newer {
            path: path.display().to_string(),
            what: what.into(),
        }
    }

    pub(crate) fn refused(path: &Path, what: impl Into<String>) -> Error {
        Error::Refused {
            path: path.display().to_string(),
            what: what.into(),
        }
    }

    /// The file is not there (any more).
    pub fn is_not_found(&self) -> bool {
        matches!(self, Error::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }
}
