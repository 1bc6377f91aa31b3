//! Time, network, disk and fate.

use crate::agent::{Agent, Program, Step};
use crate::observer::Observer;
use crate::{hello, plan};
use rethaw_cluster::{Action, Command, Config, Coordinator, Event, Key, News, Order, Outcome, Report};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::time::Duration;

/// A run of the world.
#[derive(Debug, Clone)]
pub struct Scenario {
    pub seed: u64,
    pub agents: usize,
    pub late_agents: usize,
    pub requests: usize,
    pub starts: usize,
    /// Longest delay of a message and of a piece of work.
    pub delay_ms: u64,
    pub faults: Faults,
    pub restart: bool,
    pub coordinator_dies: bool,
    /// One of the requests ends the computation.
    pub stop: bool,
    pub local: bool,
    pub kill: bool,
}

/// How many of a thousand steps go wrong in which way.
#[derive(Debug, Clone, Default)]
pub struct Faults {
    pub fail: u64,
    pub refuse: u64,
    pub pass: u64,
    pub hang: u64,
    pub leave: u64,
    pub crash: u64,
    pub cut: u64,
}

/// What all nodes see.
#[derive(Debug, Default)]
pub struct Folder {
    /// Generation and number of the image.
    pub images: BTreeSet<(u64, u32)>,
    pub manifests: BTreeSet<u64>,
    /// What each manifest binds.
    pub bound: Vec<(u64, Vec<u32>)>,
}

/// splitmix64.
#[derive(Debug)]
pub struct Random(u64);

impl Random {
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }
}

#[derive(Debug)]
enum Happening {
    /// Arrives at the coordinator.
    In(Event),
    /// Arrives at an agent.
    Out(Key, Order),
    /// An agent has done its work for an attempt.
    Worked(Key, Report, u64),
    /// An agent sees the end of its connection.
    Alone(Key),
    CoordinatorDies,
}

pub struct World {
    scenario: Scenario,
    random: Random,
    now: Duration,
    sequence: u64,
    /// By time, then by order.
    due: BTreeMap<(Duration, u64), Happening>,
    order: BinaryHeap<Reverse<(Duration, u64)>>,
    coordinator: Option<Coordinator>,
    pub observer: Observer,
    agents: BTreeMap<Key, Agent>,
    /// Until when something is on its way: to the coordinator, to the agent.
    wires: BTreeMap<Key, (Duration, Duration)>,
    /// Connections that are still whole.
    whole: BTreeSet<Key>,
    folder: Folder,
    restart_failed: bool,
    last_key: u64,
}

impl World {
    pub fn new(scenario: Scenario) -> World {
        let config = Config {
            local: scenario.local,
            ..Config::new("c", 1)
        };
        let mut world = World {
            random: Random(scenario.seed),
            now: Duration::ZERO,
            sequence: 0,
            due: BTreeMap::new(),
            order: BinaryHeap::new(),
            coordinator: Some(Coordinator::new(config)),
            observer: Observer::new(),
            agents: BTreeMap::new(),
            wires: BTreeMap::new(),
            whole: BTreeSet::new(),
            folder: Folder::default(),
            restart_failed: false,
            last_key: 1000,
            scenario,
        };
        world.plan_ahead();
        world
    }

    fn plan_ahead(&mut self) {
        let Scenario {
            agents,
            late_agents,
            requests,
            starts,
            restart,
            stop,
            local,
            ..
        } = self.scenario.clone();
        if restart {
            self.coordinator_gets(Event::Command(Command::Restart(plan(agents as u32))));
        }
        let first = u64::from(!local);
        for index in 0..(agents + late_agents) as u64 {
            let key = Key(first + index);
            let program = if restart { Program::Ended } else { Program::Runs };
            self.agents.insert(key, Agent::new(program));
            self.whole.insert(key);
            self.wires.insert(key, (Duration::ZERO, Duration::ZERO));
            let wish = (self.random.below(3) == 0).then(|| self.random.below(6) as u32);
            let at = if index < agents as u64 {
                1
            } else {
                self.random.below(60_000)
            };
            self.at(
                Duration::from_millis(at),
                Happening::In(Event::Joined(key, hello(wish))),
            );
        }
        self.plan_wishes(requests, starts, stop);
    }

