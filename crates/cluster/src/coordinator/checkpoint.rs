//! A checkpoint: freeze → drain → collect → write → commit, each a barrier of all agents.

use super::matching::{Side, matched};
use super::*;
use crate::message::{
    Collect, Commit, Done, Drain, End, Failed, Freeze, Frozen, Image, Passing, Resume, Written,
};

/// One attempt at a checkpoint.
#[derive(Debug)]
pub(super) struct Attempt {
    number: u64,
    generation: u64,
    asked: Asked,
    /// When an attempt at this checkpoint first met something that passes.
    first_passing: Option<Duration>,
    stage: Stage,
    pub(super) deadline: Option<Duration>,
    /// Who takes part and has not left.
    parts: BTreeSet<Key>,
    /// Who has not answered in this stage.
    pending: BTreeSet<Key>,
    ends: BTreeMap<Key, Vec<End>>,
    /// The number of each one's image, also of those that have left.
    places: BTreeMap<Key, u32>,
    /// Durable images by number.
    images: BTreeMap<u32, Image>,
    /// Who writes the manifest.
    committer: Option<Key>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Freeze,
    Drain,
    Collect,
    Write,
    Commit,
}

/// A checkpoint that is tried anew in a moment.
#[derive(Debug)]
pub(super) struct Retry {
    pub(super) at: Duration,
    asked: Asked,
    first_passing: Option<Duration>,
}

impl Attempt {
    pub(super) fn is_committing(&self) -> bool {
        self.stage == Stage::Commit
    }

    fn has_image(&self, key: Key) -> bool {
        self.places
            .get(&key)
            .is_some_and(|image| self.images.contains_key(image))
    }

    /// Whether the programs run on while the rest is done.
    pub(super) fn runs_again(&self) -> bool {
        matches!(self.stage, Stage::Write | Stage::Commit) && !self.asked.stop
    }
}

impl Coordinator {
    pub(super) fn begin_asked(&mut self) {
        let asked = std::mem::take(&mut self.asked);
        self.begin(asked, None);
    }

    fn begin(&mut self, asked: Asked, first_passing: Option<Duration>) {
        if let Some(node) = self.lost.values().next() {
            let sentence = format!("{node} was lost: its part of the computation cannot be saved");
            return self.answer_without_attempt(asked, Cause::general(sentence));
        }
        if self.members.is_empty() {
            let cause = Cause::general("there is nothing to save: no agent is there");
            return self.answer_without_attempt(asked, cause);
        }
        self.attempt += 1;
        let parts: BTreeSet<Key> = self.members.keys().copied().collect();
        let places = self.places();
        self.tell(News::Began {
            attempt: self.attempt,
            generation: self.generation,
            agents: parts.len() as u32,
        });
        for (key, image) in &places {
            let freeze = Freeze {
                attempt: self.attempt,
                generation: self.generation,
                stop: asked.stop,
                image: *image,
                images: parts.len() as u32,
            };
            self.send(vec![*key], Order::Freeze(freeze));
        }
        self.phase = Phase::Checkpoint(Attempt {
            number: self.attempt,
            generation: self.generation,
            asked,
            first_passing,
            stage: Stage::Freeze,
            deadline: Some(self.now + self.config.limits.freeze),
            pending: parts.clone(),
            parts,
            ends: BTreeMap::new(),
            places,
            images: BTreeMap::new(),
            committer: None,
        });
    }

    /// Numbers for images, in the order of the agents' numbers.
    fn places(&self) -> BTreeMap<Key, u32> {
        let mut keys: Vec<(u32, Key)> = self.members.iter().map(|(key, one)| (one.number, *key)).collect();
        keys.sort_unstable();
        keys.into_iter().map(|(_, key)| key).zip(0..).collect()
    }

    /// The attempt under way, if this agent takes part in it and means it.
    fn current(&mut self, key: Key, attempt: u64) -> Option<&mut Attempt> {
        match &mut self.phase {
            Phase::Checkpoint(current) if current.number == attempt && current.parts.contains(&key) => {
                Some(current)
            }
            _ => None,
        }
    }

