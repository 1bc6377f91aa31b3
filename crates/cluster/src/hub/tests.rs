#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use crate::*;
use std::net::{SocketAddr, TcpListener};
use std::time::{Duration, Instant};

const SOON: Option<Duration> = Some(Duration::from_secs(5));

pub(crate) fn hello(node: &str) -> Hello {
    Hello {
        version: VERSION,
        node: node.to_string(),
        boot_id: "b".to_string(),
        addresses: vec!["127.0.0.1".to_string()],
        agent: None,
    }
}

fn hub(secret: &Secret) -> (Hub, SocketAddr) {
    let mut hub = Hub::start(secret, Config::new("0123456789abcdef", 1)).unwrap();
    let address = hub.listen(TcpListener::bind("127.0.0.1:0").unwrap()).unwrap();
    (hub, address)
}

fn order(link: &Link) -> Order {
    link.recv(SOON).unwrap().expect("an order")
}

fn welcome(link: &Link) -> u32 {
    match order(link) {
        Order::Welcome(welcome) => welcome.agent,
        other => panic!("{other:?}"),
    }
}

/// Takes part in a checkpoint as an agent without processes.
fn take_part(link: &Link) -> u64 {
    loop {
        let report = match order(link) {
            Order::Freeze(one) => Report::Frozen(Frozen {
                attempt: one.attempt,
                ends: Vec::new(),
            }),
            Order::Drain(one) => Report::Drained(Drained { attempt: one.attempt }),
            Order::Collect(one) => Report::Collected(Collected { attempt: one.attempt }),
            Order::Resume(one) => Report::Written(Written {
                attempt: one.attempt,
                bytes: 10,
                ..Written::default()
            }),
            Order::Commit(one) => Report::Committed(Committed { attempt: one.attempt }),
            Order::Done(done) => return done.generation,
            other => panic!("{other:?}"),
        };
        link.send(report).unwrap();
    }
}

fn verdict(hub: &Hub) -> Verdict {
    loop {
        if let News::Verdict(verdict) = hub.news(SOON).unwrap().expect("news") {
            return verdict;
        }
    }
}

#[test]
fn three_agents_take_a_checkpoint() {
    let secret = Secret::generate().unwrap();
    let (hub, address) = hub(&secret);
    let zero = hub.local_link(hello("a")).unwrap();
    assert_eq!(welcome(&zero), 0);
    let one = Link::connect(&[address], &secret, hello("b")).unwrap();
    assert_eq!(welcome(&one), 1);
    let two = Link::connect(&[address], &secret, hello("c")).unwrap();
    assert_eq!(welcome(&two), 2);
    assert_eq!(hub.nodes().unwrap().len(), 3);
    hub.request(7, false, "test");
    std::thread::scope(|scope| {
        for link in [&zero, &one, &two] {
            scope.spawn(move || assert_eq!(take_part(link), 1));
        }
    });
    let verdict = verdict(&hub);
    assert_eq!(
        (verdict.outcome, verdict.generation, verdict.tickets),
        (Outcome::Committed, 1, vec![7])
    );
    assert_eq!(verdict.images.len(), 3);
}

#[test]
fn the_end_of_the_coordinator_is_seen() {
    let secret = Secret::generate().unwrap();
    let (hub, address) = hub(&secret);
    let zero = hub.local_link(hello("a")).unwrap();
    let one = Link::connect(&[address], &secret, hello("b")).unwrap();
    assert_eq!(welcome(&one), 1);
    welcome(&zero);
    let began = Instant::now();
    drop(hub);
    assert!(matches!(one.recv(SOON), Err(Error::Lost(_))));
    assert!(matches!(zero.recv(SOON), Err(Error::Lost(_))));
    assert!(one.send(Report::Pong(Pong {})).is_err());
    assert!(began.elapsed() < Duration::from_secs(1));
}

#[test]
fn what_was_said_last_arrives() {
    let secret = Secret::generate().unwrap();
    let (hub, address) = hub(&secret);
    let one = Link::connect(&[address], &secret, hello("b")).unwrap();
    welcome(&one);
    one.send(Report::Ended(Ended { status: Some(3) })).unwrap();
    drop(one);
    loop {
        match hub.news(SOON).unwrap().expect("news") {
            News::Ended { status, .. } => break assert_eq!(status, Some(3)),
            News::NodeLost { .. } => panic!("it has said that it leaves"),
            _ => (),
        }
    }
}

/// Does its part until this order comes.
fn until(link: &Link, stop: fn(&Order) -> bool) -> Order {
    loop {
        let order = order(link);
        if stop(&order) {
            return order;
        }
        let report = match order {
            Order::Freeze(one) => Report::Frozen(Frozen {
                attempt: one.attempt,
                ends: Vec::new(),
            }),
            Order::Drain(one) => Report::Drained(Drained { attempt: one.attempt }),
            Order::Collect(one) => Report::Collected(Collected { attempt: one.attempt }),
            Order::Resume(one) => Report::Written(Written {
                attempt: one.attempt,
                ..Written::default()
            }),
            Order::Commit(one) => Report::Committed(Committed { attempt: one.attempt }),
            Order::Welcome(_) => continue,
            other => panic!("{other:?}"),
        };
        link.send(report).unwrap();
    }
}

