#![allow(clippy::unwrap_used, clippy::panic)]

use super::bench::Bench;
use super::*;
use crate::message::*;

const MILLI: Duration = Duration::from_millis(1);

fn frozen(attempt: u64) -> Report {
    let ends = Vec::new();
    Report::Frozen(Frozen { attempt, ends })
}

fn drained(attempt: u64) -> Report {
    Report::Drained(Drained { attempt })
}

fn collected(attempt: u64) -> Report {
    Report::Collected(Collected { attempt })
}

fn written(attempt: u64) -> Report {
    Report::Written(Written {
        attempt,
        bytes: 100,
        memory: 200,
        pause_us: 300,
        header_checksum: 7,
    })
}

fn committed(attempt: u64) -> Report {
    Report::Committed(Committed { attempt })
}

fn passing(attempt: u64) -> Report {
    let sentence = "a connection was not accepted yet".to_string();
    Report::Passing(Passing { attempt, sentence })
}

fn failed(attempt: u64, refused: bool) -> Report {
    Report::Failed(Failed {
        attempt,
        sentence: "it has an io_uring".to_string(),
        refused,
    })
}

/// Two agents, as far as this.
fn two(attempt: u64, steps: &[fn(u64) -> Report]) -> Bench {
    let mut bench = Bench::of(2);
    bench.request(1, false);
    for step in steps {
        bench.all_say(2, &step(attempt));
    }
    bench
}

const UNTIL_WRITING: [fn(u64) -> Report; 3] = [frozen, drained, collected];
const UNTIL_COMMIT: [fn(u64) -> Report; 4] = [frozen, drained, collected, written];

#[test]
fn each_step_waits_for_all() {
    let mut bench = Bench::of(2);
    bench.request(1, false);
    for key in [0, 1] {
        let freeze = Freeze {
            attempt: 1,
            generation: 5,
            stop: false,
            image: key as u32,
            images: 2,
        };
        assert_eq!(bench.orders(key), [&Order::Freeze(freeze)]);
    }
    assert!(bench.say(1, frozen(1)).last.is_empty());
    assert_eq!(
        bench
            .say(0, frozen(1))
            .told(|order| matches!(order, Order::Drain(_))),
        [0, 1]
    );
    assert!(bench.say(0, drained(1)).last.is_empty());
    assert_eq!(
        bench
            .say(1, drained(1))
            .told(|order| matches!(order, Order::Collect(_))),
        [0, 1]
    );
    assert!(bench.say(0, collected(1)).last.is_empty());
    assert_eq!(
        bench
            .say(1, collected(1))
            .told(|order| matches!(order, Order::Resume(_))),
        [0, 1]
    );
    assert!(bench.say(0, written(1)).last.is_empty());
    bench.say(1, written(1));
    assert_eq!(bench.told(|_| true), [0], "one agent writes the manifest");
    let Order::Commit(commit) = bench.orders(0)[0] else {
        panic!()
    };
    assert_eq!(commit.generation, 5);
    let images: Vec<(u32, &str, u64)> = commit
        .images
        .iter()
        .map(|one| (one.agent, one.node.as_str(), one.header_checksum))
        .collect();
    assert_eq!(images, [(0, "n0", 7), (1, "n1", 7)]);
    bench.say(0, committed(1));
    let done = Order::Done(Done {
        attempt: 1,
        generation: 5,
    });
    assert_eq!(bench.told(|order| *order == done), [0, 1]);
    let verdict = bench.verdict();
    assert_eq!(
        (verdict.generation, &verdict.tickets, &verdict.outcome),
        (5, &vec![1], &Outcome::Committed)
    );
    bench.request(2, false);
    let Order::Freeze(freeze) = bench.orders(1)[0] else {
        panic!()
    };
    assert_eq!((freeze.attempt, freeze.generation), (2, 6));
}

#[test]
fn connections_between_agents_are_told_to_both() {
    let mut bench = Bench::of(2);
    bench.request(1, false);
    let ends = |own: &str, peer: &str| {
        let (own, peer) = (own.to_string(), peer.to_string());
        vec![End {
            listens: own.ends_with(":80"),
            own,
            peer,
        }]
    };
    let report = |ends| Report::Frozen(Frozen { attempt: 1, ends });
    bench.say(0, report(ends("10.0.0.1:4000", "10.0.0.2:80")));
    bench.say(1, report(ends("10.0.0.2:80", "10.0.0.1:4000")));
    for (key, accepts) in [(0, false), (1, true)] {
        let Order::Drain(drain) = bench.orders(key)[0] else {
            panic!()
        };
        assert_eq!(drain.inside.len(), 1);
        assert_eq!(drain.inside[0].accepts, accepts);
        assert_eq!(u64::from(drain.inside[0].agent), 1 - key);
    }
}

