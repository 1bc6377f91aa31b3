//! Checkpoint: freeze → collect → snapshot → resume → write. Check: freeze → collect → resume.

mod changes;
mod check;
mod collect;
mod collector;
pub(crate) mod freeze;
mod inherited;
mod kinship;
pub(crate) mod refusals;
pub(crate) mod release;
mod sleep;
pub(crate) mod snapshot;
mod vfork;
mod write;

use crate::error::Error;
use crate::launcher::Inherited;
use crate::others::Others;
use crate::{Result, tree::Tree};
pub use check::{Findings, check};
use collect::{Collected, collect};
use freeze::{Frozen, freeze};
pub(crate) use kinship::kin_of;
use refusals::Refusals;
use rethaw_image::{Identity, ImageWriter};
use snapshot::Copy;
use std::path::Path;
use std::time::{Duration, Instant};
pub(crate) use write::PageCopier;
use write::Source;

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

/// What to do about connections to programs outside of the computation, of which only one end can be saved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum External {
    /// No checkpoint while there are any.
    #[default]
    Refuse,
    /// After a restart, the program finds that the other end has closed it.
    Close,
    /// After a restart, the program finds it cut off (ECONNRESET).
    Reset,
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
    /// IP addresses of this node.
    pub addresses: Vec<String>,
    /// What the program inherited from its launcher.
    pub launcher: Vec<Inherited>,
    /// Save the contents of every file that is open.
    pub save_open_files: bool,
    /// How memory is made stable.
    pub pause_method: PauseMethod,
    /// Compress pages.
    pub compression: rethaw_image::Compression,
    /// What to do about connections to the outside.
    pub external: External,
    /// End the computation once the checkpoint is durable; it stays frozen until then.
    pub stop: bool,
    /// How long to wait for threads in uninterruptible sleep.
    pub freeze_timeout: Duration,
}

/// A checkpoint whose program runs again (unless it is to be stopped) and whose pages are being written.
pub struct Snapshot {
    /// How long the threads stood still; until now, when the program is to be stopped.
    pub pause: Duration,
    /// How memory was made stable.
    pub method: PauseMethod,
    writer: Option<ImageWriter>,
    collected: Collected,
    /// Still frozen: without copy-on-write children, or to be stopped.
    frozen: Option<Frozen>,
    stop: bool,
    written: bool,
}

/// Progress of a write: bytes done, bytes in all. Called from the writing thread.
pub type Progress<'a> = &'a (dyn Fn(u64, u64) + Sync);

/// What a finished checkpoint was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written {
    /// Size of the image in bytes.
    pub bytes: u64,
    /// Memory saved in bytes before compression, zero pages included.
    pub memory: u64,
}

/// Freezes `tree`, collects its state, makes its memory stable and lets it run again (not with
/// [`Options::stop`]). On error every thread runs again with what it had, and `image` does not exist.
/// With `others`, all nodes do each step together, and [`Error::Passing`] is for the caller to try again.
pub fn begin(
    tree: &mut Tree,
    options: &Options,
    image: &Path,
    mut others: Option<&mut dyn Others>,
) -> Result<Snapshot> {
    let mut writer = ImageWriter::create(image, &options.identity, options.compression)?;
    let mut start = Instant::now();
    let mut patience = Patience::new();
    let (mut collected, frozen) = loop {
        match freeze_and_collect(tree, options, &mut writer, reborrow(&mut others)) {
            Err(error) if others.is_some() => return Err(error),
            Err(Error::Passing(_)) if patience.waits() => {}
            Err(Error::Passing(refusal)) => return Err(*refusal),
            outcome => break outcome?,
        }
        start = Instant::now();
    };
    let copied = !collected.copies.is_empty();
    let frozen = if copied {
        resume(tree, frozen)
    } else {
        Some(frozen)
    };
    let pause = start.elapsed();
    tree.snapshots.extend(collected.copies.values().map(Copy::pid));
    collected.computation.pause_ns = pause.as_nanos() as u64;
    Ok(Snapshot {
        pause,
        method: if copied {
            PauseMethod::Fork
        } else {
            PauseMethod::Stop
        },
        writer: Some(writer),
        collected,
        frozen,
        stop: options.stop,
        written: false,
    })
}

fn reborrow<'a>(others: &'a mut Option<&mut dyn Others>) -> Option<&'a mut dyn Others> {
    match others {
        Some(others) => Some(&mut **others),
        None => None,
    }
}

/// With a program in a state that will be over in a moment.
struct Patience {
    until: Instant,
    turn: usize,
}

impl Patience {
    /// For how long to try.
    const LONGEST: Duration = Duration::from_secs(2);
    /// How long to let it run in between, in turn: not in step with what the program does.
    const WAITS_MS: [u64; 8] = [1, 3, 7, 2, 13, 5, 29, 11];

    fn new() -> Patience {
        Patience {
            until: Instant::now() + Patience::LONGEST,
            turn: 0,
        }
    }

