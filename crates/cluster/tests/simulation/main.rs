//! The coordinator among model agents in a simulated network, and among agents that say anything at all.
//!
//! The network keeps the order of each connection, as TCP does, and nothing else: messages are delayed, overtake each
//! other on different connections, and are lost with their connection. Agents, and the coordinator, die at any step.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod agent;
mod observer;
mod world;

use observer::Observer;
use proptest::prelude::*;
use rethaw_cluster::{
    Cause, Command, Committed, Config, Coordinator, Drained, Ended, Event, Exited, Failed, Frozen, Hello,
    Key, Outcome, Passing, PlannedImage, Prepared, Program, Report, RestartPlan, Started, VERSION, Written,
};
use std::time::Duration;
use world::{Faults, Scenario, World};

fn cases(usual: u32) -> ProptestConfig {
    let given = std::env::var("RETHAW_TEST_CASES")
        .ok()
        .and_then(|text| text.parse().ok());
    ProptestConfig {
        cases: given.unwrap_or(usual),
        // What fails is printed, and small.
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

fn faults() -> impl Strategy<Value = Faults> {
    // In a thousand steps.
    let rare = || prop_oneof![3 => Just(0u64), 2 => 1u64..30, 1 => 30u64..300];
    (rare(), rare(), rare(), rare(), rare(), rare(), rare()).prop_map(
        |(fail, refuse, pass, hang, leave, crash, cut)| Faults {
            fail,
            refuse,
            pass,
            hang,
            leave,
            crash,
            cut,
        },
    )
}

fn scenario() -> impl Strategy<Value = Scenario> {
    let delays = prop_oneof![Just(1u64), Just(50), Just(3000), Just(40_000)];
    let counts = (1usize..7, 0usize..4, 0usize..6, 0usize..4);
    let seldom = || prop::bool::weighted(0.2);
    let ends = (
        any::<bool>(),
        prop::bool::weighted(0.1),
        seldom(),
        any::<bool>(),
        seldom(),
    );
    (any::<u64>(), counts, delays, faults(), ends).prop_map(|(seed, counts, delay_ms, faults, ends)| {
        Scenario {
            seed,
            agents: counts.0,
            late_agents: counts.1,
            requests: counts.2,
            starts: counts.3,
            delay_ms,
            faults,
            restart: ends.0,
            coordinator_dies: ends.1,
            stop: ends.2,
            local: ends.3,
            kill: ends.4,
        }
    })
}

proptest! {
    #![proptest_config(cases(2000))]

    /// See `World::check`.
    #[test]
    fn whatever_dies_no_promise_is_broken(scenario in scenario()) {
        World::new(scenario).run();
    }
}

#[test]
fn without_faults_every_checkpoint_is_committed() {
    for seed in 0..300 {
        let scenario = Scenario {
            seed,
            agents: 4,
            late_agents: 2,
            requests: 3,
            starts: 3,
            delay_ms: 50,
            faults: Faults::default(),
            restart: seed % 2 == 0,
            coordinator_dies: false,
            stop: false,
            local: true,
            kill: false,
        };
        let world = World::new(scenario).run();
        let verdicts = &world.observer.verdicts;
        assert!(!verdicts.is_empty());
        assert!(
            verdicts
                .iter()
                .all(|verdict| verdict.outcome == Outcome::Committed)
        );
        assert!(world.observer.starts.values().all(|error| error.is_none()));
    }
}

/// A simulation that never gets anywhere would break no promise either.
#[test]
fn all_outcomes_are_reached() {
    let mut reached = std::collections::BTreeMap::new();
    for seed in 0..1500 {
        let rate = [0, 5, 20, 60][seed as usize % 4];
        let faults = Faults {
            fail: rate,
            refuse: rate,
            pass: rate * 2,
            hang: rate,
            leave: rate,
            crash: rate,
            cut: rate,
        };
        let scenario = Scenario {
            seed,
            agents: 3,
            late_agents: 2,
            requests: 5,
            starts: 2,
            delay_ms: 200,
            faults,
            restart: seed % 3 == 0,
            coordinator_dies: false,
            stop: seed % 5 == 0,
            local: seed % 2 == 0,
            kill: seed % 7 == 0,
        };
        let world = World::new(scenario).run();
        for verdict in &world.observer.verdicts {
            let name = match verdict.outcome {
                Outcome::Committed if verdict.stop => "committed and stopped",
                Outcome::Committed => "committed",
                Outcome::Refused(_) => "refused",
                Outcome::Failed(_) if verdict.attempt == 0 => "not begun",
                Outcome::Failed(_) => "failed",
                Outcome::Unknown(_) => "unknown",
            };
            *reached.entry(name).or_insert(0) += 1;
        }
        for name in world.observer.names {
            *reached.entry(name).or_insert(0) += 1;
        }
    }
    println!("{reached:?}");
    for name in [
        "committed and stopped",
        "committed",
        "refused",
        "not begun",
        "failed",
        "unknown",
        "late",
        "lost",
        "ended",
        "over",
        "restarted",
        "restart failed",
        "started",
        "not started",
        "exited",
        "retried",
    ] {
        assert!(reached.contains_key(name), "{name} is never reached");
    }
}

fn report() -> impl Strategy<Value = Report> {
    // Mostly the attempt that is under way: it is the number of requests at most.
    let attempt = 0u64..4;
    let ended = prop_oneof![Just(None), (0..3i32).prop_map(Some)];
    prop_oneof![
        4 => attempt.clone().prop_map(|attempt| Report::Frozen(Frozen { attempt, ends: Vec::new() })),
        4 => attempt.clone().prop_map(|attempt| Report::Drained(Drained { attempt })),
        4 => attempt.clone().prop_map(|attempt| Report::Collected(Collected { attempt })),
        4 => attempt.clone().prop_map(|attempt| Report::Written(Written { attempt, ..Written::default() })),
        4 => attempt.clone().prop_map(|attempt| Report::Committed(Committed { attempt })),
        1 => attempt.clone().prop_map(|attempt| Report::Passing(Passing { attempt, sentence: String::new() })),
        1 => (attempt, any::<bool>())
            .prop_map(|(attempt, refused)| Report::Failed(Failed { attempt, sentence: String::new(), refused })),
        2 => Just(Report::Prepared(Prepared {})),
        1 => ended.prop_map(|status| Report::Ended(Ended { status })),
        1 => (0u64..4).prop_map(|ticket| Report::Started(Started { ticket, error: None })),
        1 => (0u64..4).prop_map(|ticket| Report::Exited(Exited { ticket, status: 0 })),
    ]
}

use rethaw_cluster::Collected;

fn hello(agent: Option<u32>) -> Hello {
    Hello {
        version: VERSION,
        node: format!("n{}", agent.unwrap_or(0) % 3),
        agent,
        ..Hello::default()
    }
}

fn plan(images: u32) -> RestartPlan {
    let image = |agent| PlannedImage {
        agent,
        node: format!("n{agent}"),
        addresses: Vec::new(),
        image: Vec::new(),
    };
    RestartPlan {
        generation: 1,
        images: (0..images).map(image).collect(),
    }
}

fn event() -> impl Strategy<Value = Event> {
    let key = || (0u64..5).prop_map(Key);
    let program = Program {
        command: Vec::new(),
        environment: Vec::new(),
        folder: Vec::new(),
    };
    let start = (0u32..3).prop_map(move |node| {
        Event::Command(Command::StartOn {
            ticket: 0,
            node: format!("n{node}"),
            program: program.clone(),
        })
    });
    prop_oneof![
        6 => (key(), prop::option::of(0u32..4)).prop_map(|(key, agent)| Event::Joined(key, hello(agent))),
        60 => (key(), report()).prop_map(|(key, report)| Event::Received(key, report)),
        3 => key().prop_map(|key| Event::Lost(key, "gone".to_string())),
        6 => prop::bool::weighted(0.2)
            .prop_map(|stop| Event::Command(Command::Request { ticket: 0, stop, why: String::new() })),
        1 => start,
        1 => (1u32..4).prop_map(|images| Event::Command(Command::Restart(plan(images)))),
        1 => Just(Event::Command(Command::Kill)),
        6 => Just(Event::Tick),
    ]
}

proptest! {
    #![proptest_config(cases(3000))]

    /// Agents that answer what they were not asked, twice, or not at all: the coordinator keeps its own promises.
    #[test]
    fn whatever_agents_say_no_promise_is_broken(
        events in prop::collection::vec((event(), 0u64..20_000), 0..200),
        local in any::<bool>(),
    ) {
        let config = Config { local, ..Config::new("c", 1) };
        let mut coordinator = Coordinator::new(config);
        let mut observer = Observer::new();
        let mut now = Duration::ZERO;
        let mut seen = std::collections::BTreeSet::new();
        for (index, (mut event, millis)) in events.into_iter().enumerate() {
            now += Duration::from_millis(millis);
            match &mut event {
                Event::Command(Command::Request { ticket, .. } | Command::StartOn { ticket, .. }) => {
                    *ticket = index as u64;
                }
                // A key is used once.
                Event::Joined(key, _) if !seen.insert(*key) => continue,
                _ => (),
            }
            step(&mut coordinator, &mut observer, now, event);
        }
        // What is being written has no limit but the loss of its agent.
        for key in seen {
            step(&mut coordinator, &mut observer, now, Event::Lost(key, "gone".to_string()));
        }
        for _ in 0..1000 {
            let Some(deadline) = coordinator.deadline() else { break };
            now = now.max(deadline);
            step(&mut coordinator, &mut observer, now, Event::Tick);
        }
        prop_assert_eq!(coordinator.deadline(), None);
        observer.check_all_is_answered();
        observer.check_all_has_exited();
    }
}

fn step(coordinator: &mut Coordinator, observer: &mut Observer, now: Duration, event: Event) {
    observer.sees(&event);
    for action in coordinator.handle(now, event) {
        observer.acts(&action);
    }
    if let Some(deadline) = coordinator.deadline() {
        assert!(deadline > now, "what is due is done");
    }
}

#[test]
fn causes_are_told_with_their_place() {
    let cause = Cause {
        sentence: "it burns".to_string(),
        place: Some((3, "n3".to_string())),
    };
    assert_eq!(cause.to_string(), "n3: it burns");
}