#[test]
fn each_step_but_the_writing_has_an_end() {
    let limits = Limits::default();
    let steps = [limits.freeze, limits.drain, limits.collect];
    for (done, limit) in (0..).zip(steps) {
        let mut bench = two(1, &UNTIL_WRITING[..done]);
        assert!(bench.pass(limit - MILLI).last.is_empty());
        bench.pass(MILLI);
        assert_eq!(
            bench.told(|order| matches!(order, Order::Abort(one) if one.attempt == 1)),
            [0, 1]
        );
        let Outcome::Failed(cause) = &bench.verdict().outcome else {
            panic!()
        };
        assert!(
            cause
                .sentence
                .contains(&format!("within {} s, nor did another", limit.as_secs())),
            "{cause}"
        );
    }
    let mut bench = two(1, &UNTIL_WRITING);
    assert_eq!(bench.coordinator.deadline(), None);
    assert!(bench.pass(Duration::from_secs(1_000_000)).last.is_empty());
    bench.lose(1);
    assert_eq!(bench.told(|order| matches!(order, Order::Abort(_))), [0]);
    let Outcome::Failed(cause) = &bench.verdict().outcome else {
        panic!()
    };
    assert_eq!(cause.to_string(), "n1: its agent was lost: it is gone");
}

#[test]
fn the_first_cause_is_told() {
    let mut bench = two(1, &[frozen]);
    bench.say(1, failed(1, true));
    let Order::Abort(abort) = bench.orders(0)[0] else {
        panic!()
    };
    assert_eq!(
        (abort.sentence.as_str(), abort.agent, abort.node.as_str()),
        ("it has an io_uring", Some(1), "n1")
    );
    assert!(!abort.keep_image);
    assert!(matches!(bench.verdict().outcome, Outcome::Refused(_)));
    assert!(
        bench.say(0, failed(1, false)).last.is_empty(),
        "it is over already"
    );
    assert!(bench.say(0, drained(1)).last.is_empty());
}

#[test]
fn what_passes_is_tried_for_two_seconds() {
    let mut bench = Bench::of(2);
    bench.request(1, false);
    let mut attempts = 0;
    loop {
        attempts += 1;
        bench.say(1, passing(attempts));
        assert_eq!(bench.told(|order| matches!(order, Order::Abort(_))), [0, 1]);
        if !bench.news().is_empty() {
            break;
        }
        // An answer to the former attempt means nothing.
        assert!(bench.say(0, frozen(attempts)).last.is_empty());
        bench.pass(Duration::from_millis(100));
        assert_eq!(
            bench.told(|order| matches!(order, Order::Freeze(one) if one.generation == 5)),
            [0, 1]
        );
    }
    assert_eq!(attempts, 21);
    let verdict = bench.verdict();
    let Outcome::Refused(cause) = &verdict.outcome else {
        panic!()
    };
    assert_eq!(cause.to_string(), "n1: a connection was not accepted yet");
    assert_eq!(verdict.tickets, [1]);
}

#[test]
fn who_ends_is_left_out_of_the_next_attempt() {
    let mut bench = two(1, &[frozen]);
    bench.say(1, Report::Ended(Ended { status: Some(0) }));
    assert_eq!(bench.told(|order| matches!(order, Order::Abort(_))), [0]);
    bench.pass(Duration::from_millis(100));
    assert_eq!(bench.told(|order| matches!(order, Order::Freeze(_))), [0]);
    // Its image is durable: the checkpoint has what was.
    let mut bench = two(1, &UNTIL_WRITING);
    bench.say(1, written(1));
    bench.say(1, Report::Ended(Ended { status: Some(0) }));
    bench.say(0, written(1));
    let Order::Commit(commit) = bench.orders(0)[0] else {
        panic!()
    };
    assert_eq!(commit.images.len(), 2);
    assert_eq!(bench.say(0, committed(1)).verdict().outcome, Outcome::Committed);
}

