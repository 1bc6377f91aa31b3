//! A checkpoint that is being written: begun on the agent's thread, written on another one, finished on
//! the agent's again, because ptrace requests are bound to the thread that attached.

use super::schedule::Why;
use crate::failure::{Context, Failure, Result};
use crate::message::{Meter, unix_seconds};
use crate::state::LastCheckpoint;
use rethaw_engine::checkpoint::{Options, Snapshot, Written, begin};
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
    /// Why, and for whom.
    pub order: Order,
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
        order: &mut Option<Order>,
    ) -> Result<Writing> {
        let begun = Instant::now();
        let generation = options.identity.generation;
        let done = eventfd(0, EventfdFlags::CLOEXEC).context(|| "make an eventfd".to_string())?;
        let done = Arc::new(done);
        // The thread is there before the snapshot: if there cannot be one, nothing has been begun.
        let (hand_over, snapshots) = mpsc::channel();
        let thread = spawn_writer(snapshots, Arc::clone(&done), generation)?;
        let unix_seconds = unix_seconds();
        let snapshot = begin(tree, options, image)?;
        let pause = snapshot.pause;
        let Some(order) = order.take() else {
            return Err(Failure::said("no order for a checkpoint"));
        };
        let _ = hand_over.send(snapshot);
        Ok(Writing {
            generation,
            order,
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

    /// Ends the snapshot. With `order.stop` and success, the computation has ended. Hands back the order,
    /// whose waiters want to hear.
    pub fn finish(self, tree: &mut Tree) -> (u64, Order, Result<LastCheckpoint>) {
        let stood_still = self.order.stop;
        let result = match self.thread.join() {
            Ok(Some((snapshot, outcome))) => end(snapshot, outcome, tree),
            Ok(None) | Err(_) => Err(Failure::said("the writing thread failed")),
        };
        let durable = self.begun.elapsed();
        let pause = if stood_still { durable } else { self.pause };
        let last = result.map(|written| LastCheckpoint {
            generation: self.generation,
            unix_seconds: self.unix_seconds,
            pause_ms: pause.as_secs_f64() * 1e3,
            durable_ms: durable.as_secs_f64() * 1e3,
            bytes: written.bytes,
            memory: written.memory,
        });
        (self.generation, self.order, last)
    }
}

/// The cause of a failed write matters more than what ending the snapshot says.
fn end(snapshot: Snapshot, outcome: Outcome, tree: &mut Tree) -> Result<Written> {
    let finished = snapshot.finish(tree);
    let written = outcome?;
    finished?;
    Ok(written)
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
