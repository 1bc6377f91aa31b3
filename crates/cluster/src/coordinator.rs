//! The decisions of a coordinator: events in, actions out; no input or output, no clock.
//!
//! ```text
//!            Request                    Passing, Ended              Kill, stop, lost outside of a checkpoint
//!   Idle ─────────────► Checkpoint ──────────────────► Retry        ───────────────────────────────► Over
//!    ▲  ◄─────────────  freeze, drain, collect, write,  │
//!    │   Done or Abort  commit   ◄──────────────────────┘
//!    │
//!    └──── all Prepared ──── Prepare ◄──── all joined ──── Gather ◄──── Restart
//! ```
//!
//! Every state except Idle and the writing of images has a deadline, and the loss of an agent ends that too: nothing
//! hangs. An attempt has a number that is never used again, by which late answers are known.

mod checkpoint;
mod event;
mod matching;
mod member;
mod restart;
mod start;

#[cfg(test)]
mod bench;
#[cfg(test)]
mod checkpoint_tests;
#[cfg(test)]
mod matching_tests;
#[cfg(test)]
mod restart_tests;
#[cfg(test)]
mod start_tests;

pub use event::*;

use crate::message::{Answer, Hello, Kill, Order, Report};
use checkpoint::{Attempt, Retry};
use member::Member;
use restart::{Gather, Rebuild};
use start::Starts;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

/// The coordinator of one computation.
#[derive(Debug)]
pub struct Coordinator {
    config: Config,
    /// The latest time that it was told.
    now: Duration,
    /// Agents that have been welcomed.
    members: BTreeMap<Key, Member>,
    /// Their numbers.
    numbers: BTreeSet<u32>,
    /// Above all numbers that were ever given.
    next_number: u32,
    /// Members by the first label of their host name.
    by_host: HashMap<String, Vec<Key>>,
    /// Agents that have to wait for it.
    joining: Vec<(Key, Hello)>,
    /// Lost while a checkpoint was taken and not joined again since: number and host name.
    lost: BTreeMap<u32, String>,
    phase: Phase,
    /// Requests for the next checkpoint.
    asked: Asked,
    /// A kill that came while a manifest was being written.
    kill_wanted: bool,
    starts: Starts,
    /// Number of the last attempt.
    attempt: u64,
    /// Number of the next checkpoint.
    generation: u64,
    /// Attempt and generation of a manifest whose fate is not known.
    unknown: Option<(u64, u64)>,
    actions: Vec<Action>,
}

#[derive(Debug)]
enum Phase {
    Idle,
    Checkpoint(Attempt),
    Retry(Retry),
    Gather(Gather),
    Prepare(Rebuild),
    /// The computation ends; `deadline`: until which the agents may still be heard. None: nobody is left.
    Over {
        why: String,
        deadline: Option<Duration>,
    },
}

/// Requests that one checkpoint answers.
#[derive(Debug, Default, Clone)]
struct Asked {
    stop: bool,
    by: Vec<Asker>,
}

/// Who has asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asker {
    /// The user's side, with its ticket.
    User(u64),
    /// An agent, with its ticket.
    Agent(Key, u64),
}

impl Coordinator {
    /// Of a computation that has no agents yet.
    pub fn new(config: Config) -> Coordinator {
        Coordinator {
            now: Duration::ZERO,
            members: BTreeMap::new(),
            numbers: BTreeSet::new(),
            next_number: u32::from(config.local),
            by_host: HashMap::new(),
            joining: Vec::new(),
            lost: BTreeMap::new(),
            phase: Phase::Idle,
            asked: Asked::default(),
            kill_wanted: false,
            starts: Starts::default(),
            attempt: 0,
            generation: config.next_generation,
            unknown: None,
            actions: Vec::new(),
            config,
        }
    }