#[test]
fn images_are_numbered_without_gaps() {
    let mut bench = Bench::of(4);
    bench.say(1, Report::Ended(Ended { status: None }));
    bench.join(9, "n9", Some(20)).join(10, "n10", Some(11));
    bench.request(1, false);
    let places = [0, 2, 3, 10, 9].map(|key| match bench.orders(key)[0] {
        Order::Freeze(freeze) => (freeze.image, freeze.images),
        other => panic!("{other:?}"),
    });
    assert_eq!(places, [(0, 5), (1, 5), (2, 5), (3, 5), (4, 5)]);
}

#[test]
fn what_becomes_of_a_manifest_can_be_unknown() {
    let keeps = |order: &Order| matches!(order, Order::Abort(one) if one.keep_image);
    let mut bench = two(1, &UNTIL_COMMIT);
    bench.lose(0);
    assert_eq!(bench.told(keeps), [1]);
    assert!(matches!(bench.verdict().outcome, Outcome::Unknown(_)));
    let mut bench = two(1, &UNTIL_COMMIT);
    bench.pass(Limits::default().commit);
    assert_eq!(bench.told(keeps), [0, 1]);
    assert!(matches!(bench.verdict().outcome, Outcome::Unknown(_)));
    assert_eq!(bench.say(0, committed(1)).news(), [&News::Late { generation: 5 }]);
    bench.request(2, false);
    let Order::Freeze(freeze) = bench.orders(0)[0] else {
        panic!()
    };
    assert_eq!(freeze.generation, 6, "the number may be taken");
}

#[test]
fn a_manifest_that_was_not_written_is_no_checkpoint() {
    let mut bench = two(1, &UNTIL_COMMIT);
    assert!(
        bench.say(1, failed(1, false)).last.is_empty(),
        "its image is durable"
    );
    bench.say(0, failed(1, false));
    assert_eq!(
        bench.told(|order| matches!(order, Order::Abort(one) if !one.keep_image)),
        [0, 1]
    );
    assert!(matches!(bench.verdict().outcome, Outcome::Failed(_)));
}

#[test]
fn a_node_lost_while_the_manifest_is_written_does_not_matter_to_it() {
    let mut bench = two(1, &UNTIL_COMMIT);
    let lost = &bench.lose(1).news()[0];
    assert!(matches!(lost, News::NodeLost { killed: false, .. }));
    assert_eq!(bench.say(0, committed(1)).verdict().outcome, Outcome::Committed);
    // But it cannot be saved any more, until its agent comes back.
    bench.request(2, false);
    let Outcome::Failed(cause) = &bench.verdict().outcome else {
        panic!()
    };
    assert!(cause.sentence.starts_with("n1 was lost"), "{cause}");
    bench.join(9, "n1", Some(1));
    bench.request(3, false);
    assert_eq!(bench.told(|order| matches!(order, Order::Freeze(_))), [0, 9]);
}

#[test]
fn a_node_lost_in_the_meantime_ends_the_computation() {
    let mut bench = Bench::of(3);
    bench.lose(1);
    assert_eq!(bench.told(|order| matches!(order, Order::Kill(_))), [0, 2]);
    assert!(matches!(
        bench.news()[0],
        News::NodeLost {
            killed: true,
            agent: 1,
            ..
        }
    ));
    bench.say(2, Report::Ended(Ended { status: None }));
    bench.pass(Limits::default().kill);
    let silent = vec!["n0".to_string()];
    assert_eq!(bench.news(), [&News::Over { silent }]);
    assert_eq!(bench.coordinator.deadline(), None);
    let verdict = bench.request(1, false).verdict();
    let Outcome::Failed(cause) = &verdict.outcome else {
        panic!()
    };
    assert_eq!(cause.sentence, "n1 was lost: it is gone");
    bench.join(7, "n1", None);
    assert_eq!(
        bench.told(|order| matches!(order, Order::Kill(_))),
        [7],
        "it ends too"
    );
}

