//! Programs that are started on a node because something elsewhere wants it: what ssh does for MPI launchers.

use super::*;
use crate::message::{Exited, ExitedOn, Start, Started, StartedOn};

/// All that were asked for and whose end is not known.
#[derive(Debug, Default)]
pub(super) struct Starts {
    last: u64,
    all: BTreeMap<u64, Wish>,
}

#[derive(Debug)]
struct Wish {
    by: Asker,
    node: String,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    /// For an agent of the node, until then.
    Waits(Program, Duration),
    /// This agent has been told, and has until then.
    Sent(Key, Duration),
    /// This agent has started it.
    Runs(Key),
}

impl Starts {
    pub(super) fn deadline(&self) -> Option<Duration> {
        let deadline = |wish: &Wish| match wish.stage {
            Stage::Waits(_, until) | Stage::Sent(_, until) => Some(until),
            Stage::Runs(_) => None,
        };
        self.all.values().filter_map(deadline).min()
    }

    fn numbers(&self, is: impl Fn(&Wish) -> bool) -> Vec<u64> {
        let those = self.all.iter().filter(|(_, wish)| is(wish));
        those.map(|(number, _)| *number).collect()
    }
}

/// Whether two names mean the same host: equal, or one is the other without its domain.
fn is_same_host(one: &str, other: &str) -> bool {
    let (long, short) = if one.len() >= other.len() {
        (one, other)
    } else {
        (other, one)
    };
    match long.get(..short.len()) {
        Some(begin) if begin.eq_ignore_ascii_case(short) => {
            let rest = &long[short.len()..];
            rest.is_empty() || (rest.starts_with('.') && !short.is_empty() && !short.contains('.'))
        }
        _ => false,
    }
}

impl Coordinator {
    pub(super) fn start_on(&mut self, by: Asker, node: String, program: Program) {
        self.starts.last += 1;
        if self.find_node(&node).is_none() && !self.starts.all.values().any(|wish| wish.waits_for(&node)) {
            self.tell(News::Wanted { node: node.clone() });
        }
        let stage = Stage::Waits(program, self.now + self.config.limits.wanted);
        self.starts.all.insert(self.starts.last, Wish { by, node, stage });
    }

    fn find_node(&self, node: &str) -> Option<Key> {
        let is = |member: &Member| is_same_host(&member.hello.node, node);
        self.members
            .iter()
            .find(|(_, member)| is(member))
            .map(|(key, _)| *key)
    }

    /// Tells the agents that are there what to start.
    pub(super) fn deliver_starts(&mut self) {
        for number in self.starts.numbers(|wish| matches!(wish.stage, Stage::Waits(..))) {
            let Some(wish) = self.starts.all.get(&number) else {
                continue;
            };
            let Some(key) = self.find_node(&wish.node) else {
                continue;
            };
            let until = self.now + self.config.limits.start;
            let Some(wish) = self.starts.all.get_mut(&number) else {
                continue;
            };
            if let Stage::Waits(program, _) = std::mem::replace(&mut wish.stage, Stage::Sent(key, until)) {
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
        let Some(wish) = self.starts.all.get_mut(&started.ticket) else {
            return;
        };
        if !matches!(wish.stage, Stage::Sent(other, _) if other == key) {
            return;
        }
        wish.stage = Stage::Runs(key);
        let by = wish.by;
        if started.error.is_some() {
            self.starts.all.remove(&started.ticket);
        }
        self.answer_start(by, started.error);
    }

    pub(super) fn exited(&mut self, key: Key, exited: Exited) {
        let wish = self.starts.all.get(&exited.ticket);
        let Some(by) = wish.filter(|wish| wish.runs_at(key)).map(|wish| wish.by) else {
            return;
        };
        self.starts.all.remove(&exited.ticket);
        self.answer_exit(by, Some(exited.status));
    }

    pub(super) fn unreachable(&mut self, node: &str, sentence: &str) {
        for number in self.starts.numbers(|wish| wish.waits_for(node)) {
            self.fail_start(number, sentence);
        }
    }

    pub(super) fn fail_starts(&mut self, sentence: &str) {
        for number in self.starts.numbers(|wish| matches!(wish.stage, Stage::Waits(..))) {
            self.fail_start(number, sentence);
        }
    }

    pub(super) fn expire_starts(&mut self) {
        let now = self.now;
        let late = |wish: &Wish| match wish.stage {
            Stage::Waits(_, until) | Stage::Sent(_, until) => until <= now,
            Stage::Runs(_) => false,
        };
        for number in self.starts.numbers(late) {
            let Some(wish) = self.starts.all.get(&number) else {
                continue;
            };
            let sentence = match wish.stage {
                Stage::Sent(..) => format!("{} has not started the program in time", wish.node),
                _ => format!("no agent of {} has joined in time", wish.node),
            };
            self.fail_start(number, &sentence);
        }
    }

    /// An agent is gone, and what it ran or was about to.
    pub(super) fn starts_lost(&mut self, key: Key, node: &str) {
        for number in self.starts.numbers(|wish| wish.runs_at(key)) {
            if let Some(wish) = self.starts.all.remove(&number) {
                self.answer_exit(wish.by, None);
            }
        }
        for number in self
            .starts
            .numbers(|wish| matches!(wish.stage, Stage::Sent(other, _) if other == key))
        {
            self.fail_start(number, &format!("the agent on {node} is gone"));
        }
    }

    fn fail_start(&mut self, number: u64, sentence: &str) {
        if let Some(wish) = self.starts.all.remove(&number) {
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

impl Wish {
    fn waits_for(&self, node: &str) -> bool {
        matches!(self.stage, Stage::Waits(..)) && is_same_host(&self.node, node)
    }

    fn runs_at(&self, key: Key) -> bool {
        matches!(self.stage, Stage::Runs(other) if other == key)
    }
}
