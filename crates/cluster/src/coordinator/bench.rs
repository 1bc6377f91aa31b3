//! For tests: a coordinator, and what it has done last.

#![allow(clippy::unwrap_used, clippy::panic)]

use super::*;
use crate::message::VERSION;

pub(super) struct Bench {
    pub(super) coordinator: Coordinator,
    now: Duration,
    pub(super) last: Vec<Action>,
}

pub(super) fn hello(node: &str, agent: Option<u32>) -> Hello {
    Hello {
        version: VERSION,
        node: node.to_string(),
        boot_id: format!("boot of {node}"),
        addresses: vec![format!("address of {node}")],
        agent,
    }
}

impl Bench {
    pub(super) fn new() -> Bench {
        Bench::with(Config::new("c", 5))
    }

    pub(super) fn with(config: Config) -> Bench {
        Bench {
            coordinator: Coordinator::new(config),
            now: Duration::ZERO,
            last: Vec::new(),
        }
    }

    /// With the local agent on `n0`, and others on `n1` and so on, which have been welcomed.
    pub(super) fn of(agents: u64) -> Bench {
        let mut bench = Bench::new();
        for key in 0..agents {
            bench.join(key, &format!("n{key}"), None);
        }
        bench
    }

    pub(super) fn event(&mut self, event: Event) -> &mut Bench {
        self.last = self.coordinator.handle(self.now, event);
        self
    }

    pub(super) fn join(&mut self, key: u64, node: &str, agent: Option<u32>) -> &mut Bench {
        self.event(Event::Joined(Key(key), hello(node, agent)))
    }

    pub(super) fn say(&mut self, key: u64, report: Report) -> &mut Bench {
        self.event(Event::Received(Key(key), report))
    }

    pub(super) fn all_say(&mut self, agents: u64, report: &Report) -> &mut Bench {
        for key in 0..agents {
            self.say(key, report.clone());
        }
        self
    }

    pub(super) fn lose(&mut self, key: u64) -> &mut Bench {
        self.event(Event::Lost(Key(key), "it is gone".to_string()))
    }

    pub(super) fn request(&mut self, ticket: u64, stop: bool) -> &mut Bench {
        let why = String::new();
        self.event(Event::Command(Command::Request { ticket, stop, why }))
    }

    pub(super) fn pass(&mut self, time: Duration) -> &mut Bench {
        self.now += time;
        self.event(Event::Tick)
    }

    /// Who gets an order of this kind in the last step.
    pub(super) fn told(&self, is: impl Fn(&Order) -> bool) -> Vec<u64> {
        let sent = self.last.iter().filter_map(|action| match action {
            Action::Send(to, order) if is(order) => Some(to),
            _ => None,
        });
        sent.flatten().map(|key| key.0).collect()
    }

    pub(super) fn orders(&self, key: u64) -> Vec<&Order> {
        let sent = self.last.iter().filter_map(|action| match action {
            Action::Send(to, order) if to.contains(&Key(key)) => Some(order),
            _ => None,
        });
        sent.collect()
    }

    pub(super) fn news(&self) -> Vec<&News> {
        let told = self.last.iter().filter_map(|action| match action {
            Action::Tell(news) => Some(news),
            _ => None,
        });
        told.collect()
    }

    pub(super) fn verdict(&self) -> &Verdict {
        let told = self.news().into_iter().find_map(|news| match news {
            News::Verdict(verdict) => Some(verdict),
            _ => None,
        });
        told.unwrap_or_else(|| panic!("no verdict in {:?}", self.last))
    }
}
