//! The state machine alone.

use crate::machine::{ms, own_time, status_kib};
use rethaw_cluster::*;
use std::collections::VecDeque;
use std::time::Duration;

/// Connections of each agent to others: those of MPI's trees and rings, and some.
const ENDS: usize = 32;

pub fn hello(index: usize) -> Hello {
    let [_, a, b, c] = (index as u32).to_be_bytes();
    Hello {
        version: VERSION,
        node: format!("node{index:05}.cluster.example"),
        boot_id: format!("{index:036}"),
        addresses: vec![format!("10.{a}.{b}.{c}"), format!("fd00::{index:x}")],
        agent: None,
    }
}

fn ends(index: usize, count: usize) -> Vec<End> {
    let name = |node: usize, port: usize| format!("{}:{port}", hello(node).addresses[0]);
    let one = |number: usize| {
        let step = number / 2 + 1;
        // Half of them accepted, from those before; half connected, to those behind.
        let (peer, accepted) = match number % 2 {
            0 => ((index + step) % count, false),
            _ => ((index + count - step % count) % count, true),
        };
        let (own, far) = if accepted {
            (5000, 40_000 + step)
        } else {
            (40_000 + step, 5000)
        };
        End {
            own: name(index, own),
            peer: name(peer, far),
            listens: accepted,
        }
    };
    (0..ENDS).map(one).collect()
}

struct World {
    coordinator: Coordinator,
    count: usize,
    inbox: VecDeque<(Key, Order)>,
    /// Inside of the state machine.
    busy: Duration,
    out_messages: usize,
    inside: usize,
    news: Vec<News>,
}

impl World {
    fn handle(&mut self, event: Event) {
        let began = own_time();
        let actions = self.coordinator.handle(Duration::ZERO, event);
        self.busy += own_time() - began;
        for action in actions {
            match action {
                Action::Send(to, order) => {
                    self.out_messages += to.len();
                    let one = |key| match &order {
                        // Too large to copy for everybody here; nobody looks at it.
                        Order::Prepare(_) => (key, Order::Prepare(Prepare::default())),
                        other => (key, other.clone()),
                    };
                    self.inbox.extend(to.into_iter().map(one));
                }
                Action::Close(_) => (),
                Action::Tell(news) => self.news.push(news),
            }
        }
    }

    /// All agents answer at once, until nothing is to be answered.
    fn answer(&mut self) {
        while let Some((key, order)) = self.inbox.pop_front() {
            let report = match order {
                Order::Freeze(one) => Report::Frozen(Frozen {
                    attempt: one.attempt,
                    ends: ends(key.0 as usize, self.count),
                }),
                Order::Drain(one) => {
                    self.inside += one.inside.len();
                    Report::Drained(Drained { attempt: one.attempt })
                }
                Order::Collect(one) => Report::Collected(Collected { attempt: one.attempt }),
                Order::Resume(one) => Report::Written(Written {
                    attempt: one.attempt,
                    ..Written::default()
                }),
                Order::Commit(one) => Report::Committed(Committed { attempt: one.attempt }),
                Order::Prepare(_) => Report::Prepared(Prepared {}),
                _ => continue,
            };
            self.handle(Event::Received(key, report));
        }
    }

    fn phase(&mut self, what: &str, step: impl FnOnce(&mut World)) {
        (self.busy, self.out_messages) = (Duration::ZERO, 0);
        step(self);
        self.answer();
        println!(
            "decisions, {what}: {} of processor, {} orders",
            ms(self.busy),
            self.out_messages
        );
    }
}

pub fn measure(count: usize) {
    let before = status_kib("VmRSS");
    let mut world = World {
        coordinator: Coordinator::new(Config::new("0123456789abcdef", 1)),
        count,
        inbox: VecDeque::new(),
        busy: Duration::ZERO,
        out_messages: 0,
        inside: 0,
        news: Vec::new(),
    };
    world.phase("join", |world| {
        (0..count).for_each(|index| world.handle(Event::Joined(Key(index as u64), hello(index))));
    });
    println!("decisions, memory: {} KiB", status_kib("VmRSS") - before);
    let request = Event::Command(Command::Request {
        ticket: 1,
        stop: false,
        why: String::new(),
    });
    world.phase("checkpoint", |world| world.handle(request));
    println!("connections between agents: {}", world.inside / 2);
    let committed =
        |news: &News| matches!(news, News::Verdict(verdict) if verdict.outcome == Outcome::Committed);
    assert!(world.news.iter().any(committed));
    restart(count);
}

fn restart(count: usize) {
    let image = |index: usize| PlannedImage {
        agent: index as u32,
        node: hello(index).node,
        addresses: hello(index).addresses,
        image: format!("/scratch/user/checkpoints/ckpt-00000001-{index:04}.rethaw").into_bytes(),
    };
    let plan = RestartPlan {
        generation: 1,
        images: (0..count).map(image).collect(),
    };
    let mut coordinator = Coordinator::new(Config::new("0123456789abcdef", 2));
    coordinator.handle(Duration::ZERO, Event::Command(Command::Restart(plan)));
    let began = own_time();
    let mut prepare = None;
    for index in 0..count {
        // On other nodes than before, every other one.
        let node = hello(index * 2);
        for action in coordinator.handle(Duration::ZERO, Event::Joined(Key(index as u64), node)) {
            if let Action::Send(_, Order::Prepare(one)) = action {
                prepare = Some(one);
            }
        }
    }
    let prepare = prepare.unwrap();
    let bytes = prost::Message::encoded_len(&prepare);
    println!(
        "decisions, restart until Prepare: {} of processor",
        ms(own_time() - began)
    );
    println!(
        "Prepare: {bytes} bytes to each agent, {:.1} MB to all",
        (bytes * count) as f64 / 1e6
    );
}
