//! What goes wrong at the edge: one sentence for the user and an exit status.

/// Result of a command.
pub type Result<T, E = Failure> = std::result::Result<T, E>;

/// Exit statuses of rethaw's own. The program's status is passed on unchanged where it ran.
pub mod status {
    /// `verify` found damage; nothing to show.
    pub const BAD: u8 = 1;
    /// Wrong use of the command line.
    pub const USAGE: u8 = 2;
    /// The computation holds something that cannot be checkpointed.
    pub const REFUSED: u8 = 3;
    /// The computation is running already, here or on another host.
    pub const RUNNING: u8 = 121;
    /// The folder holds another computation.
    pub const FOREIGN: u8 = 122;
    /// rethaw itself failed, or cannot tell how the program ended.
    pub const FAILED: u8 = 125;
    /// The program cannot be executed.
    pub const CANNOT_EXECUTE: u8 = 126;
    /// The program was not found.
    pub const NOT_FOUND: u8 = 127;
}

/// Why a command did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The engine's refusal.
    #[error(transparent)]
    Engine(#[from] rethaw_engine::Error),
    /// The image crate's.
    #[error(transparent)]
    Image(#[from] rethaw_image::Error),
    /// The coordinator's, or what came of talking to it.
    #[error(transparent)]
    Cluster(#[from] rethaw_cluster::Error),
    /// A system call failed.
    #[error("{operation}: {source}")]
    Os {
        /// What was being done, with its subject.
        operation: String,
        /// The kernel's answer.
        source: std::io::Error,
    },
    /// A sentence of our own, with its exit status.
    #[error("{sentence}")]
    Said {
        /// What the user reads.
        sentence: String,
        /// Exit status.
        status: u8,
    },
}

impl Failure {
    /// A sentence with [`status::FAILED`].
    pub fn said(sentence: impl Into<String>) -> Failure {
        Failure::with_status(status::FAILED, sentence)
    }

    /// A sentence with its own exit status.
    pub fn with_status(status: u8, sentence: impl Into<String>) -> Failure {
        Failure::Said {
            sentence: sentence.into(),
            status,
        }
    }

    /// The exit status that belongs to it.
    pub fn status(&self) -> u8 {
        match self {
            Failure::Said { status, .. } => *status,
            Failure::Engine(rethaw_engine::Error::Refused { .. } | rethaw_engine::Error::Traced { .. }) => {
                status::REFUSED
            }
            Failure::Engine(_) | Failure::Image(_) | Failure::Cluster(_) | Failure::Os { .. } => {
                status::FAILED
            }
        }
    }

    /// Whether it is the fault of an image, so that an older one may do.
    pub fn is_of_image(&self) -> bool {
        matches!(
            self,
            Failure::Image(_) | Failure::Engine(rethaw_engine::Error::Image(_))
        )
    }

    /// The same, for a program that could not be started.
    pub fn of_launch(program: &std::ffi::OsStr, error: rethaw_engine::Error) -> Failure {
        let rethaw_engine::Error::Os { source, .. } = &error else {
            return error.into();
        };
        let status = match source.kind() {
            std::io::ErrorKind::NotFound => status::NOT_FOUND,
            // execvp(3) says this too when a folder of PATH cannot be searched and none of the others has it.
            std::io::ErrorKind::PermissionDenied if !on_path(program) => status::NOT_FOUND,
            std::io::ErrorKind::PermissionDenied => status::CANNOT_EXECUTE,
            _ => match source.raw_os_error() {
                Some(number) if number == nix::Error::ENOEXEC as i32 => status::CANNOT_EXECUTE,
                _ => return error.into(),
            },
        };
        Failure::with_status(
            status,
            format!("cannot run {}: {source}", program.to_string_lossy()),
        )
    }
}

/// Whether a program name leads to a file, as the shell looks for it.
fn on_path(program: &std::ffi::OsStr) -> bool {
    use std::os::unix::ffi::OsStrExt;
    if program.as_bytes().contains(&b'/') {
        return true;
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).exists())
}

/// Adds the operation to an I/O error.
pub trait Context<T> {
    /// `operation` names what was being done and to what.
    fn context(self, operation: impl FnOnce() -> String) -> Result<T>;
}

impl<T, E: Into<std::io::Error>> Context<T> for std::result::Result<T, E> {
    fn context(self, operation: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|error| Failure::Os {
            operation: operation(),
            source: error.into(),
        })
    }
}