    /// Notes an answer. Whether it is the expected one, and new.
    fn note(&mut self, key: Key, attempt: u64, stage: Stage) -> bool {
        let Some(current) = self.current(key, attempt) else {
            return false;
        };
        if current.stage == stage {
            return current.pending.remove(&key);
        }
        if !current.is_committing() {
            let cause = self.cause(key, "its agent answered out of turn");
            self.abort(Outcome::Failed(cause));
        }
        false
    }

    /// Goes to the next stage if all have answered in this one.
    fn advance(&mut self) {
        let limits = self.config.limits;
        let Phase::Checkpoint(current) = &mut self.phase else {
            return;
        };
        if !current.pending.is_empty() {
            return;
        }
        current.pending.clone_from(&current.parts);
        let attempt = current.number;
        let to: Vec<Key> = current.parts.iter().copied().collect();
        let (stage, limit) = match current.stage {
            Stage::Freeze => (Stage::Drain, Some(limits.drain)),
            Stage::Drain => (Stage::Collect, Some(limits.collect)),
            Stage::Collect => (Stage::Write, None),
            Stage::Write | Stage::Commit => (Stage::Commit, Some(limits.commit)),
        };
        current.stage = stage;
        current.deadline = limit.map(|limit| self.now + limit);
        match stage {
            Stage::Freeze => (),
            Stage::Drain => self.send_drain(),
            Stage::Collect => self.send(to, Order::Collect(Collect { attempt })),
            Stage::Write => {
                let generation = current.generation;
                self.send(to, Order::Resume(Resume { attempt }));
                self.tell(News::Writing { generation });
            }
            Stage::Commit => self.send_commit(),
        }
    }

    pub(super) fn frozen(&mut self, key: Key, frozen: Frozen) {
        if self.note(key, frozen.attempt, Stage::Freeze) {
            if let Some(current) = self.current(key, frozen.attempt) {
                current.ends.insert(key, frozen.ends);
            }
            self.advance();
        }
    }

    fn send_drain(&mut self) {
        let Phase::Checkpoint(current) = &mut self.phase else {
            return;
        };
        let attempt = current.number;
        let ends = std::mem::take(&mut current.ends);
        // Whoever takes part is a member.
        let sides: Vec<Side<'_>> = ends
            .iter()
            .filter_map(|(key, ends)| {
                let member = self.members.get(key)?;
                Some(Side {
                    agent: member.number,
                    hello: &member.hello,
                    ends,
                })
            })
            .collect();
        let inside = matched(&sides);
        for (key, inside) in ends.into_keys().zip(inside) {
            self.send(vec![key], Order::Drain(Drain { attempt, inside }));
        }
    }

    pub(super) fn drained(&mut self, key: Key, attempt: u64) {
        if self.note(key, attempt, Stage::Drain) {
            self.advance();
        }
    }

    pub(super) fn collected(&mut self, key: Key, attempt: u64) {
        if self.note(key, attempt, Stage::Collect) {
            self.advance();
        }
    }

    pub(super) fn written(&mut self, key: Key, written: Written) {
        if !self.note(key, written.attempt, Stage::Write) {
            return;
        }
        let Some(member) = self.members.get(&key) else {
            return;
        };
        let mut image = Image {
            image: 0,
            agent: member.number,
            node: member.hello.node.clone(),
            addresses: member.hello.addresses.clone(),
            bytes: written.bytes,
            memory: written.memory,
            pause_us: written.pause_us,
            header_checksum: written.header_checksum,
        };
        if let Some(current) = self.current(key, written.attempt) {
            image.image = current.places.get(&key).copied().unwrap_or_default();
            current.images.insert(image.image, image);
        }
        self.advance();
    }

