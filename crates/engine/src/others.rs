//! The other nodes of a computation, as far as one node's agent needs them. How they are reached is not the engine's
//! business.

use crate::Result;
use std::net::{IpAddr, SocketAddr};

/// An end of a TCP connection whose other end is not on this node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct End {
    /// Its own address.
    pub own: SocketAddr,
    /// The other end's.
    pub peer: SocketAddr,
    /// A socket of the computation listens at its own address: it was most likely accepted there.
    pub listens: bool,
}

/// An end whose other end was found on another node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Inside {
    /// Its own address.
    pub own: SocketAddr,
    /// The other end's.
    pub peer: SocketAddr,
    /// At a restart it accepts, and the other one connects. Exactly one of the two does.
    pub accepts: bool,
}

/// The steps of a checkpoint that all nodes do together. Each call waits until every node has come so far, and fails when
/// one of them did not.
pub trait Others {
    /// The processes of this node stand still; `ends` lead away from it. Tells which of them lead to other nodes of the
    /// computation.
    fn frozen(&mut self, ends: Vec<End>) -> Result<Vec<Inside>>;
    /// What was on its way from this node has arrived. While others still send, `receive` is called every few
    /// milliseconds, so that what they send is acknowledged.
    fn drained(&mut self, receive: &mut dyn FnMut()) -> Result<()>;
    /// The state of this node is collected. Then all may run again.
    fn collected(&mut self) -> Result<()>;
}

/// What has to be known at a restart to find the other nodes again.
#[derive(Debug, Clone, Default)]
pub struct Meeting {
    /// Old address → new address, of all nodes.
    pub moves: Vec<(IpAddr, IpAddr)>,
    /// What ends show each other, so that no stranger is taken for one: the same on all nodes, and known to no one else.
    pub key: [u8; 16],
}

impl Meeting {
    /// The address that a node has now.
    pub fn moved(&self, old: SocketAddr) -> SocketAddr {
        let ip = rethaw_sys::inet_diag::canonical(old).ip();
        let to = self.moves.iter().find(|(from, _)| *from == ip);
        match (to, old) {
            (None, _) => old,
            (Some((_, IpAddr::V4(to))), SocketAddr::V6(_)) => {
                SocketAddr::new(IpAddr::V6(to.to_ipv6_mapped()), old.port())
            }
            (Some((_, to)), _) => SocketAddr::new(*to, old.port()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_move_and_ports_stay() {
        let ip = |text: &str| text.parse::<IpAddr>().unwrap_or(IpAddr::from([0; 4]));
        let meeting = Meeting {
            moves: vec![(ip("10.0.0.1"), ip("10.0.0.7"))],
            ..Meeting::default()
        };
        for (old, new) in [
            ("10.0.0.1:80", "10.0.0.7:80"),
            ("10.0.0.2:80", "10.0.0.2:80"),
            ("[::ffff:10.0.0.1]:9", "[::ffff:10.0.0.7]:9"),
            ("0.0.0.0:1", "0.0.0.0:1"),
        ] {
            let old: SocketAddr = old.parse().unwrap_or(SocketAddr::from(([0; 4], 0)));
            assert_eq!(meeting.moved(old).to_string(), new);
        }
    }
}
