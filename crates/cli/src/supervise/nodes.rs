//! Supervision of a computation that runs on other nodes too. The coordinator decides; this node does its part as every
//! other one does, and says what came of it.

use super::writing::Order;
use super::{Supervisor, clients};
use crate::cluster::lead::Lead;
use crate::cluster::meet::Terms;
use crate::cluster::part::{self, Part};
use crate::control::{RemoteCommand, Reply};
use crate::failure::{Failure, Result, status};
use crate::message;
use crate::state::LastCheckpoint;
use rethaw_cluster::{
    Commit, Committed, Freeze, News, Order as Step, Outcome as Fate, Passing, Program, Report, Verdict,
};
use rethaw_engine::tree::Tree;
use rethaw_image::Identity;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

/// A checkpoint of all nodes that the coordinator was asked for.
pub struct Led {
    order: Order,
    begun: Instant,
    unix_seconds: i64,
}

impl Supervisor {
    /// Starts a program of the computation on another node.
    pub(super) fn start_remote(&mut self, request: RemoteCommand, stream: UnixStream) {
        if let Err(failure) = self.begin_to_lead(false) {
            return clients::tell_failure(vec![stream], &failure);
        }
        let Some(lead) = &mut self.lead else { return };
        let program = Program {
            command: request.command.iter().map(|word| word.bytes().to_vec()).collect(),
            environment: Vec::new(),
            folder: request
                .folder
                .map(|folder| folder.bytes().to_vec())
                .unwrap_or_default(),
        };
        lead.start_on(request.host, program, stream);
        self.take_news();
    }

    /// A computation that was attached to may run on other nodes too, whose agents wait for a coordinator.
    pub(super) fn lead_again(&mut self) {
        let led_before = self.sink.folder().is_some_and(Terms::are_there);
        if self.tree.is_attached()
            && led_before
            && let Err(failure) = self.begin_to_lead(true)
        {
            message::warn(format!(
                "what runs on other nodes stays without protection: {failure}"
            ));
        }
    }

    fn begin_to_lead(&mut self, takes_over: bool) -> Result<()> {
        if self.lead.is_some() {
            return Ok(());
        }
        let Some(folder) = self.sink.folder() else {
            return Err(Failure::said(
                "programs on several nodes need a checkpoint folder: use `rethaw run`",
            ));
        };
        let folder = folder.to_path_buf();
        let next = self.next_generation();
        let options = self.engine_options(next, false);
        let restart = rethaw_engine::restart::Options::default();
        self.lead = Some(Lead::begin(&folder, &options, &restart, next, takes_over)?);
        Ok(())
    }

    /// Whether a checkpoint is a matter of several nodes.
    pub(super) fn is_led(&self) -> bool {
        self.lead.as_ref().is_some_and(Lead::has_others)
    }

    /// Asks for a checkpoint of all nodes.
    pub(super) fn begin_led(&mut self, order: Order) {
        let generation = self.next_generation();
        if let Some(lead) = &mut self.lead {
            lead.request(generation, order.stop);
        }
        self.led = Some(Led {
            order,
            begun: Instant::now(),
            unix_seconds: message::unix_seconds(),
        });
    }

    /// Does what the coordinator wants of this node, and says what it tells.
    pub(super) fn serve_nodes(&mut self) {
        self.write_part();
        self.take_steps(Duration::ZERO);
        self.take_news();
        if let Some(lead) = &mut self.lead {
            lead.reap();
        }
    }

    fn write_part(&mut self) {
        let Some(lead) = &mut self.lead else { return };
        let Some(part) = &mut lead.part else { return };
        if part.is_written() {
            part.written(&mut self.tree, &lead.link);
        }
    }

    fn take_steps(&mut self, patience: Duration) {
        while let Some(lead) = &mut self.lead
            && let Ok(Some(step)) = lead.link.recv(Some(patience))
        {
            self.take_step(step);
        }
    }

    fn take_step(&mut self, step: Step) {
        match step {
            Step::Freeze(freeze) => self.freeze_part(&freeze),
            Step::Commit(commit) => self.commit_part(&commit),
            Step::Done(done) => self.end_part(done.attempt, |part, tree| part.keep(tree).map(drop)),
            Step::Abort(abort) => {
                self.end_part(abort.attempt, |part, tree| part.give_up(tree, abort.keep_image));
            }
            Step::Kill(_) => {
                if let Err(error) = self.tree.kill() {
                    message::warn(error);
                }
            }
            _ => {}
        }
    }

    fn freeze_part(&mut self, freeze: &Freeze) {
        let image = self
            .sink
            .agent_image_path(freeze.generation, freeze.image, freeze.images);
        let mut options = self.engine_options(freeze.generation, freeze.stop);
        options.identity = Identity {
            agent: freeze.image,
            agents: freeze.images,
            ..options.identity
        };
        let over = self.is_over().unwrap_or(true);
        let Some(lead) = &mut self.lead else { return };
        if over {
            let _ = lead.link.send(Report::Passing(Passing {
                attempt: freeze.attempt,
                sentence: "the program has ended".to_string(),
            }));
            return;
        }
        lead.part = Part::begin(&mut self.tree, &lead.link, freeze, &options, &image);
    }

