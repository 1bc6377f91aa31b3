//! Agents come and go.

use super::*;
use crate::message::{Abort, Refused, VERSION, Welcome};

/// Numbers that agents may want are below; more agents than that never come.
const MAX_NUMBER: u32 = 1 << 24;

/// An agent that is one of the computation.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) number: u32,
    pub(super) hello: Hello,
}

impl Member {
    pub(super) fn node(&self) -> Node {
        Node {
            agent: self.number,
            node: self.hello.node.clone(),
            addresses: self.hello.addresses.clone(),
        }
    }
}

impl Coordinator {
    pub(super) fn joined(&mut self, key: Key, hello: Hello) {
        if hello.version != VERSION {
            let sentence = format!(
                "the agent on {} speaks version {} of the protocol and this coordinator version {VERSION}: use the \
                 same rethaw everywhere",
                hello.node, hello.version
            );
            self.refuse(key, &sentence);
        } else {
            self.joining.push((key, hello));
        }
    }

    pub(super) fn refuse(&mut self, key: Key, sentence: &str) {
        let sentence = sentence.to_string();
        self.send(vec![key], Order::Refused(Refused { sentence }));
        self.actions.push(Action::Close(key));
    }

    pub(super) fn welcome(&mut self, key: Key, hello: Hello) {
        let number = self.free_number(key, hello.agent);
        self.take_in(key, hello, number);
    }

    pub(super) fn take_in(&mut self, key: Key, hello: Hello, number: u32) {
        self.lost.remove(&number);
        self.numbers.insert(number);
        self.next_number = self.next_number.max(number + 1);
        let member = Member { number, hello };
        let place = self
            .by_host
            .entry(start::host_label(&member.hello.node))
            .or_default();
        place.push(key);
        self.starts.look_again();
        self.tell(News::Joined(member.node()));
        self.members.insert(key, member);
        let welcome = Welcome {
            agent: number,
            computation: self.config.computation.clone(),
        };
        self.send(vec![key], Order::Welcome(welcome));
    }

    /// The wanted number if nobody has it, else one that nobody has had.
    fn free_number(&self, key: Key, wanted: Option<u32>) -> u32 {
        let reserved = self.config.local && key != LOCAL;
        let is_free = |number: &u32| {
            *number < MAX_NUMBER && !self.numbers.contains(number) && !(reserved && *number == 0)
        };
        match wanted {
            _ if key == LOCAL && self.config.local => 0,
            wanted => wanted.filter(is_free).unwrap_or(self.next_number),
        }
    }

    /// From a connection that is not a member (any more): only a farewell matters.
    pub(super) fn stranger_says(&mut self, key: Key, report: Report) {
        let Some(place) = self.joining.iter().position(|(other, _)| *other == key) else {
            return;
        };
        if let Report::Ended(_) = report {
            self.joining.remove(place);
            self.actions.push(Action::Close(key));
        }
    }

    /// An agent has left by itself.
    pub(super) fn ended(&mut self, key: Key, status: Option<i32>) {
        let Some(member) = self.remove(key) else { return };
        self.actions.push(Action::Close(key));
        self.tell(News::Ended {
            agent: member.number,
            node: member.hello.node.clone(),
            status,
        });
        match self.phase {
            Phase::Checkpoint(_) => self.left_checkpoint(key, &member),
            Phase::Prepare(_) => self.left_rebuild(&member, "its agent has ended"),
            Phase::Idle | Phase::Retry(_) | Phase::Gather(_) | Phase::Over { .. } => (),
        }
    }

    /// An agent is gone without a word.
    pub(super) fn lose(&mut self, key: Key, reason: &str) {
        self.joining.retain(|(other, _)| *other != key);
        let Some(member) = self.remove(key) else { return };
        let killed = match self.phase {
            Phase::Checkpoint(_) => {
                self.lost_in_checkpoint(key, &member, reason);
                false
            }
            Phase::Retry(_) => {
                let sentence = format!("its agent was lost: {reason}");
                self.give_up_retry(Cause::at(member.number, &member.hello.node, sentence));
                false
            }
            Phase::Prepare(_) => return self.left_rebuild(&member, &format!("its agent was lost: {reason}")),
            // Others may come, or come again.
            Phase::Gather(_) => return,
            Phase::Over { .. } => return,
            Phase::Idle => true,
        };
        let node = member.hello.node.clone();
        self.tell(News::NodeLost {
            agent: member.number,
            node: node.clone(),
            reason: reason.to_string(),
            killed,
        });
        if killed {
            self.kill_now(&format!("{node} was lost: {reason}"));
        } else {
            self.lost.insert(member.number, node);
        }
    }

    fn remove(&mut self, key: Key) -> Option<Member> {
        let member = self.members.remove(&key)?;
        self.numbers.remove(&member.number);
        if let Some(place) = self.by_host.get_mut(&start::host_label(&member.hello.node)) {
            place.retain(|other| *other != key);
        }
        self.starts_lost(key, &member.hello.node);
        Some(member)
    }

    /// Everything is to end. A manifest that is being written is waited for.
    pub(super) fn kill(&mut self) {
        self.kill_wanted = true;
    }

    pub(super) fn kill_now(&mut self, why: &str) {
        match &self.phase {
            Phase::Over { .. } => return,
            Phase::Checkpoint(_) => self.abort(Outcome::Failed(Cause::general(why))),
            Phase::Retry(_) => self.give_up_retry(Cause::general(why)),
            Phase::Gather(_) | Phase::Prepare(_) => return self.fail_restart(Cause::general(why)),
            Phase::Idle => (),
        }
        self.send(self.everybody(), Order::Kill(Kill {}));
        self.end(why);
    }

    /// Nothing begins any more; agents are expected to leave.
    pub(super) fn end(&mut self, why: &str) {
        self.phase = Phase::Over {
            why: why.to_string(),
            deadline: Some(self.now + self.config.limits.kill),
        };
    }

    pub(super) fn kill_late(&mut self) {
        let mut silent = Vec::new();
        for key in self.everybody() {
            silent.extend(self.remove(key).map(|member| member.hello.node));
            self.actions.push(Action::Close(key));
        }
        self.tell(News::Over { silent });
        if let Phase::Over { deadline, .. } = &mut self.phase {
            *deadline = None;
        }
    }

    pub(super) fn send_abort(&mut self, to: Vec<Key>, attempt: u64, cause: &Cause, keep_image: bool) {
        let abort = Abort {
            attempt,
            sentence: cause.sentence.clone(),
            agent: cause.place.as_ref().map(|(agent, _)| *agent),
            keep_image,
            node: cause
                .place
                .as_ref()
                .map(|(_, node)| node.clone())
                .unwrap_or_default(),
        };
        self.send(to, Order::Abort(abort));
    }
}