#[test]
fn requests_in_the_meantime_are_answered_by_one_checkpoint() {
    let mut bench = two(1, &UNTIL_WRITING);
    bench.request(2, false);
    bench.say(
        1,
        Report::Request(Request {
            ticket: 8,
            ..Request::default()
        }),
    );
    bench.all_say(2, &written(1));
    bench.say(0, committed(1));
    assert_eq!(bench.verdict().tickets, [1]);
    assert_eq!(
        bench.told(|order| matches!(order, Order::Freeze(one) if one.attempt == 2)),
        [0, 1]
    );
    for step in UNTIL_COMMIT {
        bench.all_say(2, &step(2));
    }
    bench.say(0, committed(2));
    assert_eq!(bench.verdict().tickets, [2]);
    let answer = bench.orders(1).into_iter().find_map(|order| match order {
        Order::Answer(answer) => Some(answer),
        _ => None,
    });
    let answer = answer.unwrap();
    assert_eq!((answer.ticket, answer.committed, answer.generation), (8, true, 6));
    assert_eq!((answer.bytes, answer.memory, answer.pause_us), (200, 400, 300));
}

#[test]
fn who_joins_in_the_pause_waits() {
    let welcomes = |order: &Order| matches!(order, Order::Welcome(_));
    let mut bench = two(1, &[frozen]);
    bench.join(7, "n7", None);
    assert!(bench.last.is_empty());
    bench.all_say(2, &drained(1));
    bench.all_say(2, &collected(1));
    assert_eq!(bench.told(welcomes), [7], "the others run again");
    bench.all_say(2, &written(1));
    bench.say(0, committed(1));
    assert_eq!(bench.told(|order| matches!(order, Order::Done(_))), [0, 1]);
    // Nothing runs again in a checkpoint that ends the computation.
    let mut bench = Bench::of(2);
    bench.request(1, true);
    bench.join(7, "n7", None);
    for step in UNTIL_COMMIT {
        assert!(bench.all_say(2, &step(1)).told(welcomes).is_empty());
    }
    bench.say(0, committed(1));
    assert_eq!(bench.told(|order| matches!(order, Order::Kill(_))), [7]);
}

#[test]
fn between_two_attempts_agents_and_programs_come_in() {
    let mut bench = Bench::of(2);
    bench.request(1, false);
    bench.join(7, "n7", None);
    let start = Command::StartOn {
        ticket: 1,
        node: "n1".to_string(),
        program: Program {
            command: Vec::new(),
            environment: Vec::new(),
            folder: Vec::new(),
        },
    };
    bench.event(Event::Command(start));
    bench.say(1, passing(1));
    assert_eq!(bench.told(|order| matches!(order, Order::Welcome(_))), [7]);
    assert_eq!(bench.told(|order| matches!(order, Order::Start(_))), [1]);
    bench.pass(Duration::from_millis(100));
    assert_eq!(bench.told(|order| matches!(order, Order::Freeze(_))), [0, 1, 7]);
}

#[test]
fn after_a_stop_agents_leave() {
    let mut bench = Bench::of(2);
    bench.request(1, true);
    for step in UNTIL_COMMIT {
        bench.all_say(2, &step(1));
    }
    bench.say(0, committed(1));
    assert!(bench.verdict().stop);
    bench.say(1, Report::Ended(Ended { status: None }));
    bench.lose(0);
    assert_eq!(bench.news(), [&News::Over { silent: Vec::new() }]);
}

#[test]
fn a_kill_waits_for_the_manifest() {
    let mut bench = two(1, &UNTIL_COMMIT);
    bench.event(Event::Command(Command::Kill));
    assert!(bench.last.is_empty());
    bench.say(0, committed(1));
    assert_eq!(bench.verdict().outcome, Outcome::Committed);
    assert_eq!(bench.told(|order| matches!(order, Order::Kill(_))), [0, 1]);
    let mut bench = two(1, &UNTIL_WRITING);
    bench.event(Event::Command(Command::Kill));
    assert!(matches!(bench.verdict().outcome, Outcome::Failed(_)));
    assert_eq!(bench.told(|order| matches!(order, Order::Kill(_))), [0, 1]);
}

#[test]
fn another_version_is_refused() {
    let mut bench = Bench::new();
    let hello = Hello {
        version: VERSION + 1,
        ..super::bench::hello("new", None)
    };
    bench.event(Event::Joined(Key(4), hello));
    assert_eq!(bench.told(|order| matches!(order, Order::Refused(_))), [4]);
    assert_eq!(bench.last.last(), Some(&Action::Close(Key(4))));
}
