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
