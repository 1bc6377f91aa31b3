//! Multicast groups that a socket has joined. The kernel tells who is in which group per interface only
//! (/proc/net/igmp); so every socket is asked about every group that there is.

use super::super::descriptor::Seen;
use crate::Result;
use crate::error::{Context, Error};
use rethaw_image::record::MembershipV1;
use rethaw_sys::inet::{Senders, senders};
use rethaw_sys::socket::set_option;
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::BorrowedFd;

/// A group that somebody is in, and the interface.
type Group = (IpAddr, String);

pub(super) fn collect(seen: &Seen, socket: BorrowedFd<'_>) -> Result<Vec<MembershipV1>> {
    let mut found = Vec::new();
    for (group, interface) in groups() {
        let Ok(index) = index_of(&interface) else { continue };
        match senders(socket, index, group).context(|| format!("cannot look at {}", seen.name()))? {
            Senders::NotJoined => {}
            Senders::All => found.push(MembershipV1 {
                group: group.to_string(),
                interface,
                ..MembershipV1::default()
            }),
            Senders::Some => {
                let what = format!("a socket that hears only some senders of the multicast group {group}");
                return Err(seen.refused(&what));
            }
        }
    }
    Ok(found)
}

/// All groups of this network namespace.
fn groups() -> Vec<Group> {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    let mut found = groups_v4(&read("/proc/net/igmp"));
    found.extend(groups_v6(&read("/proc/net/igmp6")));
    found
}

/// A line per interface, and lines that begin with white space for its groups.
fn groups_v4(text: &str) -> Vec<Group> {
    let (mut found, mut interface) = (Vec::new(), String::new());
    for line in text.lines().skip(1) {
        let mut words = line.split_whitespace();
        if line.starts_with(char::is_whitespace) {
            let group = words.next().and_then(|hex| u32::from_str_radix(hex, 16).ok());
            // The bytes in their order, shown as a number of this machine.
            found.extend(
                group.map(|group| (IpAddr::V4(Ipv4Addr::from(group.to_ne_bytes())), interface.clone())),
            );
        } else {
            interface = words.nth(1).unwrap_or_default().to_owned();
        }
    }
    found
}

/// A line per group: index, interface, address.
fn groups_v6(text: &str) -> Vec<Group> {
    let each = text.lines().filter_map(|line| {
        let mut words = line.split_whitespace().skip(1);
        let interface = words.next()?.to_owned();
        let group = u128::from_str_radix(words.next()?, 16).ok()?;
        Some((IpAddr::V6(Ipv6Addr::from(group)), interface))
    });
    each.collect()
}

fn index_of(interface: &str) -> io::Result<u32> {
    let text = fs::read_to_string(format!("/sys/class/net/{interface}/ifindex"))?;
    text.trim().parse().map_err(io::Error::other)
}

/// Joins the groups again.
pub(super) fn rebuild(socket: BorrowedFd<'_>, memberships: &[MembershipV1]) -> Result<()> {
    const MCAST_JOIN_GROUP: i32 = 42;
    for one in memberships {
        let not_here = || Error::CannotRestart {
            what: format!(
                "the program is in the multicast group {} on the interface {}, which is not here",
                one.group, one.interface
            ),
            remedy: "restart on the node where the checkpoint was taken".to_owned(),
        };
        let group: IpAddr = one.group.parse().map_err(|_| not_here())?;
        if one.interface.contains('/') {
            return Err(not_here());
        }
        let index = index_of(&one.interface).map_err(|_| not_here())?;
        let (level, request) = rethaw_sys::inet::group_request(index, group);
        set_option(socket, level, MCAST_JOIN_GROUP, &request)
            .context(|| format!("cannot join the multicast group {group}"))?;
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_read() {
        let v4 = "Idx\tDevice    : Count Querier\tGroup    Users Timer\tReporter\n1\tlo        :     1      V3\n\
                  \t\t\t\t010000E0     1 0:00000000\t\t0\n2\teth0      :     2      V3\n\t\t\t\tFB0000E0     1 0:0\t0\n";
        let wanted: Vec<Group> = [("224.0.0.1", "lo"), ("224.0.0.251", "eth0")]
            .map(|(group, interface)| (group.parse().unwrap(), interface.to_owned()))
            .to_vec();
        assert_eq!(groups_v4(v4), wanted);
        let v6 = "1    lo              ff020000000000000000000000000001     1 0000000C 0\n";
        assert_eq!(groups_v6(v6), [("ff02::1".parse().unwrap(), "lo".to_owned())]);
    }
}