    fn send_commit(&mut self) {
        let Phase::Checkpoint(current) = &mut self.phase else {
            return;
        };
        let number = |key: &Key| self.members.get(key).map(|member| member.number);
        // Not empty: who has written last has not left.
        let committer = current.parts.iter().copied().min_by_key(number);
        current.committer = committer;
        let commit = Commit {
            attempt: current.number,
            generation: current.generation,
            images: current.images.values().cloned().collect(),
        };
        self.send(committer.into_iter().collect(), Order::Commit(commit));
    }

    pub(super) fn committed(&mut self, key: Key, attempt: u64) {
        let is_expected = |current: &mut Attempt| current.committer == Some(key);
        if self.current(key, attempt).is_some_and(is_expected) {
            self.done();
        } else if let Some((unknown, generation)) = self.unknown
            && unknown == attempt
        {
            self.unknown = None;
            self.tell(News::Late { generation });
        }
    }

    fn done(&mut self) {
        let Some(current) = self.take_attempt() else {
            return;
        };
        let (attempt, generation) = (current.number, current.generation);
        self.generation = generation + 1;
        let to = current.parts.iter().copied().collect();
        self.send(to, Order::Done(Done { attempt, generation }));
        let stop = current.asked.stop;
        self.conclude(current, Outcome::Committed);
        if stop {
            self.end(&format!(
                "the computation was stopped after checkpoint {generation}"
            ));
        }
    }

    fn take_attempt(&mut self) -> Option<Attempt> {
        match std::mem::replace(&mut self.phase, Phase::Idle) {
            Phase::Checkpoint(current) => Some(current),
            other => {
                self.phase = other;
                None
            }
        }
    }

    fn conclude(&mut self, current: Attempt, outcome: Outcome) {
        let verdict = Verdict {
            attempt: current.number,
            generation: current.generation,
            tickets: current.asked.tickets(),
            stop: current.asked.stop,
            outcome,
            images: current.images.into_values().collect(),
        };
        self.answer(&current.asked, verdict);
    }

    /// Tells all who take part that the attempt is over.
    fn dissolve(&mut self, cause: &Cause, keep_image: bool) -> Option<Attempt> {
        let current = self.take_attempt()?;
        // A number is used again only if no agent was told to write under it.
        if matches!(current.stage, Stage::Write | Stage::Commit) {
            self.generation = current.generation + 1;
        }
        let to = current.parts.iter().copied().collect();
        self.send_abort(to, current.number, cause, keep_image);
        Some(current)
    }

    pub(super) fn abort(&mut self, outcome: Outcome) {
        let (cause, keep) = match &outcome {
            Outcome::Refused(cause) | Outcome::Failed(cause) => (cause.clone(), false),
            Outcome::Unknown(cause) => (cause.clone(), true),
            Outcome::Committed => return,
        };
        let Some(current) = self.dissolve(&cause, keep) else {
            return;
        };
        if keep {
            self.unknown = Some((current.number, current.generation));
        }
        self.conclude(current, outcome);
    }

    fn abort_and_retry(&mut self, cause: &Cause, first_passing: Option<Duration>) {
        let Some(current) = self.dissolve(cause, false) else {
            return;
        };
        self.phase = Phase::Retry(Retry {
            at: self.now + self.config.limits.pause,
            asked: current.asked,
            first_passing,
        });
    }

    pub(super) fn try_again(&mut self) {
        match std::mem::replace(&mut self.phase, Phase::Idle) {
            Phase::Retry(retry) => self.begin(retry.asked, retry.first_passing),
            other => self.phase = other,
        }
    }

    pub(super) fn give_up_retry(&mut self, cause: Cause) {
        match std::mem::replace(&mut self.phase, Phase::Idle) {
            Phase::Retry(retry) => self.answer_without_attempt(retry.asked, cause),
            other => self.phase = other,
        }
    }

