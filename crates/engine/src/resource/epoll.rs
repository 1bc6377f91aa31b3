//! epoll instances.

use super::descriptor::Seen;
use crate::Result;
use crate::error::Context;
use rethaw_image::record::{DescriptionKind, EpollV1, EpollWatchV1};
use rethaw_sys::proc::EpollTarget;
use rethaw_sys::remote::Remote;
use std::io;

/// What it watches. /proc shows the descriptor numbers of the registration; those may stand for something else
/// by now, so each is looked up by its inode among the process's descriptors (epoll(7), question 6).
pub(crate) fn collect(epoll: &Seen, all: &[Seen]) -> Result<DescriptionKind> {
    let watches = epoll.info.epoll.iter().map(|target| watch(epoll, target, all)).collect::<Result<_>>()?;
    Ok(DescriptionKind::Epoll(EpollV1 { watches }))
}

fn watch(epoll: &Seen, target: &EpollTarget, all: &[Seen]) -> Result<EpollWatchV1> {
    let same = |seen: &&Seen| {
        rethaw_sys::task::epoll_watches((epoll.pid, epoll.fd), target.fd, (seen.pid, seen.fd)).unwrap_or(false)
    };
    let found = all.iter().position(|seen| same(&seen));
    let Some(index) = found else {
        return Err(epoll.refused(&format!("an epoll instance that watches a file (descriptor {} at that time) which the program has closed", target.fd)));
    };
    Ok(EpollWatchV1 { fd: target.fd, events: target.events, data: target.data, description: index as u32 + 1 })
}

/// Registers everything again, from inside the process whose descriptor table holds all of it.
pub(crate) fn rebuild(remote: &mut Remote<'_>, fd: i32, record: &EpollV1) -> Result<()> {
    for watch in &record.watches {
        add(remote, fd, watch).context(|| format!("cannot register descriptor {} with epoll {fd}", watch.fd))?;
    }
    Ok(())
}

fn add(remote: &mut Remote<'_>, fd: i32, watch: &EpollWatchV1) -> io::Result<()> {
    // struct epoll_event is packed on x86-64.
    let mut event = watch.events.to_ne_bytes().to_vec();
    event.extend_from_slice(&watch.data.to_ne_bytes());
    let address = remote.put(0, &event)?;
    let arguments = [fd as u64, libc::EPOLL_CTL_ADD as u64, watch.fd as u64, address, 0, 0];
    remote.must(libc::SYS_epoll_ctl, arguments).map(drop)
}

/// An empty instance.
pub(crate) fn make() -> Result<std::os::fd::OwnedFd> {
    let flags = rustix::event::epoll::CreateFlags::CLOEXEC;
    rustix::event::epoll::create(flags).context(|| "cannot make an epoll instance".to_owned())
}
