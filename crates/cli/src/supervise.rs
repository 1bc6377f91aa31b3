//! The supervising process: one event loop that owns the computation, its checkpoints and its signals.
//!
//! Single-threaded because ptrace requests are bound to a thread; only the pages of a running checkpoint
//! are written by another one.

mod clients;
mod ending;
mod nodes;
mod record;
mod relay;
mod schedule;
mod signals;
mod writing;

pub use ending::Outcome;
pub use record::{FREEZE_TIMEOUT, Settings};
pub use signals::Signals;
pub use writing::{Durable, Writing};

use crate::cluster::lead::Lead;
use crate::control::{Checked, Reply};
use crate::failure::{Context, Failure, Result};
use crate::message;
use crate::place;
use crate::registry::Registration;
use crate::sink::Sink;
use crate::state::{LastCheckpoint, State};
use nix::sys::signal::Signal;
use nodes::Led;
use relay::{Action, Circumstances, Received};
use rethaw_engine::tree::{Ended, Tree};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use schedule::{Schedule, Why};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};
use writing::Order;

const NOW: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 0,
};

/// A computation under protection.
pub struct Supervisor {
    tree: Tree,
    main_pidfd: Option<OwnedFd>,
    signals: Signals,
    registration: Option<Registration>,
    sink: Sink,
    settings: Settings,
    state: State,
    schedule: Schedule,
    writing: Option<(Writing, Order)>,
    /// Where programs of the computation run on other nodes too.
    lead: Option<Lead>,
    /// A checkpoint of all nodes that is being taken.
    led: Option<Led>,
    /// A node was, and with it the computation.
    lost: bool,
    /// To be taken once the one that is being written is durable.
    ordered: Option<Order>,
    /// Clients that want to know what would stop one.
    checks: Vec<UnixStream>,
    /// When to look for that and end the computation.
    check_at: Option<Instant>,
    checked: Option<Checked>,
    ended: Option<Ended>,
    stopped: bool,
    /// Answers to clients that asked for the end, to be given after it.
    farewell: Vec<(UnixStream, Reply)>,
    /// Until when the program may react to a request to stop (Ctrl-Z).
    may_stop_until: Option<Instant>,
}

/// What has happened.
#[derive(Debug, Clone, Copy, Default)]
struct Ready {
    signals: bool,
    main: bool,
    control: bool,
    written: bool,
    nodes: bool,
}

impl Supervisor {
    /// Takes charge of `tree`, whose checkpoints go to `sink`.
    pub fn new(
        tree: Tree,
        signals: Signals,
        sink: Sink,
        mut settings: Settings,
        state: State,
    ) -> Result<Supervisor> {
        // Somebody has waited for the rest before, else it would not be there.
        settings.wait_all |= tree.ended().is_some();
        let main_pidfd = tree.main_pidfd()?;
        let check_at = settings.check_after.map(|after| Instant::now() + after);
        let schedule = Schedule {
            interval: settings.interval,
            last_begun: Instant::now(),
            job_end: None,
            estimate: Duration::ZERO,
            last_taken: false,
        };
        Ok(Supervisor {
            ended: tree.ended(),
            tree,
            main_pidfd,
            signals,
            registration: None,
            sink,
            settings,
            state,
            schedule,
            writing: None,
            lead: None,
            led: None,
            lost: false,
            ordered: None,
            checks: Vec::new(),
            check_at,
            checked: None,
            stopped: false,
            farewell: Vec::new(),
            may_stop_until: None,
        })
    }

    /// The same for a computation that was brought back on several nodes.
    pub fn leading(mut self, lead: Lead) -> Supervisor {
        self.lead = Some(lead);
        self
    }

    /// Stays until the computation has ended. Gives what was found where it was to be checked before.
    pub fn run(mut self) -> Result<(Outcome, Option<Checked>)> {
        self.take_charge();
        self.lead_again();
        self.take_early_signals();
        let outcome = loop {
            if let Some(outcome) = self.outcome()? {
                break outcome;
            }
            let ready = self.wait()?;
            if ready.signals {
                self.take_signals();
            }
            if ready.control {
                self.serve_clients();
            }
            if ready.written {
                self.finish_checkpoint();
            }
            if ready.nodes {
                self.serve_nodes();
            }
            if ready.main || ready.signals {
                self.reap()?;
            }
            self.stop_with_the_program();
            self.answer_checks();
            self.check_and_end()?;
            self.take_what_is_due();
        };
        let concluded = self.conclude(outcome);
        let farewell = std::mem::take(&mut self.farewell);
        let checked = self.checked.take();
        // Who hears that it has ended may start it again at once: the folder must be free.
        drop(self);
        for (stream, reply) in farewell {
            clients::answer(stream, &reply);
        }
        concluded.map(|()| (outcome, checked))
    }

