//! Which ends of connections belong together.

use crate::message::{End, Hello, Inside};
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};

/// What an agent has said of itself and its ends.
pub(super) struct Side<'a> {
    pub(super) agent: u32,
    pub(super) hello: &'a Hello,
    pub(super) ends: &'a [End],
}

/// Own and other address, and for loopback addresses the machine on which they mean something.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Name<'a> {
    own: SocketAddr,
    peer: SocketAddr,
    machine: Option<(&'a str, &'a str)>,
}

impl Name<'_> {
    fn reversed(&self) -> Self {
        Name {
            own: self.peer,
            peer: self.own,
            ..self.clone()
        }
    }
}

fn address(text: &str) -> Option<SocketAddr> {
    let address: SocketAddr = text.parse().ok()?;
    // An IPv4 connection of an IPv6 socket; scope identifiers are another node's.
    Some(SocketAddr::new(address.ip().to_canonical(), address.port()))
}

fn name<'a>(end: &End, hello: &'a Hello) -> Option<Name<'a>> {
    let (own, peer) = (address(&end.own)?, address(&end.peer)?);
    let loopback = |ip: IpAddr| ip.is_loopback();
    let machine =
        (loopback(own.ip()) || loopback(peer.ip())).then_some((hello.boot_id.as_str(), hello.node.as_str()));
    Some(Name { own, peer, machine })
}

/// For each side, in the same order, those of its ends whose other end is another side's. A name that two sides claim
/// says nothing, so it counts as the outside.
pub(super) fn matched(sides: &[Side<'_>]) -> Vec<Vec<Inside>> {
    let mut known: HashMap<Name<'_>, Option<(usize, &End)>> = HashMap::new();
    for (index, side) in sides.iter().enumerate() {
        for end in side.ends {
            let Some(name) = name(end, side.hello) else {
                continue;
            };
            let entry = known.entry(name).or_insert(Some((index, end)));
            if entry.is_some_and(|(other, _)| other != index) {
                *entry = None;
            }
        }
    }
    let mut inside = vec![Vec::new(); sides.len()];
    for (name, place) in &known {
        let Some((index, end)) = *place else { continue };
        let Some(Some((other, far))) = known.get(&name.reversed()) else {
            continue;
        };
        if *other == index {
            continue;
        }
        let accepts = if end.listens == far.listens {
            name.own < name.peer
        } else {
            end.listens
        };
        inside[index].push(Inside {
            own: end.own.clone(),
            peer: end.peer.clone(),
            accepts,
            agent: sides[*other].agent,
        });
    }
    inside
        .iter_mut()
        .for_each(|ends| ends.sort_by(|a, b| (&a.own, &a.peer).cmp(&(&b.own, &b.peer))));
    inside
}