    /// What follows from an event. `now` counts from any fixed moment.
    pub fn handle(&mut self, now: Duration, event: Event) -> Vec<Action> {
        self.now = self.now.max(now);
        match event {
            Event::Joined(key, hello) => self.joined(key, hello),
            Event::Received(key, report) => self.received(key, report),
            Event::Lost(key, reason) => self.lose(key, &reason),
            Event::Command(command) => self.command(command),
            Event::Tick => (),
        }
        self.expire();
        self.settle();
        std::mem::take(&mut self.actions)
    }

    /// When a [`Event::Tick`] is due.
    pub fn deadline(&self) -> Option<Duration> {
        let phase = match &self.phase {
            Phase::Idle => None,
            Phase::Checkpoint(attempt) => attempt.deadline,
            Phase::Retry(retry) => Some(retry.at),
            Phase::Gather(gather) => Some(gather.deadline),
            Phase::Prepare(rebuild) => Some(rebuild.deadline),
            Phase::Over { deadline, .. } => *deadline,
        };
        phase.into_iter().chain(self.starts.deadline()).min()
    }

    /// The agents, by number.
    pub fn nodes(&self) -> Vec<Node> {
        let mut nodes: Vec<Node> = self.members.values().map(Member::node).collect();
        nodes.sort_by_key(|node| node.agent);
        nodes
    }

    fn received(&mut self, key: Key, report: Report) {
        if !self.members.contains_key(&key) {
            return self.stranger_says(key, report);
        }
        match report {
            Report::Request(one) => self.request(Asker::Agent(key, one.ticket), one.stop),
            Report::Frozen(one) => self.frozen(key, one),
            Report::Drained(one) => self.drained(key, one.attempt),
            Report::Collected(one) => self.collected(key, one.attempt),
            Report::Written(one) => self.written(key, one),
            Report::Committed(one) => self.committed(key, one.attempt),
            Report::Passing(one) => self.passing(key, one),
            Report::Failed(one) => self.failed(key, one),
            Report::Prepared(_) => self.prepared(key),
            Report::Ended(one) => self.ended(key, one.status),
            Report::Started(one) => self.started(key, one),
            Report::Exited(one) => self.exited(key, one),
            Report::StartOn(one) => {
                let program = Program {
                    command: one.command,
                    environment: one.environment,
                    folder: one.folder,
                };
                self.start_on(Asker::Agent(key, one.ticket), one.node, program);
            }
            // A second Hello changes nothing.
            Report::Pong(_) | Report::Hello(_) => (),
        }
    }

    fn command(&mut self, command: Command) {
        match command {
            Command::Request { ticket, stop, .. } => self.request(Asker::User(ticket), stop),
            Command::StartOn {
                ticket,
                node,
                program,
            } => self.start_on(Asker::User(ticket), node, program),
            Command::Unreachable { node, sentence } => self.unreachable(&node, &sentence),
            Command::Restart(plan) => self.restart(plan),
            Command::Kill => self.kill(),
        }
    }

    fn request(&mut self, by: Asker, stop: bool) {
        self.asked.stop |= stop;
        self.asked.by.push(by);
    }

    fn expire(&mut self) {
        self.expire_starts();
        let now = self.now;
        let due = |deadline: Option<Duration>| deadline.is_some_and(|deadline| deadline <= now);
        match &self.phase {
            Phase::Checkpoint(attempt) if due(attempt.deadline) => self.checkpoint_late(),
            Phase::Retry(retry) if due(Some(retry.at)) => self.try_again(),
            Phase::Gather(gather) if due(Some(gather.deadline)) => self.gather_late(),
            Phase::Prepare(rebuild) if due(Some(rebuild.deadline)) => self.prepare_late(),
            Phase::Over { deadline, .. } if due(*deadline) => self.kill_late(),
            _ => (),
        }
    }