    /// What the user wants, and when the coordinator dies.
    fn plan_wishes(&mut self, requests: usize, starts: usize, stop: bool) {
        for ticket in 0..requests as u64 {
            let stop = stop && ticket == 1;
            let request = Command::Request {
                ticket,
                stop,
                why: String::new(),
            };
            let at = 2 + self.random.below(120_000);
            self.at(Duration::from_millis(at), Happening::In(Event::Command(request)));
        }
        for ticket in 0..starts as u64 {
            let node = format!(
                "n{}",
                if self.scenario.faults.fail == 0 {
                    0
                } else {
                    self.random.below(4)
                }
            );
            let program = rethaw_cluster::Program {
                command: vec![],
                environment: vec![],
                folder: vec![],
            };
            let at = 2 + self.random.below(120_000);
            let start = Command::StartOn {
                ticket: 1000 + ticket,
                node,
                program,
            };
            self.at(Duration::from_millis(at), Happening::In(Event::Command(start)));
        }
        if self.scenario.kill {
            let at = self.random.below(200_000);
            self.at(
                Duration::from_millis(at),
                Happening::In(Event::Command(Command::Kill)),
            );
        }
        if self.scenario.coordinator_dies {
            let at = self.random.below(120_000);
            self.at(Duration::from_millis(at), Happening::CoordinatorDies);
        }
    }

    fn at(&mut self, time: Duration, happening: Happening) {
        self.sequence += 1;
        self.due.insert((time, self.sequence), happening);
        self.order.push(Reverse((time, self.sequence)));
    }

    /// Until nothing happens any more, then what must hold is checked.
    pub fn run(mut self) -> World {
        self.run_out();
        // Who hangs while it writes is ended by somebody, some day.
        let whole: Vec<Key> = self.whole.iter().copied().collect();
        if self
            .coordinator
            .as_ref()
            .is_some_and(|one| one.deadline().is_none())
            && self.hangs()
        {
            whole.into_iter().for_each(|key| self.cut(key));
            self.run_out();
        }
        self.check();
        self
    }

    fn hangs(&self) -> bool {
        self.agents.values().any(Agent::in_attempt)
    }

    fn run_out(&mut self) {
        for _ in 0..100_000 {
            let next = self.order.peek().map(|Reverse((time, _))| *time);
            let deadline = self.coordinator.as_ref().and_then(Coordinator::deadline);
            match (next, deadline) {
                (None, None) => return,
                (Some(next), deadline) if deadline.is_none_or(|deadline| next <= deadline) => self.happen(),
                (_, Some(deadline)) => {
                    self.now = self.now.max(deadline);
                    self.coordinator_gets(Event::Tick);
                }
                (Some(_), None) => self.happen(),
            }
        }
        panic!("it does not end");
    }

    fn happen(&mut self) {
        let Some(Reverse(place)) = self.order.pop() else {
            return;
        };
        let Some(happening) = self.due.remove(&place) else {
            return;
        };
        self.now = self.now.max(place.0);
        match happening {
            Happening::In(event) => self.arrives(event),
            Happening::Out(key, order) => self.agent_gets(key, order),
            Happening::Worked(key, report, attempt) => self.worked(key, report, attempt),
            Happening::Alone(key) => self.is_alone(key),
            Happening::CoordinatorDies => {
                self.coordinator = None;
                let whole: Vec<Key> = self.whole.iter().copied().collect();
                whole.into_iter().for_each(|key| self.close(key));
            }
        }
    }

    /// An agent has lost its coordinator. It may come back.
    fn is_alone(&mut self, key: Key) {
        let Some(agent) = self.agents.get_mut(&key) else {
            return;
        };
        agent.is_alone();
        if self.coordinator.is_none() || agent.has_left || agent.program != Program::Runs {
            return;
        }
        let number = agent.number;
        if self.random.below(2) == 0 || self.agents.len() > 20 {
            return;
        }
        // Nobody else: the old connection is of no use to it any more.
        let agent = self.agents.remove(&key);
        self.whole.remove(&key);
        self.last_key += 1;
        let key = Key(self.last_key);
        self.agents.extend(agent.map(|agent| (key, agent)));
        self.whole.insert(key);
        self.wires.insert(key, (self.now, self.now));
        let time = self.now + self.delay();
        self.at(time, Happening::In(Event::Joined(key, hello(number))));
    }

    fn arrives(&mut self, event: Event) {
        match &event {
            // What was on its way when the connection broke is lost.
            Event::Joined(key, _) | Event::Received(key, _) if !self.whole.contains(key) => return,
            _ => (),
        }
        self.coordinator_gets(event);
    }

    fn coordinator_gets(&mut self, event: Event) {
        let Some(coordinator) = &mut self.coordinator else {
            return;
        };
        self.observer.sees(&event);
        let actions = coordinator.handle(self.now, event);
        if let Some(deadline) = coordinator.deadline() {
            assert!(deadline > self.now, "what is due is done");
        }
        for action in actions {
            self.observer.acts(&action);
            match action {
                Action::Send(to, order) => to.into_iter().for_each(|key| self.send(key, order.clone())),
                Action::Close(key) => self.close(key),
                Action::Tell(News::RestartFailed(_)) => self.restart_failed = true,
                Action::Tell(_) => (),
            }
        }
    }

