//! A restart: as many agents as there are images, each rebuilds one, then all go.

use super::*;
use crate::message::{Go, NodeMove, Prepare};

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
        self.numbers.clear();
        self.by_host.clear();
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

    /// Gives every image to an agent. Who gets none waits.
    fn assign(&mut self, plan: &RestartPlan, candidates: Vec<(Key, Hello)>) -> Vec<NodeMove> {
        let mut pool: BTreeMap<Key, Hello> = candidates.into_iter().collect();
        let takers = choose(plan, &pool, self.config.local);
        let mut moves = Vec::new();
        for (image, key) in takers {
            let Some(hello) = pool.remove(&key) else { continue };
            // The list goes to everybody: what stays where it was is left out.
            let stays = image.addresses.iter().all(|old| hello.addresses.contains(old));
            let moved = |addresses: &Vec<String>| if stays { Vec::new() } else { addresses.clone() };
            moves.push(NodeMove {
                agent: image.agent,
                old: moved(&image.addresses),
                new: moved(&hello.addresses),
                image: image.image.clone(),
                old_node: image.node.clone(),
                new_node: hello.node.clone(),
            });
            self.take_in(key, hello, image.agent);
        }
        for (key, hello) in &pool {
            // It may have been one already; whatever it runs is none of this computation any more.
            self.starts_lost(*key, &hello.node);
        }
        self.joining = pool.into_iter().collect();
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

/// Which image goes to whom: first to the agent that wants it, then to one on the node where it was, then to anyone.
/// With a `local` agent, this one wants image 0 and nobody else gets that.
fn choose<'a>(
    plan: &'a RestartPlan,
    pool: &BTreeMap<Key, Hello>,
    local: bool,
) -> Vec<(&'a PlannedImage, Key)> {
    let mut wishes: HashMap<u32, Key> = HashMap::new();
    let mut there: HashMap<&str, Vec<Key>> = HashMap::new();
    for (key, hello) in pool.iter().rev() {
        let wish = match (local, *key == LOCAL) {
            (true, true) => Some(0),
            (true, false) => hello.agent.filter(|number| *number != 0),
            (false, _) => hello.agent,
        };
        wish.map(|number| wishes.insert(number, *key));
        there.entry(&hello.node).or_default().push(*key);
    }
    let mut free: BTreeSet<Key> = pool.keys().copied().collect();
    let mut takers = Vec::new();
    let mut left: Vec<&PlannedImage> = Vec::new();
    for image in &plan.images {
        match wishes.get(&image.agent) {
            Some(key) if free.remove(key) => takers.push((image, *key)),
            _ => left.push(image),
        }
    }
    let mut homeless: Vec<&PlannedImage> = Vec::new();
    for image in left {
        let keys = there.get_mut(image.node.as_str());
        match keys.and_then(|keys| std::iter::from_fn(|| keys.pop()).find(|key| free.remove(key))) {
            Some(key) => takers.push((image, key)),
            None => homeless.push(image),
        }
    }
    takers.extend(homeless.into_iter().zip(free));
    takers
}
