//! Programs that are started on a node because something elsewhere wants it: what ssh does for MPI launchers.

use super::*;
use crate::message::{Exited, ExitedOn, Start, Started, StartedOn};

/// All that were asked for and whose end is not known.
#[derive(Debug, Default)]
pub(super) struct Starts {
    last: u64,
    /// Not started yet.
    pending: BTreeMap<u64, Wish>,
    /// Started by this agent, for somebody.
    running: BTreeMap<u64, (Key, Asker)>,
    /// Something may be delivered that could not be before.
    fresh: bool,
}

#[derive(Debug)]
struct Wish {
    by: Asker,
    node: String,
    stage: Stage,
    until: Duration,
}

#[derive(Debug)]
enum Stage {
    /// For an agent of the node.
    Waits(Program),
    /// This agent has been told.
    Sent(Key),
}

impl Starts {
    pub(super) fn deadline(&self) -> Option<Duration> {
        self.pending.values().map(|wish| wish.until).min()
    }

    pub(super) fn look_again(&mut self) {
        self.fresh = true;
    }

    fn numbers(&self, is: impl Fn(&Wish) -> bool) -> Vec<u64> {
        let those = self.pending.iter().filter(|(_, wish)| is(wish));
        those.map(|(number, _)| *number).collect()
    }
}

impl Wish {
    fn waits(&self) -> bool {
        matches!(self.stage, Stage::Waits(_))
    }

    fn waits_for(&self, node: &str) -> bool {
        self.waits() && is_same_host(&self.node, node)
    }

    fn is_at(&self, key: Key) -> bool {
        matches!(self.stage, Stage::Sent(other) if other == key)
    }
}

/// What names of the same host have in common.
pub(super) fn host_label(node: &str) -> String {
    node.split('.').next().unwrap_or(node).to_ascii_lowercase()
}

/// Whether two names mean the same host: equal, or one of them without its domain.
fn is_same_host(one: &str, other: &str) -> bool {
    let same_label = host_label(one) == host_label(other);
    same_label && (one.eq_ignore_ascii_case(other) || !one.contains('.') || !other.contains('.'))
}

impl Coordinator {
    pub(super) fn start_on(&mut self, by: Asker, node: String, program: Program) {
        self.starts.last += 1;
        if self.find_node(&node).is_none() && !self.starts.pending.values().any(|wish| wish.waits_for(&node))
        {
            self.tell(News::Wanted { node: node.clone() });
        }
        let wish = Wish {
            by,
            node,
            stage: Stage::Waits(program),
            until: self.now + self.config.limits.wanted,
        };
        self.starts.pending.insert(self.starts.last, wish);
        self.starts.look_again();
    }

    fn find_node(&self, node: &str) -> Option<Key> {
        let is = |key: &&Key| {
            let member = self.members.get(key);
            member.is_some_and(|member| is_same_host(&member.hello.node, node))
        };
        self.by_host.get(&host_label(node))?.iter().find(is).copied()
    }

    /// Tells the agents that are there what to start.
    pub(super) fn deliver_starts(&mut self) {
        if !std::mem::take(&mut self.starts.fresh) {
            return;
        }
        for number in self.starts.numbers(Wish::waits) {
            let Some(wish) = self.starts.pending.get(&number) else {
                continue;
            };
            let Some(key) = self.find_node(&wish.node) else {
                continue;
            };
            let Some(wish) = self.starts.pending.get_mut(&number) else {
                continue;
            };
            wish.until = self.now + self.config.limits.start;
            if let Stage::Waits(program) = std::mem::replace(&mut wish.stage, Stage::Sent(key)) {
                let start = Start {
                    ticket: number,
                    command: program.command,
                    environment: program.environment,
                    folder: program.folder,
                };
                self.send(vec![key], Order::Start(start));
            }
        }
    }

    pub(super) fn started(&mut self, key: Key, started: Started) {
        let number = started.ticket;
        if !self
            .starts
            .pending
            .get(&number)
            .is_some_and(|wish| wish.is_at(key))
        {
            return;
        }
        let Some(wish) = self.starts.pending.remove(&number) else {
            return;
        };
        if started.error.is_none() {
            self.starts.running.insert(number, (key, wish.by));
        }
        self.answer_start(wish.by, started.error);
    }

    pub(super) fn exited(&mut self, key: Key, exited: Exited) {
        match self.starts.running.get(&exited.ticket) {
            Some((other, by)) if *other == key => {
                let by = *by;
                self.starts.running.remove(&exited.ticket);
                self.answer_exit(by, Some(exited.status));
            }
            _ => (),
        }
    }

    pub(super) fn unreachable(&mut self, node: &str, sentence: &str) {
        for number in self.starts.numbers(|wish| wish.waits_for(node)) {
            self.fail_start(number, sentence);
        }
    }

    pub(super) fn fail_starts(&mut self, sentence: &str) {
        for number in self.starts.numbers(Wish::waits) {
            self.fail_start(number, sentence);
        }
    }

    pub(super) fn expire_starts(&mut self) {
        let now = self.now;
        for number in self.starts.numbers(|wish| wish.until <= now) {
            let Some(wish) = self.starts.pending.get(&number) else {
                continue;
            };
            let sentence = match wish.stage {
                Stage::Sent(_) => format!("{} has not started the program in time", wish.node),
                Stage::Waits(_) => format!("no agent of {} has joined in time", wish.node),
            };
            self.fail_start(number, &sentence);
        }
    }

    /// An agent is gone, and what it ran or was about to.
    pub(super) fn starts_lost(&mut self, key: Key, node: &str) {
        let ran = self.starts.running.extract_if(.., |_, (other, _)| *other == key);
        let ran: Vec<Asker> = ran.map(|(_, (_, by))| by).collect();
        for by in ran {
            self.answer_exit(by, None);
        }
        for number in self.starts.numbers(|wish| wish.is_at(key)) {
            self.fail_start(number, &format!("the agent on {node} is gone"));
        }
    }

    fn fail_start(&mut self, number: u64, sentence: &str) {
        if let Some(wish) = self.starts.pending.remove(&number) {
            self.answer_start(wish.by, Some(sentence.to_string()));
        }
    }

    fn answer_start(&mut self, by: Asker, error: Option<String>) {
        match by {
            Asker::User(ticket) => self.tell(News::Started { ticket, error }),
            Asker::Agent(key, ticket) if self.members.contains_key(&key) => {
                self.send(vec![key], Order::StartedOn(StartedOn { ticket, error }));
            }
            Asker::Agent(..) => (),
        }
    }

    fn answer_exit(&mut self, by: Asker, status: Option<i32>) {
        match by {
            Asker::User(ticket) => self.tell(News::Exited { ticket, status }),
            Asker::Agent(key, ticket) if self.members.contains_key(&key) => {
                self.send(vec![key], Order::ExitedOn(ExitedOn { ticket, status }));
            }
            Asker::Agent(..) => (),
        }
    }
}