    fn delay(&mut self) -> Duration {
        Duration::from_micros(self.random.below(self.scenario.delay_ms * 1000))
    }

    fn send(&mut self, key: Key, order: Order) {
        if self.random.below(1000) < self.scenario.faults.cut {
            return self.cut(key);
        }
        let delay = self.delay();
        let Some((_, out)) = self.wires.get_mut(&key) else {
            return;
        };
        // The order of a connection is kept.
        *out = (*out).max(self.now + delay);
        let time = *out;
        self.at(time, Happening::Out(key, order));
    }

    fn report(&mut self, key: Key, report: Report) {
        let delay = self.delay();
        let Some((to, _)) = self.wires.get_mut(&key) else {
            return;
        };
        *to = (*to).max(self.now + delay);
        let time = *to;
        self.at(time, Happening::In(Event::Received(key, report)));
    }

    /// Both sides notice, each some time; nothing arrives any more.
    fn cut(&mut self, key: Key) {
        if self.whole.remove(&key) {
            let (one, other) = (self.delay(), self.delay());
            self.at(self.now + one, Happening::In(Event::Lost(key, "cut".to_string())));
            self.at(self.now + other, Happening::Alone(key));
        }
    }

    /// What was sent before still arrives.
    fn close(&mut self, key: Key) {
        let time = self
            .wires
            .get(&key)
            .map_or(self.now, |(_, out)| self.now.max(*out));
        self.at(time, Happening::Alone(key));
    }

    fn agent_gets(&mut self, key: Key, order: Order) {
        if !self.whole.contains(&key) {
            return;
        }
        let Some(agent) = self.agents.get_mut(&key) else {
            return;
        };
        if agent.has_left {
            return;
        }
        match agent.takes(order, &mut self.random, &self.scenario.faults, &mut self.folder) {
            Step::Silent => (),
            Step::Answer(report, attempt) => {
                let time = self.now + Agent::work(&mut self.random, self.scenario.delay_ms);
                self.at(time, Happening::Worked(key, report, attempt));
            }
            Step::Late(report) => self.at(
                self.now + Duration::from_secs(100),
                Happening::Worked(key, report, 0),
            ),
            Step::Die => {
                self.cut(key);
                self.agents.remove(&key);
            }
        }
    }

    fn worked(&mut self, key: Key, report: Report, attempt: u64) {
        let Some(agent) = self.agents.get_mut(&key) else {
            return;
        };
        if agent.has_left || !agent.is_in(attempt) {
            return;
        }
        if let Report::Started(started) = &report {
            // Some programs end soon.
            let exited = rethaw_cluster::Exited {
                ticket: started.ticket,
                status: 0,
            };
            let time = self.now + Duration::from_millis(self.random.below(100_000));
            self.at(time, Happening::Worked(key, Report::Exited(exited), 0));
        }
        let Some(agent) = self.agents.get_mut(&key) else {
            return;
        };
        if let Report::Ended(_) = report {
            agent.has_left = true;
            agent.program = Program::Ended;
        }
        self.report(key, report);
    }

    /// What holds at the end, whatever has happened.
    fn check(&self) {
        for (key, agent) in &self.agents {
            assert_ne!(agent.program, Program::Frozen, "{key:?} stands still for ever");
            assert_ne!(agent.program, Program::Rebuilt, "{key:?} waits for ever");
            if self.restart_failed {
                assert_ne!(
                    agent.program,
                    Program::Runs,
                    "{key:?} runs after a restart that has failed"
                );
            }
        }
        for (generation, parts) in &self.folder.bound {
            for part in parts {
                let is_there = self.folder.images.contains(&(*generation, *part));
                assert!(is_there, "an image of checkpoint {generation} is gone");
            }
        }
        if self.coordinator.is_none() {
            return;
        }
        self.observer.check_all_is_answered();
        let mut may_be = BTreeSet::new();
        for verdict in &self.observer.verdicts {
            match verdict.outcome {
                Outcome::Committed => {
                    assert!(self.folder.manifests.contains(&verdict.generation));
                    may_be.insert(verdict.generation);
                }
                Outcome::Unknown(_) => drop(may_be.insert(verdict.generation)),
                Outcome::Refused(_) | Outcome::Failed(_) => (),
            }
        }
        assert!(
            self.folder.manifests.is_subset(&may_be),
            "a manifest that nobody was told of"
        );
    }
}
