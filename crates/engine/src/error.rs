//! Errors of the engine: one sentence for the user, the cause chained.

/// Result of an engine operation.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a checkpoint or a restart did not happen. `Display` is the sentence that the user reads.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The computation holds something that cannot be checkpointed. Nothing was changed.
    #[error("cannot checkpoint: {what} (process {pid}, {place}); {remedy}")]
    Refused {
        /// What it is.
        what: String,
        /// The process, as seen from outside.
        pid: i32,
        /// Descriptor or address.
        place: String,
        /// What to do about it.
        remedy: String,
    },
    /// A refusal of what will be over in a moment. Tried again; with other nodes, by whoever leads them.
    #[error(transparent)]
    Passing(Box<Error>),
    /// The image or the machine does not allow the restart; nothing was started.
    #[error("cannot restart: {what}; {remedy}")]
    CannotRestart {
        /// What is missing or differs.
        what: String,
        /// What to do about it.
        remedy: String,
    },
    /// A system call failed.
    #[error("{operation}: {source}")]
    Os {
        /// What was being done, with its subject.
        operation: String,
        /// The kernel's answer.
        source: std::io::Error,
    },
    /// Another node of the computation did not come along; this one would have.
    #[error("{0}")]
    Elsewhere(String),
    /// The image is damaged or unreadable.
    #[error("{0}")]
    Image(#[from] rethaw_image::Error),
    /// There is no such process.
    #[error("there is no process {pid}")]
    NoProcess {
        /// The process.
        pid: i32,
    },
    /// Only one program at a time can trace a process (ptrace(2)).
    #[error("process {pid} is traced by process {tracer} (a debugger or strace); end that first")]
    Traced {
        /// The process.
        pid: i32,
        /// Who traces it.
        tracer: i32,
    },
    /// The computation ended meanwhile.
    #[error("the computation has ended")]
    Ended,
}

/// Adds the operation to an I/O error.
pub trait Context<T> {
    /// `operation` names what was being done and to what.
    fn context(self, operation: impl FnOnce() -> String) -> Result<T>;
}

impl<T, E: Into<std::io::Error>> Context<T> for std::result::Result<T, E> {
    fn context(self, operation: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|e| Error::Os {
            operation: operation(),
            source: e.into(),
        })
    }
}