    /// Begins what had to wait and can begin now.
    fn settle(&mut self) {
        if self.kill_wanted && !self.is_committing() {
            self.kill_wanted = false;
            self.kill_now("the computation was ended");
        }
        if let Phase::Over { why, .. } = &self.phase {
            let why = why.clone();
            self.settle_over(&why);
            return;
        }
        if matches!(self.phase, Phase::Gather(_)) {
            self.gathered();
        }
        if self.may_join() {
            for (key, hello) in std::mem::take(&mut self.joining) {
                self.welcome(key, hello);
            }
            self.deliver_starts();
        }
        if matches!(self.phase, Phase::Idle) && !self.asked.by.is_empty() {
            self.begin_asked();
        }
    }

    /// Nothing begins any more: what waits is told so.
    fn settle_over(&mut self, why: &str) {
        // Such as an agent that was lost and is back: what it runs ends too.
        for (key, _) in std::mem::take(&mut self.joining) {
            self.send(vec![key], Order::Kill(Kill {}));
            self.actions.push(Action::Close(key));
        }
        self.fail_starts(why);
        let asked = std::mem::take(&mut self.asked);
        if !asked.by.is_empty() {
            self.answer_without_attempt(asked, Cause::general(why));
        }
        if let Phase::Over { deadline, .. } = &mut self.phase
            && deadline.is_some()
            && self.members.is_empty()
        {
            *deadline = None;
            self.tell(News::Over { silent: Vec::new() });
        }
    }

    fn is_committing(&self) -> bool {
        matches!(&self.phase, Phase::Checkpoint(attempt) if attempt.is_committing())
    }

    /// Whether agents and programs may come in now: not while others stand still.
    fn may_join(&self) -> bool {
        match &self.phase {
            // What waits may be what the next attempt needs.
            Phase::Idle | Phase::Retry(_) => true,
            Phase::Checkpoint(attempt) => attempt.runs_again(),
            Phase::Gather(_) | Phase::Prepare(_) | Phase::Over { .. } => false,
        }
    }

    /// One answer to everybody who asked for this checkpoint.
    fn answer(&mut self, asked: &Asked, verdict: Verdict) {
        // On one node its name says nothing.
        let words = |cause: &Cause| match self.members.len() {
            0 | 1 => cause.sentence.clone(),
            _ => cause.to_string(),
        };
        let (refused, sentence) = match &verdict.outcome {
            Outcome::Committed => (false, String::new()),
            Outcome::Refused(cause) => (true, words(cause)),
            Outcome::Failed(cause) | Outcome::Unknown(cause) => (false, words(cause)),
        };
        for by in &asked.by {
            let Asker::Agent(key, ticket) = *by else { continue };
            if !self.members.contains_key(&key) {
                continue;
            }
            let answer = Answer {
                ticket,
                generation: verdict.generation,
                committed: verdict.outcome == Outcome::Committed,
                refused,
                sentence: sentence.clone(),
                bytes: verdict.images.iter().map(|image| image.bytes).sum(),
                memory: verdict.images.iter().map(|image| image.memory).sum(),
                pause_us: verdict
                    .images
                    .iter()
                    .map(|image| image.pause_us)
                    .max()
                    .unwrap_or(0),
            };
            self.send(vec![key], Order::Answer(answer));
        }
        self.tell(News::Verdict(verdict));
    }

    fn answer_without_attempt(&mut self, asked: Asked, cause: Cause) {
        let verdict = Verdict {
            attempt: 0,
            generation: self.generation,
            tickets: asked.tickets(),
            stop: asked.stop,
            outcome: Outcome::Failed(cause),
            images: Vec::new(),
        };
        self.answer(&asked, verdict);
    }

    fn send(&mut self, to: Vec<Key>, order: Order) {
        if !to.is_empty() {
            self.actions.push(Action::Send(to, order));
        }
    }

    fn tell(&mut self, news: News) {
        self.actions.push(Action::Tell(news));
    }

    fn everybody(&self) -> Vec<Key> {
        self.members.keys().copied().collect()
    }
}

impl Asked {
    fn tickets(&self) -> Vec<u64> {
        let ticket = |by: &Asker| match by {
            Asker::User(ticket) => Some(*ticket),
            Asker::Agent(..) => None,
        };
        self.by.iter().filter_map(ticket).collect()
    }
}