/// At each step an agent dies: the others hear of it and run on; it comes back, and the next checkpoint is whole.
#[test]
fn an_agent_dies_in_a_checkpoint_and_comes_back() {
    let steps: [fn(&Order) -> bool; 4] = [
        |order| matches!(order, Order::Freeze(_)),
        |order| matches!(order, Order::Drain(_)),
        |order| matches!(order, Order::Collect(_)),
        |order| matches!(order, Order::Resume(_)),
    ];
    for step in steps {
        let secret = Secret::generate().unwrap();
        let (hub, address) = hub(&secret);
        let zero = hub.local_link(hello("a")).unwrap();
        let one = Link::connect(&[address], &secret, hello("b")).unwrap();
        let two = Link::connect(&[address], &secret, hello("c")).unwrap();
        while hub.nodes().unwrap().len() < 3 {
            std::thread::sleep(Duration::from_millis(5));
        }
        hub.request(1, false, "");
        std::thread::scope(|scope| {
            let is_abort = |order: &Order| matches!(order, Order::Abort(_));
            let others = [&zero, &one].map(|link| scope.spawn(move || until(link, is_abort)));
            until(&two, step);
            drop(two);
            for other in others {
                let Order::Abort(abort) = other.join().unwrap() else {
                    panic!()
                };
                assert_eq!((abort.node.as_str(), abort.keep_image), ("c", false));
            }
        });
        assert!(
            matches!(verdict(&hub).outcome, Outcome::Failed(cause) if cause.to_string().starts_with("c: "))
        );
        let number = Some(2);
        let two = Link::connect(
            &[address],
            &secret,
            Hello {
                agent: number,
                ..hello("c")
            },
        )
        .unwrap();
        assert_eq!(welcome(&two), 2);
        hub.request(2, false, "");
        std::thread::scope(|scope| {
            let is_done = |order: &Order| matches!(order, Order::Done(_));
            for link in [&zero, &one, &two] {
                scope.spawn(move || until(link, is_done));
            }
        });
        assert_eq!(verdict(&hub).outcome, Outcome::Committed);
    }
}

#[test]
fn the_coordinator_dies_in_a_checkpoint() {
    let secret = Secret::generate().unwrap();
    let (hub, address) = hub(&secret);
    let one = Link::connect(&[address], &secret, hello("b")).unwrap();
    assert_eq!(welcome(&one), 1);
    hub.request(1, false, "");
    assert!(matches!(order(&one), Order::Freeze(_)));
    drop(hub);
    assert!(
        matches!(one.recv(SOON), Err(Error::Lost(_))),
        "its cue to let everything run again"
    );
}

#[test]
fn a_restart_on_other_nodes() {
    let secret = Secret::generate().unwrap();
    let (hub, address) = hub(&secret);
    let image = |agent: u32| PlannedImage {
        agent,
        node: format!("old{agent}"),
        addresses: vec![format!("10.0.0.{agent}")],
        image: format!("image{agent}").into_bytes(),
    };
    hub.restart(RestartPlan {
        generation: 3,
        images: (0..3).map(image).collect(),
    });
    let zero = hub.local_link(hello("a")).unwrap();
    let one = Link::connect(
        &[address],
        &secret,
        Hello {
            agent: Some(2),
            ..hello("b")
        },
    )
    .unwrap();
    let two = Link::connect(&[address], &secret, hello("c")).unwrap();
    for (link, number) in [(&zero, 0), (&one, 2), (&two, 1)] {
        assert_eq!(welcome(link), number);
        let Order::Prepare(prepare) = order(link) else {
            panic!()
        };
        assert_eq!(
            prepare.of(number).unwrap().image,
            format!("image{number}").into_bytes()
        );
        link.send(Report::Prepared(Prepared {})).unwrap();
    }
    for link in [&zero, &one, &two] {
        assert!(matches!(order(link), Order::Go(_)));
    }
    let is_restarted = |news: &News| *news == News::Restarted { generation: 3 };
    while !is_restarted(&hub.news(SOON).unwrap().expect("news")) {}
}

#[test]
fn all_end_when_the_user_wants_it() {
    let secret = Secret::generate().unwrap();
    let (hub, address) = hub(&secret);
    let zero = hub.local_link(hello("a")).unwrap();
    let one = Link::connect(&[address], &secret, hello("b")).unwrap();
    assert_eq!((welcome(&zero), welcome(&one)), (0, 1));
    hub.kill();
    for link in [zero, one] {
        assert!(matches!(order(&link), Order::Kill(_)));
        link.send(Report::Ended(Ended { status: None })).unwrap();
    }
    let is_over = |news: &News| *news == News::Over { silent: Vec::new() };
    while !is_over(&hub.news(SOON).unwrap().expect("news")) {}
    // Somebody who comes too late.
    let late = Link::connect(&[address], &secret, hello("c")).unwrap();
    assert!(matches!(order(&late), Order::Kill(_)));
    assert!(matches!(late.recv(SOON), Err(Error::Lost(_))));
}
