//! Checkpoint and restart of the processes of one node. Knows nothing of networks or terminals.
#![forbid(unsafe_code)]

pub mod checkpoint;
pub mod error;
mod foothold;
pub mod init;
pub mod launcher;
mod lineage;
pub mod others;
mod resource;
pub mod restart;
pub mod tree;

pub use error::{Error, Result};
pub use resource::mqueue::look as queue_look;
pub use resource::terminal::{look, outside};

use std::os::fd::BorrowedFd;
use std::time::Duration;

/// Waits at most `timeout` until `fd` is readable.
pub fn wait_readable(fd: BorrowedFd<'_>, timeout: Duration) -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let timeout = Timespec::try_from(timeout).ok();
    poll(
        &mut [PollFd::from_borrowed_fd(fd, PollFlags::IN)],
        timeout.as_ref(),
    )
    .is_ok_and(|n| n > 0)
}

/// A file as it is now. A file that cannot be looked at has only its path.
pub(crate) fn file_identity(path: &std::path::Path) -> rethaw_image::record::FileIdentityV1 {
    use std::os::unix::ffi::OsStrExt;
    let mut identity = rethaw_image::record::FileIdentityV1 {
        path: path.as_os_str().as_bytes().to_vec(),
        ..Default::default()
    };
    if let Ok(metadata) = std::fs::metadata(path) {
        fill_identity(&mut identity, &metadata);
    }
    identity
}

pub(crate) fn fill_identity(
    identity: &mut rethaw_image::record::FileIdentityV1,
    metadata: &std::fs::Metadata,
) {
    use std::os::unix::fs::MetadataExt;
    identity.dev = metadata.dev();
    identity.ino = metadata.ino();
    identity.size = metadata.size();
    identity.mtime_ns = mtime_ns(metadata);
    identity.mode = metadata.mode();
}

/// Modification time in nanoseconds since the epoch.
pub(crate) fn mtime_ns(metadata: &std::fs::Metadata) -> i64 {
    use std::os::unix::fs::MetadataExt;
    metadata.mtime() * 1_000_000_000 + metadata.mtime_nsec()
}
