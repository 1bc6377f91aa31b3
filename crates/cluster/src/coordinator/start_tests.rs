#![allow(clippy::unwrap_used, clippy::panic)]

use super::bench::Bench;
use super::*;
use crate::message::*;

fn program() -> Program {
    Program {
        command: vec![b"orted".to_vec()],
        environment: vec![b"A=1".to_vec()],
        folder: b"/".to_vec(),
    }
}

fn start(bench: &mut Bench, ticket: u64, node: &str) {
    bench.event(Event::Command(Command::StartOn {
        ticket,
        node: node.to_string(),
        program: program(),
    }));
}

fn sent(bench: &Bench, key: u64) -> Start {
    match bench.orders(key)[..] {
        [Order::Start(start)] => start.clone(),
        [Order::Welcome(_), Order::Start(start)] => start.clone(),
        ref other => panic!("{other:?}"),
    }
}

fn started(ticket: u64, error: Option<&str>) -> Report {
    let error = error.map(str::to_string);
    Report::Started(Started { ticket, error })
}

#[test]
fn a_program_is_started_where_it_is_wanted() {
    let mut bench = Bench::of(2);
    start(&mut bench, 9, "N1.cluster.example");
    let order = sent(&bench, 1);
    assert_eq!(
        (order.command, order.environment, order.folder),
        (vec![b"orted".to_vec()], vec![b"A=1".to_vec()], b"/".to_vec())
    );
    // Nobody else can answer for it.
    assert!(bench.say(0, started(order.ticket, None)).last.is_empty());
    bench.say(1, started(order.ticket, None));
    assert_eq!(
        bench.news(),
        [&News::Started {
            ticket: 9,
            error: None
        }]
    );
    assert!(bench.say(1, started(order.ticket, None)).last.is_empty());
    let exited = Exited {
        ticket: order.ticket,
        status: 256,
    };
    bench.say(1, Report::Exited(exited));
    assert_eq!(
        bench.news(),
        [&News::Exited {
            ticket: 9,
            status: Some(256)
        }]
    );
}

#[test]
fn two_domains_are_two_hosts() {
    let mut bench = Bench::new();
    bench.join(1, "n1.a.example", None);
    start(&mut bench, 9, "n1.b.example");
    assert_eq!(
        bench.news(),
        [&News::Wanted {
            node: "n1.b.example".to_string()
        }]
    );
}

#[test]
fn an_agent_is_wanted_once_and_waited_for() {
    let mut bench = Bench::of(1);
    start(&mut bench, 1, "n5");
    assert_eq!(
        bench.news(),
        [&News::Wanted {
            node: "n5".to_string()
        }]
    );
    start(&mut bench, 2, "n5");
    assert!(bench.last.is_empty());
    bench.join(5, "n5.example", None);
    assert_eq!(bench.told(|order| matches!(order, Order::Start(_))), [5, 5]);
    start(&mut bench, 3, "n6");
    let unreachable = Command::Unreachable {
        node: "n6".to_string(),
        sentence: "no route".to_string(),
    };
    bench.event(Event::Command(unreachable));
    let error = Some("no route".to_string());
    assert_eq!(bench.news(), [&News::Started { ticket: 3, error }]);
    start(&mut bench, 4, "n7");
    bench.pass(Limits::default().start);
    bench.pass(Limits::default().wanted);
    let error = Some("no agent of n7 has joined in time".to_string());
    assert!(bench.news().contains(&&News::Started { ticket: 4, error }));
}

#[test]
fn an_agent_can_want_it_too() {
    let mut bench = Bench::of(3);
    let wish = StartOn {
        ticket: 1,
        node: "n2".to_string(),
        command: program().command,
        environment: Vec::new(),
        folder: Vec::new(),
    };
    bench.say(1, Report::StartOn(wish));
    let ticket = sent(&bench, 2).ticket;
    bench.say(2, started(ticket, Some("no such file")));
    let error = Some("no such file".to_string());
    assert_eq!(
        bench.orders(1),
        [&Order::StartedOn(StartedOn { ticket: 1, error })]
    );
}

#[test]
fn what_ran_on_an_agent_that_leaves_has_ended() {
    let mut bench = Bench::of(2);
    start(&mut bench, 1, "n1");
    let first = sent(&bench, 1).ticket;
    bench.say(1, started(first, None));
    start(&mut bench, 2, "n1");
    bench.say(1, Report::Ended(Ended { status: None }));
    assert!(bench.news().contains(&&News::Exited {
        ticket: 1,
        status: None
    }));
    let error = Some("the agent on n1 is gone".to_string());
    assert!(bench.news().contains(&&News::Started { ticket: 2, error }));
}

#[test]
fn nothing_is_started_in_the_pause() {
    let mut bench = Bench::of(2);
    bench.request(1, false);
    start(&mut bench, 9, "n1");
    assert!(bench.last.is_empty());
    let failed = Failed {
        attempt: 1,
        sentence: String::new(),
        refused: false,
    };
    bench.say(0, Report::Failed(failed));
    assert_eq!(bench.told(|order| matches!(order, Order::Start(_))), [1]);
}