    /// All images are durable: together they become the newest checkpoint.
    fn commit_part(&mut self, commit: &Commit) {
        let committed = self
            .sink
            .commit_all(commit.generation, commit.images.len() as u32);
        let Some(lead) = &self.lead else { return };
        match committed {
            Ok(()) => {
                let _ = lead.link.send(Report::Committed(Committed {
                    attempt: commit.attempt,
                }));
            }
            Err(failure) => part::report(&lead.link, commit.attempt, &failure),
        }
    }

    fn end_part(&mut self, attempt: u64, end: impl FnOnce(Part, &mut Tree) -> Result<()>) {
        let lead = self.lead.as_mut();
        let part = lead.and_then(|lead| lead.part.take_if(|part| part.attempt == attempt));
        if let Some(part) = part
            && let Err(failure) = end(part, &mut self.tree)
        {
            message::warn(failure);
        }
    }

    fn take_news(&mut self) {
        while let Some(lead) = &mut self.lead
            && let Ok(Some(news)) = lead.news(Some(Duration::ZERO))
        {
            lead.note(&news);
            match news {
                News::Joined(node) if node.agent != 0 => message::note(format!("{} takes part", node.node)),
                News::Wanted { node } => self.fetch_agent(&node, None),
                News::Started { ticket, error } => self.answer_start(ticket, error),
                News::Verdict(verdict) => self.hear_verdict(verdict),
                News::NodeLost {
                    node, reason, killed, ..
                } => self.lose_node(&node, &reason, killed),
                _ => {}
            }
        }
    }

    fn fetch_agent(&mut self, node: &str, number: Option<u32>) {
        let started = self.lead.as_mut().and_then(|lead| lead.fetch_agent(node, number));
        if let Some(pid) = started {
            self.tree.add_stranger(pid);
        }
    }

    fn answer_start(&mut self, ticket: u64, error: Option<String>) {
        let Some(client) = self.lead.as_mut().and_then(|lead| lead.client(ticket)) else {
            return;
        };
        match error {
            None => clients::answer(client, &Reply::Accepted),
            Some(error) => clients::tell_failure(vec![client], &Failure::said(error)),
        }
    }

    fn hear_verdict(&mut self, verdict: Verdict) {
        const MOMENT: Duration = Duration::from_secs(5);
        // What this node has to do about it has been sent before.
        let deadline = Instant::now() + MOMENT;
        while self.lead.as_ref().is_some_and(|lead| lead.part.is_some()) && Instant::now() < deadline {
            self.take_steps(Duration::from_millis(10));
        }
        let Some(led) = self.led.take() else { return };
        let failure = match &verdict.outcome {
            Fate::Committed => {
                return self.report_success(led.order, summary(&verdict, led.begun, led.unix_seconds));
            }
            Fate::Refused(cause) => Failure::with_status(status::REFUSED, cause.to_string()),
            Fate::Failed(cause) | Fate::Unknown(cause) => Failure::said(cause.to_string()),
        };
        self.report_failure(verdict.generation, led.order, &failure);
    }

    fn lose_node(&mut self, node: &str, reason: &str, killed: bool) {
        if !killed {
            return message::warn(format!(
                "{node} was lost ({reason}): what runs elsewhere runs on, but no checkpoint can be taken any more"
            ));
        }
        let from = match &self.state.last {
            Some(last) => format!("go on from checkpoint {}", last.generation),
            None => "begin anew, as there was no checkpoint yet".to_string(),
        };
        message::warn(format!(
            "{node} was lost ({reason}): the computation is ended; run it again to {from}"
        ));
        self.lost = true;
        if let Err(error) = self.tree.kill() {
            message::warn(error);
        }
    }

    /// Ends what runs on other nodes.
    pub(super) fn stop_leading(&mut self) {
        if let Some(lead) = self.lead.take() {
            lead.end();
        }
        if let Some(led) = self.led.take() {
            clients::tell_failure(led.order.waiters, &Failure::Engine(rethaw_engine::Error::Ended));
        }
    }
}

/// Of all images together.
fn summary(verdict: &Verdict, begun: Instant, unix_seconds: i64) -> LastCheckpoint {
    let sum = |of: fn(&rethaw_cluster::Image) -> u64| verdict.images.iter().map(of).sum();
    let pause = verdict.images.iter().map(|image| image.pause_us).max();
    LastCheckpoint {
        generation: verdict.generation,
        unix_seconds,
        pause_ms: pause.unwrap_or(0) as f64 / 1e3,
        durable_ms: begun.elapsed().as_secs_f64() * 1e3,
        bytes: sum(|image| image.bytes),
        memory: sum(|image| image.memory),
    }
}
