#![allow(clippy::unwrap_used)]

use super::bench::hello;
use super::matching::{Side, matched};
use crate::message::{End, Hello, Inside};
use proptest::prelude::*;

fn end(own: &str, peer: &str, listens: bool) -> End {
    End {
        own: own.to_string(),
        peer: peer.to_string(),
        listens,
    }
}

/// One side per entry: host name and ends.
fn matches(sides: &[(&str, Vec<End>)]) -> Vec<Vec<Inside>> {
    let hellos: Vec<Hello> = sides.iter().map(|(node, _)| hello(node, None)).collect();
    let sides: Vec<Side<'_>> = (0u32..)
        .zip(&hellos)
        .zip(sides)
        .map(|((agent, hello), (_, ends))| Side { agent, hello, ends })
        .collect();
    matched(&sides)
}

#[test]
fn two_ends_of_a_connection_belong_together() {
    let found = matches(&[
        (
            "a",
            vec![
                end("10.0.0.1:40000", "10.0.0.2:80", false),
                end("10.0.0.1:40001", "8.8.8.8:53", false),
            ],
        ),
        ("b", vec![end("10.0.0.2:80", "10.0.0.1:40000", true)]),
    ]);
    assert_eq!(found[0].len(), 1, "the other leads outside");
    assert_eq!(
        (found[0][0].own.as_str(), found[0][0].accepts, found[0][0].agent),
        ("10.0.0.1:40000", false, 1)
    );
    assert_eq!(
        (found[1][0].own.as_str(), found[1][0].accepts, found[1][0].agent),
        ("10.0.0.2:80", true, 0)
    );
}

#[test]
fn exactly_one_accepts_even_if_both_or_none_listen() {
    for listens in [true, false] {
        let found = matches(&[
            ("a", vec![end("10.0.0.1:5", "10.0.0.2:6", listens)]),
            ("b", vec![end("10.0.0.2:6", "10.0.0.1:5", listens)]),
        ]);
        assert!(found[0][0].accepts, "the smaller address");
        assert!(!found[1][0].accepts);
    }
}

#[test]
fn loopback_means_something_on_one_machine_only() {
    let ends = || {
        (
            vec![end("127.0.0.1:5", "127.0.0.1:6", false)],
            vec![end("127.0.0.1:6", "127.0.0.1:5", true)],
        )
    };
    let (one, other) = ends();
    assert_eq!(matches(&[("a", one), ("b", other)]), [vec![], vec![]]);
    let (one, other) = ends();
    assert_eq!(matches(&[("a", one), ("a", other)])[0].len(), 1);
}

#[test]
fn both_ends_with_one_agent_are_its_own_matter() {
    let both = vec![
        end("10.0.0.1:5", "10.0.0.1:6", false),
        end("10.0.0.1:6", "10.0.0.1:5", true),
    ];
    assert_eq!(matches(&[("a", both), ("b", vec![])]), [vec![], vec![]]);
}

#[test]
fn an_ipv4_connection_of_an_ipv6_socket_is_the_same() {
    let found = matches(&[
        (
            "a",
            vec![end("[::ffff:10.0.0.1]:5", "[::ffff:10.0.0.2]:6", false)],
        ),
        ("b", vec![end("10.0.0.2:6", "10.0.0.1:5", true)]),
    ]);
    assert_eq!(found[0][0].own, "[::ffff:10.0.0.1]:5", "as the agent has said it");
    assert_eq!(found[1][0].peer, "10.0.0.1:5");
    let found = matches(&[
        ("a", vec![end("[fe80::1%2]:5", "[fe80::2%2]:6", false)]),
        ("b", vec![end("[fe80::2%3]:6", "[fe80::1%3]:5", true)]),
    ]);
    assert_eq!(found[0].len(), 1, "the number of an interface is each node's own");
}

#[test]
fn a_name_that_two_claim_says_nothing() {
    let claim = || vec![end("172.17.0.1:5", "172.17.0.2:6", false)];
    let found = matches(&[
        ("a", claim()),
        ("b", claim()),
        ("c", vec![end("172.17.0.2:6", "172.17.0.1:5", true)]),
    ]);
    assert!(found.iter().all(Vec::is_empty));
}

#[test]
fn what_is_no_address_is_outside() {
    let found = matches(&[
        ("a", vec![end("x", "y", false)]),
        ("b", vec![end("y", "x", true)]),
    ]);
    assert!(found.iter().all(Vec::is_empty));
}

proptest! {
    #[test]
    fn each_has_one_partner_and_one_of_the_two_accepts(
        ends in prop::collection::vec(prop::collection::vec((0u8..6, 0u8..6, any::<bool>()), 0..8), 1..5),
    ) {
        let name = |number: u8| format!("10.0.0.{number}:1");
        let nodes = ["a", "b", "c", "d"];
        let sides: Vec<(&str, Vec<End>)> = nodes
            .into_iter()
            .zip(&ends)
            .map(|(node, ends)| {
                let ends = ends.iter().map(|(own, peer, listens)| end(&name(*own), &name(*peer), *listens));
                (node, ends.collect())
            })
            .collect();
        let found = matches(&sides);
        for (index, inside) in found.iter().enumerate() {
            for one in inside {
                let other = &found[one.agent as usize];
                let partners: Vec<_> = other.iter().filter(|far| far.own == one.peer && far.peer == one.own).collect();
                prop_assert_eq!(partners.len(), 1);
                prop_assert_eq!(partners[0].agent as usize, index);
                prop_assert_ne!(partners[0].accepts, one.accepts);
            }
        }
    }
}
