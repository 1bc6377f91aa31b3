//! Netlink sockets with which nothing is under way: their number, their groups and options.

use super::super::descriptor::Seen;
use super::{SOL_NETLINK, set_options, signs};
use crate::Result;
use crate::error::{Context, Error};
use crate::restart::damaged;
use rethaw_image::record::{NetlinkV1, SocketV1};
use rethaw_sys::socket::{option, set_option};
use rustix::event::PollFlags;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, Protocol, SocketFlags, SocketType, bind, getsockname, socket_with};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

const ADD_MEMBERSHIP: i32 = 1; // NETLINK_ADD_MEMBERSHIP
const LIST_MEMBERSHIPS: i32 = 9; // NETLINK_LIST_MEMBERSHIPS, Linux 4.2
/// Groups of a kernel's protocol: far more than any has.
const MOST_GROUPS: u32 = 2048;

pub(super) fn collect(seen: &Seen, mut record: SocketV1) -> Result<SocketV1> {
    let name = || format!("cannot look at {}", seen.name());
    if signs(seen).intersects(PollFlags::IN | PollFlags::ERR) {
        // The answer to a question: read within a moment.
        let refusal = seen.refused("a netlink socket with a message that is not read yet");
        return Err(Error::Passing(Box::new(refusal)));
    }
    let address = getsockname(&seen.duplicate).context(name)?;
    let address = SocketAddrNetlink::try_from(address).context(name)?;
    record.netlink = Some(NetlinkV1 {
        port: address.pid(),
        groups: groups(seen.duplicate.as_fd()).context(name)?,
    });
    Ok(record)
}

/// By a bit each, first the lowest of the first byte, which stands for group 1.
fn groups(socket: BorrowedFd<'_>) -> io::Result<Vec<u32>> {
    let bits = match option(socket, SOL_NETLINK, LIST_MEMBERSHIPS) {
        Err(e) if e.raw_os_error() == Some(libc::ENOPROTOOPT) => Vec::new(),
        outcome => outcome?,
    };
    let each = bits
        .iter()
        .flat_map(|byte| (0..8).map(move |bit| byte >> bit & 1 != 0));
    Ok((1..)
        .zip(each)
        .filter_map(|(group, joined)| joined.then_some(group))
        .collect())
}

pub(super) fn rebuild(record: &SocketV1) -> Result<OwnedFd> {
    let name = || "cannot rebuild a netlink socket".to_owned();
    let Some(netlink) = &record.netlink else {
        return Err(damaged("a netlink socket without a number"));
    };
    let kind = match record.socket_type {
        libc::SOCK_RAW => SocketType::RAW,
        libc::SOCK_DGRAM => SocketType::DGRAM,
        _ => return Err(damaged("a netlink socket of unknown type")),
    };
    let protocol = u32::try_from(record.protocol)
        .ok()
        .and_then(std::num::NonZeroU32::new);
    let protocol = protocol.map(Protocol::from_raw);
    let socket = socket_with(AddressFamily::NETLINK, kind, SocketFlags::CLOEXEC, protocol).context(name)?;
    if netlink.port != 0 {
        match bind(&socket, &SocketAddrNetlink::new(netlink.port, 0)) {
            // The number, which the kernel chooses by itself, is only a name for answers: another one does as well.
            Err(rustix::io::Errno::ADDRINUSE) => bind(&socket, &SocketAddrNetlink::new(0, 0)),
            outcome => outcome,
        }
        .context(name)?;
    }
    for group in netlink.groups.iter().filter(|group| **group <= MOST_GROUPS) {
        set_option(socket.as_fd(), SOL_NETLINK, ADD_MEMBERSHIP, &group.to_ne_bytes()).context(name)?;
    }
    super::internet::set_sizes(socket.as_fd(), record).context(name)?;
    set_options(socket.as_fd(), &record.options).context(name)?;
    Ok(socket)
}