    pub(super) fn passing(&mut self, key: Key, passing: Passing) {
        let now = self.now;
        let Some(current) = self.current(key, passing.attempt) else {
            return;
        };
        if current.is_committing() {
            return;
        }
        let first = current.first_passing.unwrap_or(now);
        let cause = self.cause(key, &passing.sentence);
        if now - first < self.config.limits.passing {
            self.abort_and_retry(&cause, Some(first));
        } else {
            self.abort(Outcome::Refused(cause));
        }
    }

    pub(super) fn failed(&mut self, key: Key, failed: Failed) {
        if failed.attempt == 0 {
            return self.rebuild_failed(key, &failed.sentence);
        }
        let Some(current) = self.current(key, failed.attempt) else {
            return;
        };
        // An image that was durable stays so.
        if current.is_committing() && current.committer != Some(key) {
            return;
        }
        let cause = self.cause(key, &failed.sentence);
        self.abort(if failed.refused {
            Outcome::Refused(cause)
        } else {
            Outcome::Failed(cause)
        });
    }

    pub(super) fn checkpoint_late(&mut self) {
        let limits = self.config.limits;
        let Phase::Checkpoint(current) = &self.phase else {
            return;
        };
        let (what, limit) = match current.stage {
            Stage::Freeze => ("have its processes stand still", limits.freeze),
            Stage::Drain => ("settle what was on the wire", limits.drain),
            Stage::Collect => ("collect the state of its processes", limits.collect),
            Stage::Commit => {
                let key = current.committer.unwrap_or(LOCAL);
                let limit = limits.commit.as_secs();
                let cause = self.cause(key, &format!("the manifest was not written within {limit} s"));
                return self.abort(Outcome::Unknown(cause));
            }
            Stage::Write => return,
        };
        let others = match current.pending.len() {
            0 | 1 => String::new(),
            2 => ", nor did another".to_string(),
            count => format!(", nor did {} others", count - 1),
        };
        let Some(key) = current.pending.first().copied() else {
            return;
        };
        let cause = self.cause(
            key,
            &format!("it did not {what} within {} s{others}", limit.as_secs()),
        );
        self.abort(Outcome::Failed(cause));
    }

    /// An agent that takes part has left by itself.
    pub(super) fn left_checkpoint(&mut self, key: Key, member: &Member) {
        let place = |sentence: &str| Cause::at(member.number, &member.hello.node, sentence);
        let Some(current) = self.leave(key) else { return };
        match current.stage {
            Stage::Commit if current.committer == Some(key) => {
                self.abort(Outcome::Unknown(place(
                    "its agent left before it said that the manifest is written",
                )));
            }
            Stage::Write if current.has_image(key) => (),
            Stage::Commit => (),
            _ => {
                let first = current.first_passing;
                self.abort_and_retry(&place("its processes have ended"), first);
            }
        }
    }

    /// An agent was lost while an attempt is under way.
    pub(super) fn lost_in_checkpoint(&mut self, key: Key, member: &Member, reason: &str) {
        let place = |sentence: String| Cause::at(member.number, &member.hello.node, sentence);
        let Some(current) = self.leave(key) else { return };
        match current.stage {
            Stage::Commit if current.committer == Some(key) => {
                let sentence = format!("its agent was lost while it wrote the manifest: {reason}");
                self.abort(Outcome::Unknown(place(sentence)));
            }
            Stage::Commit => (),
            _ => self.abort(Outcome::Failed(place(format!("its agent was lost: {reason}")))),
        }
    }

    /// Takes an agent out of the attempt, if it takes part.
    fn leave(&mut self, key: Key) -> Option<&mut Attempt> {
        let Phase::Checkpoint(current) = &mut self.phase else {
            return None;
        };
        current.pending.remove(&key);
        current.parts.remove(&key).then_some(current)
    }

    fn cause(&self, key: Key, sentence: &str) -> Cause {
        match self.members.get(&key) {
            Some(member) => Cause::at(member.number, &member.hello.node, sentence),
            None => Cause::general(sentence),
        }
    }
}
