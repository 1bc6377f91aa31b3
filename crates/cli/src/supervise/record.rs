//! What the supervision records and says: settings, state, registry, messages.

use super::ending::Outcome;
use super::schedule::{Why, estimate};
use super::writing::Order;
use super::{Supervisor, clients};
use crate::control::Reply;
use crate::duration::{Interval, show_bytes, show_duration};
use crate::failure::Result;
use crate::message;
use crate::place::{Seen, resident_bytes};
use crate::registry::{Entry, Registration};
use crate::sink::Sink;
use crate::slurm;
use crate::state::{JobSeen, LastCheckpoint};
use nix::sys::signal::Signal;
use rethaw_engine::checkpoint::{External, Options, PauseMethod};
use rethaw_engine::launcher::Inherited;
use rethaw_engine::tree::Ended;
use rethaw_image::{Compression, Identity};
use std::io::Write;
use std::time::{Duration, Instant};

/// How a computation is protected.
#[derive(Debug)]
pub struct Settings {
    /// Time between checkpoints.
    pub interval: Interval,
    /// How memory is made stable.
    pub pause_method: PauseMethod,
    /// Save the contents of every file that is open.
    pub save_open_files: bool,
    /// Codec of the images.
    pub compression: Compression,
    /// What to do about connections to the outside.
    pub external: External,
    /// Stay until the last process has ended.
    pub wait_all: bool,
    /// Leave what the program left in the background, as the DMTCP names do.
    pub leave_rest: bool,
    /// Checkpoint at this signal.
    pub checkpoint_on: Option<Signal>,
    /// Checkpoint and end at this signal.
    pub stop_on: Option<Signal>,
    /// The batch job that this runs in.
    pub job: Option<slurm::Job>,
    /// Put the job back in the queue after its last checkpoint.
    pub requeue: bool,
    /// End the computation after its first checkpoint.
    pub stop_after_first: bool,
    /// Checkpoint from which the computation came.
    pub from_generation: u64,
    /// Port that the DMTCP names know it by.
    pub dmtcp_port: Option<u16>,
    /// Told once the computation runs (`--detach`).
    pub ready: Option<std::fs::File>,
    /// End the computation after this time, once it is checked what would stop a checkpoint.
    pub check_after: Option<Duration>,
}

/// How long the freeze waits for threads in uninterruptible sleep.
pub const FREEZE_TIMEOUT: Duration = Duration::from_secs(30);

impl Supervisor {
    /// Records that the computation runs here and now.
    pub(super) fn take_charge(&mut self) {
        // A program that leaves the rest to others may have ended already.
        if let Err(failure) = self.reap() {
            message::warn(failure);
        }
        self.state.main = Seen::of(self.tree.main());
        self.state.supervisor = Seen::myself();
        self.state.ended = None;
        self.state.interval_seconds = self.settings.interval.seconds();
        self.state.job = self.settings.job.as_ref().map(|job| JobSeen {
            id: job.id.clone(),
            restarts: job.restarts,
        });
        self.remember();
        self.look_up_job_end();
        self.register();
        if let Some(mut ready) = self.settings.ready.take() {
            let _ = writeln!(ready, "{} {}", self.state.computation, self.tree.main());
        }
    }

    /// The main process has ended, others go on: it is by one of them that the computation is found again.
    pub(super) fn note_where_it_runs(&mut self) {
        self.state.main = Seen::of(self.tree.main());
        self.remember();
    }

    fn register(&mut self) {
        if let Sink::Nowhere = self.sink {
            return;
        }
        let (Some(supervisor), Some(main)) = (self.state.supervisor.clone(), self.state.main.clone()) else {
            return;
        };
        let entry = Entry {
            computation: self.state.computation.clone(),
            name: String::new(),
            checkpoints: self.sink.shown(),
            command: self.state.command.clone(),
            supervisor,
            main,
            since: message::unix_seconds(),
            interval_seconds: self.state.interval_seconds,
            dmtcp_port: self.settings.dmtcp_port,
        };
        match Registration::new(entry) {
            Ok(registration) => self.registration = Some(registration),
            Err(failure) => message::warn(format!(
                "`rethaw status` will not find this computation: {failure}"
            )),
        }
    }

    /// Saves the state; the program does not depend on it.
    pub(super) fn remember(&self) {
        if let Err(failure) = self.sink.save(&self.state) {
            message::warn(format!("cannot record the state of the computation: {failure}"));
        }
    }

    /// Asks when the batch job ends and how long a checkpoint will take until then.
    pub(super) fn look_up_job_end(&mut self) {
        let Some(job) = &self.settings.job else { return };
        let Some(seconds_left) = job.seconds_left() else {
            return;
        };
        self.schedule.job_end = Some(Instant::now() + Duration::from_secs(seconds_left));
        self.schedule.estimate = self.estimate();
    }