    /// Waits a moment; false when it has waited long enough.
    fn waits(&mut self) -> bool {
        if Instant::now() > self.until {
            return false;
        }
        let wait = Patience::WAITS_MS[self.turn % Patience::WAITS_MS.len()];
        self.turn += 1;
        std::thread::sleep(Duration::from_millis(wait));
        true
    }
}

/// On error every thread runs again.
fn freeze_and_collect(
    tree: &mut Tree,
    options: &Options,
    writer: &mut ImageWriter,
    others: Option<&mut dyn Others>,
) -> Result<(Collected, Frozen)> {
    let mut frozen = freeze(tree, options.freeze_timeout)?;
    match collect_and_copy(tree, &mut frozen, options, writer, others) {
        Ok(collected) => Ok((collected, frozen)),
        Err(error) => {
            frozen.release(tree);
            Err(or_ended(tree, error))
        }
    }
}

/// What went wrong, or that nothing is left to take a checkpoint of: it was killed meanwhile.
fn or_ended(tree: &Tree, error: Error) -> Error {
    match tree.members() {
        Ok(members) if members.is_empty() => Error::Ended,
        _ => error,
    }
}

/// Everything that has to be done while the program stands still.
fn collect_and_copy(
    tree: &Tree,
    frozen: &mut Frozen,
    options: &Options,
    writer: &mut ImageWriter,
    mut others: Option<&mut dyn Others>,
) -> Result<Collected> {
    let copy = !options.stop && options.pause_method != PauseMethod::Stop;
    let first = &Refusals::default();
    let mut collected = match collect(tree, frozen, options, copy, first, reborrow(&mut others)) {
        // No memory or no process slot for the copies: the program waits instead. Other nodes have gone on already.
        Err(Error::Os { source, .. }) if copy && others.is_none() && no_room(&source) => {
            collect(tree, frozen, options, false, first, None)?
        }
        outcome => outcome?,
    };
    std::mem::take(&mut collected.farewell).say();
    collected.sysv.copy(&mut PageCopier::new(writer, 0, &|_, _| {}))?;
    if !collected.copies.is_empty() {
        copy_in_pause(writer, &collected)?;
    }
    if let Some(others) = others {
        others.collected()?;
    }
    Ok(collected)
}

fn no_room(error: &std::io::Error) -> bool {
    [Some(libc::ENOMEM), Some(libc::EAGAIN)].contains(&error.raw_os_error())
}

fn resume(tree: &mut Tree, frozen: Frozen) -> Option<Frozen> {
    frozen.release(tree);
    None
}

/// What does not come along into a copy-on-write child.
fn copy_in_pause(writer: &mut ImageWriter, collected: &Collected) -> Result<()> {
    let mut copier = PageCopier::new(writer, 0, &|_, _| {});
    collected
        .objects
        .iter()
        .filter(|object| object.in_pause())
        .try_for_each(|object| copier.object(object))?;
    collected.pages.iter().try_for_each(|(pid, ranges)| {
        copier.process(Source { pid: *pid, ranges }, None, |range| range.in_pause)
    })
}

impl Snapshot {
    /// Writes the pages and makes the image durable under its final name. May run on another thread.
    /// On error nothing is left of the image.
    pub fn write(&mut self, progress: Progress<'_>) -> Result<Written> {
        let Some(mut writer) = self.writer.take() else {
            return Err(Error::Ended);
        };
        let collected = &self.collected;
        let total = collected
            .pages
            .iter()
            .flat_map(|(_, ranges)| ranges)
            .map(|range| range.end - range.start)
            .sum();
        let mut copier = PageCopier::new(&mut writer, total, progress);
        let source = |index: usize| {
            let (pid, ranges) = &collected.pages[index];
            let pid = collected.copies.get(pid).map_or(*pid, Copy::pid);
            Source { pid, ranges }
        };
        let in_pause = !collected.copies.is_empty();
        for (index, base) in inherited::bases(&collected.processes).into_iter().enumerate() {
            copier.process(source(index), base.map(source), |range| {
                !(in_pause && range.in_pause)
            })?;
        }
        for object in &collected.objects {
            if collected.copies.is_empty() || !object.in_pause() {
                copier.object(object)?;
                object.ensure_steady()?;
            }
        }
        write::records(&mut writer, collected)?;
        write::sync_files(collected)?;
        let summary = writer.finish()?;
        self.written = true;
        Ok(Written {
            bytes: summary.bytes,
            memory: summary.memory_pages * rethaw_image::PAGE as u64,
        })
    }

    /// Ends the snapshot on the agent's thread after `write`. With [`Options::stop`], and when the checkpoint is
    /// `kept`, the computation is ended; else it runs again.
    pub fn finish(self, tree: &mut Tree, kept: bool) -> Result<()> {
        for (_, copy) in self.collected.copies {
            tree.snapshots.remove(&copy.pid());
            drop(copy);
        }
        match self.frozen {
            Some(frozen) if self.stop && self.written && kept => {
                frozen.kill(tree);
                tree.kill()
            }
            Some(frozen) => {
                frozen.release(tree);
                Ok(())
            }
            None => Ok(()),
        }
    }
}
