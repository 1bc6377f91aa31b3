//! A checkpoint that is being written: begun on the agent's thread, written on another one, finished on
//! the agent's again, because ptrace requests are bound to the thread that attached.

use super::schedule::Why;
use crate::failure::{Context, Failure, Result};
use crate::message::{Meter, unix_seconds};
use crate::state::LastCheckpoint;
use rethaw_engine::checkpoint::{Options, Snapshot, Written, begin};
use rethaw_engine::others::Others;
use rethaw_engine::tree::Tree;
use rustix::event::{EventfdFlags, eventfd};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

type Outcome = rethaw_engine::Result<Written>;

/// Why a checkpoint is taken and who waits for it.
#[derive(Debug)]
pub struct Order {
    /// Why.
    pub why: Why,
    /// End the computation once it is durable.
    pub stop: bool,
    /// Clients that wait for the answer.
    pub waiters: Vec<UnixStream>,
}

/// A checkpoint that is being written.
#[derive(Debug)]
pub struct Writing {
    /// Its number.
    pub generation: u64,
    stop: bool,
    begun: Instant,
    unix_seconds: i64,
    pause: Duration,
    thread: JoinHandle<Option<(Snapshot, Outcome)>>,
    done: Arc<OwnedFd>,
}

impl Writing {
    /// Freezes, collects, lets the program go on, and starts to write. On error the program runs.
    pub fn begin(
        tree: &mut Tree,
        options: &Options,
        image: &Path,
        others: Option<&mut dyn Others>,
    ) -> Result<Writing> {
        let begun = Instant::now();
        let generation = options.identity.generation;
        let done = eventfd(0, EventfdFlags::CLOEXEC).context(|| "make an eventfd".to_string())?;
        let done = Arc::new(done);
        // The thread is there before the snapshot: if there cannot be one, nothing has been begun.
        let (hand_over, snapshots) = mpsc::channel();
        let thread = spawn_writer(snapshots, Arc::clone(&done), generation)?;
        let unix_seconds = unix_seconds();
        let snapshot = begin(tree, options, image, others)?;
        let pause = snapshot.pause;
        let _ = hand_over.send(snapshot);
        Ok(Writing {
            generation,
            stop: options.stop,
            begun,
            unix_seconds,
            pause,
            thread,
            done,
        })
    }

    /// Readable once the writing thread is done.
    pub fn done(&self) -> BorrowedFd<'_> {
        self.done.as_fd()
    }

    /// Waits for the writing thread. On error the snapshot is ended, and the program runs.
    pub fn join(self, tree: &mut Tree) -> Result<Durable> {
        let Ok(Some((snapshot, outcome))) = self.thread.join() else {
            return Err(Failure::said("the writing thread failed"));
        };
        let written = match outcome {
            Ok(written) => written,
            Err(error) => {
                // The cause matters more than what ending the snapshot says.
                let _ = snapshot.finish(tree, false);
                return Err(error.into());
            }
        };
        let durable = self.begun.elapsed();
        let pause = if self.stop { durable } else { self.pause };
        let last = LastCheckpoint {
            generation: self.generation,
            unix_seconds: self.unix_seconds,
            pause_ms: pause.as_secs_f64() * 1e3,
            durable_ms: durable.as_secs_f64() * 1e3,
            bytes: written.bytes,
            memory: written.memory,
        };
        Ok(Durable { snapshot, last })
    }
}

/// A checkpoint whose image is durable, and that is not the newest one of its folder yet.
pub struct Durable {
    snapshot: Snapshot,
    /// What it is.
    pub last: LastCheckpoint,
}

impl Durable {
    /// Ends the snapshot. A computation that was to be stopped ends if the checkpoint is `kept`, else it runs again.
    pub fn conclude(self, tree: &mut Tree, kept: bool) -> Result<LastCheckpoint> {
        self.snapshot.finish(tree, kept)?;
        Ok(self.last)
    }
}

fn spawn_writer(
    snapshots: mpsc::Receiver<Snapshot>,
    done: Arc<OwnedFd>,
    generation: u64,
) -> Result<JoinHandle<Option<(Snapshot, Outcome)>>> {
    let write = move || {
        let signal_done = SignalDone(done);
        let mut snapshot = snapshots.recv().ok()?;
        let meter = Meter::new(format!("writing checkpoint {generation}"));
        let outcome = snapshot.write(&|done, all| meter.set(done, all));
        drop(meter);
        drop(signal_done);
        Some((snapshot, outcome))
    };
    let builder = std::thread::Builder::new().name("rethaw-write".to_string());
    builder
        .spawn(write)
        .context(|| "start the writing thread".to_string())
}

/// Wakes the event loop, also when the thread panics.
struct SignalDone(Arc<OwnedFd>);

impl Drop for SignalDone {
    fn drop(&mut self) {
        let _ = rustix::io::write(&self.0, &1u64.to_ne_bytes());
    }
}
