//! A restart: as many agents as there are images, each rebuilds one, then all go.

use super::*;
use crate::message::{Go, NodeMove, Prepare};
use std::collections::BTreeSet;

/// Whether an image goes to an agent.
type Fits<'a> = &'a dyn Fn(&PlannedImage, Key, &Hello) -> bool;

/// Waits for agents.
#[derive(Debug)]
pub(super) struct Gather {
    plan: RestartPlan,
    pub(super) deadline: Duration,
}

/// Waits until all have rebuilt.
#[derive(Debug)]
pub(super) struct Rebuild {
    generation: u64,
    pub(super) deadline: Duration,
    parts: BTreeSet<Key>,
    pending: BTreeSet<Key>,
}

impl Coordinator {
    pub(super) fn restart(&mut self, plan: RestartPlan) {
        let numbers: BTreeSet<u32> = plan.images.iter().map(|image| image.agent).collect();
        if numbers.is_empty() || numbers.len() != plan.images.len() {
            let sentence = format!(
                "checkpoint {} does not have one image for each agent",
                plan.generation
            );
            self.tell(News::RestartFailed(Cause::general(sentence)));
        } else if matches!(self.phase, Phase::Idle) {
            let deadline = self.now + self.config.limits.gather;
            self.phase = Phase::Gather(Gather { plan, deadline });
        } else {
            self.tell(News::RestartFailed(Cause::general(
                "the computation runs, or has just ended",
            )));
        }
    }

    /// Begins to rebuild, if enough agents are there.
    pub(super) fn gathered(&mut self) {
        let Phase::Gather(gather) = &self.phase else {
            return;
        };
        let local_is_there =
            self.members.contains_key(&LOCAL) || self.joining.iter().any(|(key, _)| *key == LOCAL);
        if self.members.len() + self.joining.len() < gather.plan.images.len()
            || (self.config.local && !local_is_there)
        {
            return;
        }
        let Phase::Gather(Gather { plan, .. }) = std::mem::replace(&mut self.phase, Phase::Idle) else {
            return;
        };
        let members = std::mem::take(&mut self.members);
        let mut candidates: Vec<(Key, Hello)> =
            members.into_iter().map(|(key, one)| (key, one.hello)).collect();
        candidates.append(&mut self.joining);
        let nodes = self.assign(&plan, candidates);
        let parts: BTreeSet<Key> = self.members.keys().copied().collect();
        let prepare = Prepare {
            generation: plan.generation,
            nodes,
        };
        self.send(self.everybody(), Order::Prepare(prepare));
        self.phase = Phase::Prepare(Rebuild {
            generation: plan.generation,
            deadline: self.now + self.config.limits.prepare,
            pending: parts.clone(),
            parts,
        });
    }

    /// Gives every image to an agent: first to the one that wants it, then to one on the node where it was, then to
    /// anyone. Who gets none waits.
    fn assign(&mut self, plan: &RestartPlan, mut candidates: Vec<(Key, Hello)>) -> Vec<NodeMove> {
        let local = self.config.local;
        let mut takers: BTreeMap<u32, (Key, Hello)> = BTreeMap::new();
        let wants = |image: &PlannedImage, key: Key, hello: &Hello| match image.agent {
            0 if local => key == LOCAL,
            number => hello.agent == Some(number) && !(local && key == LOCAL),
        };
        let was_there = |image: &PlannedImage, key: Key, hello: &Hello| {
            hello.node == image.node && !(local && (image.agent == 0 || key == LOCAL))
        };
        let passes: [Fits<'_>; 3] = [&wants, &was_there, &|_, _, _| true];
        for fits in passes {
            for image in &plan.images {
                if takers.contains_key(&image.agent) {
                    continue;
                }
                let place = candidates
                    .iter()
                    .position(|(key, hello)| fits(image, *key, hello));
                if let Some(place) = place {
                    takers.insert(image.agent, candidates.remove(place));
                }
            }
        }
        self.joining = candidates;
        let mut moves = Vec::new();
        for image in &plan.images {
            let Some((key, hello)) = takers.remove(&image.agent) else {
                continue;
            };
            moves.push(NodeMove {
                agent: image.agent,
                old: image.addresses.clone(),
                new: hello.addresses.clone(),
                image: image.image.clone(),
                old_node: image.node.clone(),
                new_node: hello.node.clone(),
            });
            self.take_in(key, hello, image.agent);
        }
        moves.sort_by_key(|one| one.agent);
        moves
    }

    pub(super) fn prepared(&mut self, key: Key) {
        let Phase::Prepare(rebuild) = &mut self.phase else {
            return;
        };
        rebuild.pending.remove(&key);
        if rebuild.pending.is_empty() {
            let generation = rebuild.generation;
            let to = rebuild.parts.iter().copied().collect();
            self.phase = Phase::Idle;
            self.send(to, Order::Go(Go {}));
            self.tell(News::Restarted { generation });
        }
    }

    pub(super) fn rebuild_failed(&mut self, key: Key, sentence: &str) {
        if let (Phase::Prepare(_), Some(member)) = (&self.phase, self.members.get(&key)) {
            self.fail_restart(Cause::at(member.number, &member.hello.node, sentence));
        }
    }

    pub(super) fn left_rebuild(&mut self, member: &Member, what: &str) {
        self.fail_restart(Cause::at(member.number, &member.hello.node, what));
    }

    pub(super) fn gather_late(&mut self) {
        let Phase::Gather(gather) = &self.phase else {
            return;
        };
        let (there, wanted) = (self.members.len() + self.joining.len(), gather.plan.images.len());
        let limit = self.config.limits.gather.as_secs();
        let sentence = format!("{there} of {wanted} agents have joined within {limit} s");
        self.fail_restart(Cause::general(sentence));
    }

    pub(super) fn prepare_late(&mut self) {
        let Phase::Prepare(rebuild) = &self.phase else {
            return;
        };
        let member = rebuild.pending.first().and_then(|key| self.members.get(key));
        let limit = self.config.limits.prepare.as_secs();
        let sentence = format!("its image was not rebuilt within {limit} s");
        let cause = match member {
            Some(member) => Cause::at(member.number, &member.hello.node, sentence),
            None => Cause::general(sentence),
        };
        self.fail_restart(cause);
    }

    /// Nothing runs: all agents drop what they have rebuilt and leave.
    pub(super) fn fail_restart(&mut self, cause: Cause) {
        self.send_abort(self.everybody(), 0, &cause, true);
        self.end(&format!("the restart has failed: {cause}"));
        self.tell(News::RestartFailed(cause));
    }
}