    fn estimate(&self) -> Duration {
        let longest = Duration::from_secs_f64(self.state.longest_durable_ms / 1e3);
        let longest = (!longest.is_zero()).then_some(longest);
        estimate(longest, self.resident_bytes())
    }

    /// Memory of all processes.
    pub(super) fn resident_bytes(&self) -> u64 {
        self.tree
            .processes()
            .unwrap_or_default()
            .into_iter()
            .map(resident_bytes)
            .sum()
    }

    /// What the engine needs to take a checkpoint.
    pub(super) fn engine_options(&self, generation: u64, stop: bool) -> Options {
        Options {
            identity: Identity {
                computation: self.state.computation.clone(),
                generation,
                agent: 0,
                agents: 1,
            },
            command: self
                .state
                .command
                .iter()
                .map(|word| word.bytes().to_vec())
                .collect(),
            start_folder: self.state.start_folder.bytes().to_vec(),
            launcher: self
                .state
                .launcher
                .iter()
                .map(|&(fd, dev, ino)| Inherited { fd, dev, ino })
                .collect(),
            save_open_files: self.settings.save_open_files,
            pause_method: self.settings.pause_method,
            compression: self.settings.compression,
            external: self.settings.external,
            stop,
            freeze_timeout: FREEZE_TIMEOUT,
        }
    }

    /// A checkpoint is durable.
    pub(super) fn report_success(&mut self, order: Order, last: LastCheckpoint) {
        let durable = Duration::from_secs_f64(last.durable_ms / 1e3);
        let pause = Duration::from_secs_f64(last.pause_ms / 1e3);
        let (bytes, took) = (show_bytes(last.bytes), show_duration(durable));
        let number = last.generation;
        if order.stop {
            self.stopped = true;
            message::note(format!(
                "checkpoint {number} taken, computation ended: {bytes} in {took}"
            ));
        } else {
            let pause = show_duration(pause);
            let why = match order.why {
                Why::Interval => "",
                Why::Request => ", on request",
                Why::JobEnds => ", the last before the batch job ends",
            };
            message::note(format!(
                "checkpoint {number} taken: pause {pause}, {bytes} in {took}{why}"
            ));
        }
        self.state.longest_durable_ms = self.state.longest_durable_ms.max(last.durable_ms);
        self.state.last = Some(last.clone());
        self.schedule.estimate = self.estimate();
        self.remember();
        if order.stop {
            let reply = |stream| (stream, Reply::Checkpoint(last.clone()));
            self.farewell.extend(order.waiters.into_iter().map(reply));
        } else {
            clients::tell_success(order.waiters, &last);
        }
    }

    /// Cleans up after the end.
    pub(super) fn conclude(&mut self, outcome: Outcome) -> Result<()> {
        self.end_the_rest()?;
        if outcome == Outcome::Ended(Ended::Exited(0))
            && let Err(failure) = self.sink.mark_finished(&outcome.describe())
        {
            message::warn(failure);
        }
        self.state.main = None;
        self.state.supervisor = None;
        self.state.ended = Some(outcome.describe());
        self.remember();
        let waiters = self.ordered.take().map(|order| order.waiters).unwrap_or_default();
        let checks = std::mem::take(&mut self.checks);
        let left = waiters.into_iter().chain(checks).collect();
        clients::tell_failure(left, &rethaw_engine::Error::Ended.into());
        self.registration = None;
        if outcome == Outcome::Stopped
            && self.settings.requeue
            && let Some(job) = &self.settings.job
        {
            job.requeue()?;
            message::note(format!("job {} is back in the queue", job.id));
        }
        Ok(())
    }

    /// Processes that are still there a moment after the program's end: a signal to the whole group ends them
    /// all, but not at the same instant.
    fn what_stays(&self) -> Result<Vec<i32>> {
        const MOMENT: Duration = Duration::from_millis(200);
        let end = Instant::now() + MOMENT;
        loop {
            let rest = self.tree.processes()?;
            if rest.is_empty() || Instant::now() > end {
                return Ok(rest);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// What the program left running ends with it, as in containers and batch systems.
    fn end_the_rest(&mut self) -> Result<()> {
        if self.settings.leave_rest {
            return Ok(());
        }
        let rest = self.what_stays()?;
        if rest.is_empty() {
            return Ok(());
        }
        let names: Vec<String> = rest.iter().take(5).map(|&pid| describe(pid)).collect();
        let more = if rest.len() > names.len() { ", …" } else { "" };
        message::note(format!(
            "the program has ended; ending the {} process(es) that it left: {}{more} (--wait-all waits for them)",
            rest.len(),
            names.join(", ")
        ));
        Ok(self.tree.kill()?)
    }
}

fn describe(pid: i32) -> String {
    let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    format!("{pid} ({})", name.trim())
}
