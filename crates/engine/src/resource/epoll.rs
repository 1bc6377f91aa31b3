//! epoll instances.

use super::descriptor::Seen;
use crate::Result;
use crate::error::Context;
use rethaw_image::record::{DescriptionKind, DescriptorV1, EpollV1, EpollWatchV1, ProcessV1};
use rethaw_sys::proc::EpollTarget;
use rethaw_sys::remote::Remote;
use std::io;

/// What it watches. /proc shows the descriptor numbers of the registration; those may stand for something else
/// by now, so each is looked up by its inode among the process's descriptors (epoll(7), question 6).
pub(crate) fn collect(epoll: &Seen, all: &[Seen]) -> Result<DescriptionKind> {
    let mut watches = Vec::new();
    let targets = &epoll.info.epoll;
    for (index, target) in targets.iter().enumerate() {
        // A number that was closed and used again can be there several times; the kernel counts in this order.
        let before = targets[..index]
            .iter()
            .filter(|other| other.fd == target.fd)
            .count();
        watches.push(watch(epoll, target, before as u32, all)?);
    }
    Ok(DescriptionKind::Epoll(EpollV1 { watches }))
}

fn watch(epoll: &Seen, target: &EpollTarget, before: u32, all: &[Seen]) -> Result<EpollWatchV1> {
    let instance = (epoll.pid, epoll.fd);
    let same = |seen: &&Seen| {
        seen.info.ino.is_none_or(|ino| ino == target.ino)
            && rethaw_sys::task::epoll_watches(instance, (target.fd, before), (seen.pid, seen.fd))
                .unwrap_or(false)
    };
    let found = all.iter().position(|seen| same(&seen));
    let Some(index) = found else {
        return Err(epoll.refused(&format!(
            "an epoll instance that watches a file (descriptor {} at that time) which the program has closed",
            target.fd
        )));
    };
    Ok(EpollWatchV1 {
        fd: target.fd,
        events: target.events,
        data: target.data,
        description: index as u32 + 1,
    })
}

/// Registers everything again, from inside a process that has the instance.
pub(crate) fn rebuild(
    remote: &mut Remote<'_>,
    epoll: &DescriptorV1,
    record: &EpollV1,
    table: &[DescriptorV1],
    all: &[ProcessV1],
) -> Result<()> {
    for watch in &record.watches {
        let name = || format!("cannot register descriptor {} with epoll {}", watch.fd, epoll.fd);
        let now = table.iter().find(|d| d.fd == watch.fd);
        if now.is_some_and(|d| d.description == watch.description) {
            add(remote, epoll.fd, watch).context(name)?;
            continue;
        }
        if let Some(elsewhere) = table.iter().find(|d| d.description == watch.description) {
            add_under_old_number(remote, epoll.fd, watch, elsewhere.fd, now).context(name)?;
            continue;
        }
        let fetched = fetch(remote, watch.description, all)?;
        if fetched == watch.fd as u64 {
            add(remote, epoll.fd, watch).context(name)?;
        } else {
            add_under_old_number(remote, epoll.fd, watch, fetched as i32, now).context(name)?;
        }
        remote
            .must(libc::SYS_close, [fetched, 0, 0, 0, 0, 0])
            .context(name)?;
    }
    Ok(())
}

/// A duplicate of a description that only another process has. Gives its number.
fn fetch(remote: &mut Remote<'_>, description: u32, all: &[ProcessV1]) -> Result<u64> {
    let name = || "cannot duplicate a descriptor of another process".to_owned();
    let mut tables = all
        .iter()
        .flat_map(|p| p.descriptors.iter().map(move |d| (p.pid, d)));
    let Some((pid, there)) = tables.find(|(_, d)| d.description == description) else {
        return Err(crate::restart::damaged(
            "an epoll instance that watches a file which no descriptor is of",
        ));
    };
    let pidfd = remote
        .must(libc::SYS_pidfd_open, [pid as u64, 0, 0, 0, 0, 0])
        .context(name)?;
    let got = remote.must(libc::SYS_pidfd_getfd, [pidfd, there.fd as u64, 0, 0, 0, 0]);
    remote
        .must(libc::SYS_close, [pidfd, 0, 0, 0, 0, 0])
        .context(name)?;
    got.context(name)
}

fn add(remote: &mut Remote<'_>, epoll: i32, watch: &EpollWatchV1) -> io::Result<()> {
    // struct epoll_event is packed on x86-64.
    let mut event = watch.events.to_ne_bytes().to_vec();
    event.extend_from_slice(&watch.data.to_ne_bytes());
    let address = remote.put(0, &event)?;
    let arguments = [
        epoll as u64,
        libc::EPOLL_CTL_ADD as u64,
        watch.fd as u64,
        address,
        0,
        0,
    ];
    remote.must(libc::SYS_epoll_ctl, arguments).map(drop)
}

/// A registration belongs to (number, description): the number has to be the old one for a moment, although it
/// is closed or something else by now.
fn add_under_old_number(
    remote: &mut Remote<'_>,
    epoll: i32,
    watch: &EpollWatchV1,
    elsewhere: i32,
    now: Option<&DescriptorV1>,
) -> io::Result<()> {
    let number = watch.fd as u64;
    let keep = |fd: u64| [fd, libc::F_DUPFD_CLOEXEC as u64, 0, 0, 0, 0];
    let kept = match now {
        Some(_) => Some(remote.must(libc::SYS_fcntl, keep(number))?),
        None => None,
    };
    remote.must(
        libc::SYS_dup3,
        [elsewhere as u64, number, libc::O_CLOEXEC as u64, 0, 0, 0],
    )?;
    // While it is a duplicate, the number and the description are registered; the duplicate may go.
    add(remote, epoll, watch)?;
    match (kept, now) {
        (Some(kept), Some(now)) => {
            let flags = if now.close_on_exec {
                libc::O_CLOEXEC as u64
            } else {
                0
            };
            remote.must(libc::SYS_dup3, [kept, number, flags, 0, 0, 0])?;
            remote.must(libc::SYS_close, [kept, 0, 0, 0, 0, 0]).map(drop)
        }
        _ => remote.must(libc::SYS_close, [number, 0, 0, 0, 0, 0]).map(drop),
    }
}

/// An empty instance.
pub(crate) fn make() -> Result<std::os::fd::OwnedFd> {
    let flags = rustix::event::epoll::CreateFlags::CLOEXEC;
    rustix::event::epoll::create(flags).context(|| "cannot make an epoll instance".to_owned())
}
