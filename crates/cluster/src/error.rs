use std::path::{Path, PathBuf};

/// What goes wrong between coordinator and agents.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The other side is gone, or has not said anything for too long.
    #[error("the connection to the coordinator is lost: {0}")]
    Lost(String),
    /// No coordinator at any of the addresses.
    #[error("no coordinator of this computation answers at {addresses}: {cause}")]
    Unreachable {
        /// All that were tried.
        addresses: String,
        /// What happened at the last one.
        cause: String,
    },
    /// A file of a secret that cannot be trusted or read.
    #[error("cannot use {} as the secret of a computation: {cause}", path.display())]
    Secret {
        /// The file.
        path: PathBuf,
        /// Why not.
        cause: String,
    },
    /// A message that is longer than the other side would take.
    #[error("a message of {0} bytes is longer than a frame may be")]
    Oversize(usize),
    /// TLS could not be set up.
    #[error("cannot set up TLS: {0}")]
    Tls(String),
    /// A system call.
    #[error("cannot {action}")]
    Io {
        /// What was tried.
        action: String,
        /// What the kernel said.
        #[source]
        source: std::io::Error,
    },
}

/// With this crate's [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    pub(crate) fn io(action: impl Into<String>, source: impl Into<std::io::Error>) -> Error {
        Error::Io {
            action: action.into(),
            source: source.into(),
        }
    }

    pub(crate) fn secret(path: &Path, cause: impl ToString) -> Error {
        Error::Secret {
            path: path.to_path_buf(),
            cause: cause.to_string(),
        }
    }
}
