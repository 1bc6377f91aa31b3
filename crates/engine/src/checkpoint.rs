//! Checkpoint: freeze → collect → snapshot → resume → write.

use crate::{Result, tree::Tree};
use rethaw_image::Identity;
use std::path::Path;
use std::time::Duration;

/// How memory is made stable while it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PauseMethod {
    /// Choose by what the kernel and the limits allow.
    #[default]
    Auto,
    /// A copy-on-write child of each process.
    Fork,
    /// The program stands still until everything is written.
    Stop,
}

/// What a checkpoint is taken with.
#[derive(Debug, Clone)]
pub struct Options {
    /// Identity, generation.
    pub identity: Identity,
    /// Command line of the computation.
    pub command: Vec<Vec<u8>>,
    /// Folder in which it was started.
    pub start_folder: Vec<u8>,
    /// Launcher's stdin, stdout, stderr as (device, inode, flags), to recognise them in the program.
    pub launcher_stdio: [Option<(u64, u64)>; 3],
    /// How memory is made stable.
    pub pause_method: PauseMethod,
    /// Compress pages.
    pub compression: rethaw_image::Compression,
    /// End the computation once the checkpoint is durable; it stays frozen until then.
    pub stop: bool,
    /// How long to wait for threads in uninterruptible sleep.
    pub freeze_timeout: Duration,
}

/// A checkpoint whose program runs again (unless it is to be stopped) and whose pages are being written.
#[derive(Debug)]
pub struct Snapshot {
    /// How long the threads stood still.
    pub pause: Duration,
}

/// Progress of a write: bytes done, bytes in all. Called from the writing thread.
pub type Progress<'a> = &'a (dyn Fn(u64, u64) + Sync);

/// What a finished checkpoint was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written {
    /// Size of the image in bytes.
    pub bytes: u64,
    /// Memory saved in bytes before compression.
    pub memory: u64,
}

/// Freezes `tree`, collects its state, makes its memory stable and lets it run again (not with
/// [`Options::stop`]). On error every thread runs again with what it had, and `image` does not exist.
pub fn begin(_tree: &mut Tree, _options: &Options, _image: &Path) -> Result<Snapshot> {
    Err(crate::Error::Ended)
}

impl Snapshot {
    /// Writes the pages and makes the image durable under its final name. May run on another thread.
    /// On error nothing is left of the image.
    pub fn write(&mut self, _progress: Progress<'_>) -> Result<Written> {
        Err(crate::Error::Ended)
    }
    /// Ends the snapshot on the agent's thread after `write`, successful or not. With [`Options::stop`]
    /// and success, the computation is ended; on failure it runs again.
    pub fn finish(self, _tree: &mut Tree) -> Result<()> {
        Ok(())
    }
}