    /// How it ended, once nothing is left to do.
    fn outcome(&self) -> Result<Option<Outcome>> {
        if self.stopped {
            return Ok(Some(Outcome::Stopped));
        }
        if self.checked.is_some() {
            return Ok(Some(Outcome::Checked));
        }
        let Some(ended) = self.ended else { return Ok(None) };
        if self.lost {
            return Ok(Some(Outcome::NodeLost));
        }
        Ok((self.writing.is_none() && self.is_over()?).then_some(Outcome::Ended(ended)))
    }

    /// Whether all has ended that is waited for.
    fn is_over(&self) -> Result<bool> {
        let waits = self.settings.wait_all && !self.tree.processes()?.is_empty();
        Ok(self.ended.is_some() && !waits)
    }

    fn wait(&self) -> Result<Ready> {
        let main = self.main_pidfd.as_ref().filter(|_| self.ended.is_none());
        let lead = self.lead.as_ref();
        let control = self
            .registration
            .as_ref()
            .map(|registration| &registration.listener);
        let sources = [
            Some(self.signals.as_fd()),
            main.map(AsFd::as_fd),
            control.map(AsFd::as_fd),
            self.writing.as_ref().map(|(writing, _)| writing.done()),
            lead.map(|lead| lead.link.as_fd()),
            lead.map(Lead::news_fd),
            lead.and_then(|lead| lead.part.as_ref()?.done()),
        ];
        let watch = |fd| PollFd::from_borrowed_fd(fd, PollFlags::IN);
        let mut fds: Vec<PollFd<'_>> = sources.iter().flatten().copied().map(watch).collect();
        let timeout = self.time_to_wait().and_then(|time| Timespec::try_from(time).ok());
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error).context(|| "wait for events".to_string()),
        }
        let mut polled = fds.iter();
        let mut ready = sources
            .iter()
            .map(|source| source.is_some() && polled.next().is_some_and(|fd| !fd.revents().is_empty()));
        let mut next = || ready.next().unwrap_or(false);
        Ok(Ready {
            signals: next(),
            main: next(),
            control: next(),
            written: next(),
            nodes: next() | next() | next(),
        })
    }

    fn time_to_wait(&self) -> Option<Duration> {
        let now = Instant::now();
        if self.may_stop_until.is_some() {
            return Some(Duration::from_millis(10));
        }
        // With --wait-all, the last process need not be a child whose end is signalled.
        let look = self.ended.is_some().then_some(Duration::from_millis(200));
        if self.writing.is_some() || self.led.is_some() {
            return look;
        }
        let next = self.schedule.next();
        let due = next.map(|(due, _)| due).into_iter().chain(self.check_at).min();
        let due = due.map(|due| due.saturating_duration_since(now));
        look.into_iter().chain(due).min()
    }

    fn reap(&mut self) -> Result<()> {
        if let (Some(ended), None) = (self.tree.reap()?, self.ended) {
            self.ended = Some(ended);
            if !self.is_over()? {
                self.note_where_it_runs();
            }
        }
        Ok(())
    }

    // Signals.

    /// Signals from before the program was there have not reached it, whoever sent them.
    fn take_early_signals(&mut self) {
        while let Some(received) = self.signals.next() {
            match (self.action(received), received.signal) {
                (Action::Checkpoint, _) => self.order_on_request(false),
                (Action::Stop, _) => self.order_on_request(true),
                (_, Signal::SIGCHLD | Signal::SIGWINCH | Signal::SIGTSTP | Signal::SIGCONT) => {}
                (_, signal) => self.relay(signal),
            }
        }
    }

    fn take_signals(&mut self) {
        while let Some(received) = self.signals.next() {
            match self.action(received) {
                Action::Nothing => {}
                Action::Relay if self.has_it_from_elsewhere(received.signal) => {}
                Action::Relay => self.relay(received.signal),
                Action::Checkpoint => self.order_on_request(false),
                Action::Stop => self.order_on_request(true),
            }
            if received.signal == Signal::SIGTSTP {
                self.may_stop_until = Some(Instant::now() + Duration::from_secs(1));
            }
        }
    }

    fn action(&self, received: Received) -> Action {
        let circumstances = Circumstances {
            checkpoint_on: self.settings.checkpoint_on,
            stop_on: self.settings.stop_on,
            shares_group: place::shares_group(self.tree.main()),
            processes: &self.tree.processes().unwrap_or_default(),
        };
        relay::action(received, circumstances)
    }

    /// Whether the same signal was sent to the program too, as by `kill -TERM -PGID` or Slurm, as far as that
    /// shows: it waits there, or has ended the program.
    fn has_it_from_elsewhere(&self, signal: Signal) -> bool {
        const MOMENT: Timespec = Timespec {
            tv_sec: 0,
            tv_nsec: 50_000_000,
        };
        let ends = matches!(
            signal,
            Signal::SIGTERM | Signal::SIGINT | Signal::SIGHUP | Signal::SIGQUIT
        );
        if !ends {
            return false;
        }
        let is_pending = || place::is_pending(self.tree.main(), signal as i32);
        is_pending() || self.ends_within(MOMENT) || is_pending()
    }

    fn ends_within(&self, time: Timespec) -> bool {
        let Some(main) = self.main_pidfd.as_ref().filter(|_| self.ended.is_none()) else {
            return false;
        };
        let mut end = [PollFd::new(main, PollFlags::IN)];
        poll(&mut end, Some(&time)).is_ok_and(|ready| ready > 0)
    }

    fn relay(&self, signal: Signal) {
        if let Err(error) = self.tree.signal(signal as i32)
            && !self.ends_within(NOW)
        {
            message::warn(format!("cannot pass {signal} on to the program: {error}"));
        }
    }

    /// After Ctrl-Z: once the program has stopped, so does rethaw, and the shell shows the job as stopped.
    /// A program that handles or ignores the request goes on, and rethaw with it.
    fn stop_with_the_program(&mut self) {
        let Some(until) = self.may_stop_until else { return };
        if place::is_stopped(self.tree.main()) {
            self.may_stop_until = None;
            let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::STOP);
        } else if Instant::now() > until {
            self.may_stop_until = None;
        }
    }

    // Checkpoints.

    fn order_on_request(&mut self, stop: bool) {
        self.order(Order {
            why: Why::Request,
            stop,
            waiters: vec![],
        });
    }

    /// Takes a checkpoint now, or after the one that is being written. Orders that wait are taken together.
    fn order(&mut self, order: Order) {
        match &mut self.ordered {
            Some(waiting) => {
                waiting.stop |= order.stop;
                waiting.waiters.extend(order.waiters);
            }
            None => self.ordered = Some(order),
        }
    }

    fn take_what_is_due(&mut self) {
        if self.writing.is_some() || self.led.is_some() || self.stopped || self.is_over().unwrap_or(true) {
            return;
        }
        if let Some(order) = self.ordered.take() {
            return self.begin_checkpoint(order);
        }
        match self.schedule.next() {
            Some((due, why)) if due <= Instant::now() => self.take_scheduled(why),
            _ => {}
        }
    }

    /// Once it is time, for a computation that was started to be checked.
    fn check_and_end(&mut self) -> Result<()> {
        if self.checked.is_some() || self.check_at.is_none_or(|at| at > Instant::now()) || self.is_over()? {
            return Ok(());
        }
        match self.check() {
            Ok(checked) => self.checked = Some(checked),
            // How it ended is found out next.
            Err(Failure::Engine(rethaw_engine::Error::Ended)) => return Ok(()),
            Err(failure) => return Err(failure),
        }
        message::note("checked; ending the program");
        Ok(self.tree.kill()?)
    }

    fn take_scheduled(&mut self, why: Why) {
        if why == Why::JobEnds {
            // The time limit may have been changed since.
            self.look_up_job_end();
            if self
                .schedule
                .last_chance()
                .is_some_and(|moment| moment > Instant::now())
            {
                return;
            }
            self.schedule.last_taken = true;
        }
        let stop = why == Why::JobEnds && self.settings.requeue;
        self.begin_checkpoint(Order {
            why,
            stop,
            waiters: vec![],
        });
    }

    fn begin_checkpoint(&mut self, mut order: Order) {
        order.stop |= self.settings.stop_after_first;
        self.schedule.last_begun = Instant::now();
        if self.is_led() {
            return self.begin_led(order);
        }
        let generation = self.next_generation();
        let options = self.engine_options(generation, order.stop);
        let image = self.sink.image_path(generation);
        match Writing::begin(&mut self.tree, &options, &image, None) {
            Ok(writing) => self.writing = Some((writing, order)),
            Err(failure) => self.report_failure(generation, order, &failure),
        }
    }

    fn next_generation(&self) -> u64 {
        let newest = self
            .state
            .last
            .as_ref()
            .map_or(self.settings.from_generation, |last| last.generation);
        self.sink.next_generation(newest)
    }

    fn finish_checkpoint(&mut self) {
        let Some((writing, order)) = self.writing.take() else {
            return;
        };
        let generation = writing.generation;
        match self.make_newest(writing) {
            Ok(last) => self.report_success(order, last),
            Err(failure) => self.report_failure(generation, order, &failure),
        }
    }

    fn make_newest(&mut self, writing: Writing) -> Result<LastCheckpoint> {
        let generation = writing.generation;
        let durable = writing.join(&mut self.tree)?;
        let committed = self.sink.commit(generation);
        let concluded = durable.conclude(&mut self.tree, committed.is_ok());
        committed.and(concluded)
    }

    fn report_failure(&mut self, generation: u64, order: Order, failure: &Failure) {
        // Killed in the middle of it, the program cannot be read any more; how that shows is of no interest.
        let ended = Failure::Engine(rethaw_engine::Error::Ended);
        if matches!(failure, Failure::Engine(rethaw_engine::Error::Ended)) || self.ends_within(NOW) {
            message::note(format!(
                "checkpoint {generation} was not completed: the program ended meanwhile; earlier checkpoints are \
                 untouched"
            ));
            return clients::tell_failure(order.waiters, &ended);
        }
        message::warn(format!(
            "checkpoint {generation} failed: {failure}; the program runs on, earlier checkpoints are untouched"
        ));
        clients::tell_failure(order.waiters, failure);
    }
}
