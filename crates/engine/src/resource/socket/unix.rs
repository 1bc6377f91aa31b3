//! Unix sockets: who is connected to whom, who waits to be accepted, and what is in flight between them.

use super::super::descriptor::{Descriptions, Processes, Seen, Surroundings};
use super::super::file::Names;
use super::queue::{self, Peeked};
use super::{Around, Common, name, service};
use crate::Result;
use crate::checkpoint::External;
use crate::error::{Context, Error};
use crate::launcher;
use rethaw_image::record::{UnixCredentialsV1, UnixMessageV1, UnixSocketV1};
use rethaw_sys::proc::Pid;
use rethaw_sys::socket::{Credentials, UnixSocket, peer_credentials, peer_name, unix_socket};
use rustix::fs::fstat;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

/// All Unix sockets of a computation, by the numbers of their descriptions.
#[derive(Debug, Default)]
pub(crate) struct UnixSockets {
    /// What sock_diag(7) tells of them.
    shown: BTreeMap<u32, UnixSocket>,
    by_inode: BTreeMap<u32, u32>,
    queues: BTreeMap<u32, Vec<UnixMessageV1>>,
    /// Inodes of the clients whose connections were not accepted yet.
    waiting: BTreeSet<u32>,
    /// Descriptions that cannot be looked at.
    refused: BTreeSet<u32>,
    /// What to do about connections to the outside.
    external: External,
}

impl UnixSockets {
    pub(super) fn external(&self) -> External {
        self.external
    }

    /// Whether it was refused already.
    pub(super) fn is_refused(&self, id: u32) -> bool {
        self.refused.contains(&id)
    }
}

/// Looks at all Unix sockets and into their queues. Descriptions in flight there are added to `descriptions`;
/// among them may be sockets with queues.
pub(crate) fn look(descriptions: &mut Descriptions, surroundings: &Surroundings<'_>) -> Result<UnixSockets> {
    let (known, refusals) = (surroundings.known, surroundings.refusals);
    let mut sockets = UnixSockets {
        external: surroundings.external,
        ..UnixSockets::default()
    };
    for id in 1.. {
        let Some(seen) = descriptions.get(id) else { break };
        let inherited = launcher::slot((seen.pid, seen.fd), &seen.duplicate, seen.info.flags, known);
        if inherited.is_some() || !is_unix(seen) {
            continue;
        }
        let Some((shown, peeked)) = refusals.pass(look_into(seen))? else {
            sockets.refused.insert(id);
            continue;
        };
        let inode = inode(&seen.duplicate).context(|| format!("cannot look at {}", seen.name()))?;
        let carrier = seen.in_flight.unwrap_or((seen.pid, seen.fd));
        sockets.by_inode.insert(inode, id);
        sockets.waiting.extend(&shown.clients);
        sockets.shown.insert(id, shown);
        let messages = peeked
            .into_iter()
            .map(|message| record(message, descriptions, carrier));
        let messages = messages.collect::<Result<_>>()?;
        sockets.queues.insert(id, messages);
    }
    Ok(sockets)
}

/// What the kernel tells of one, and what waits in it.
fn look_into(seen: &Seen) -> Result<(UnixSocket, Vec<Peeked>)> {
    let shown = ask(seen)?;
    let peeked = match shown.listens {
        true => Vec::new(),
        false => queue::copy(seen, socket_type(seen)?)?,
    };
    Ok((shown, peeked))
}

fn record(message: Peeked, descriptions: &mut Descriptions, carrier: (Pid, i32)) -> Result<UnixMessageV1> {
    let in_flight = |fd: OwnedFd| descriptions.in_flight(fd, carrier);
    Ok(UnixMessageV1 {
        bytes: message.bytes,
        descriptions: message
            .descriptors
            .into_iter()
            .map(in_flight)
            .collect::<Result<_>>()?,
        credentials: message.credentials.map(|by| inside(by, &descriptions.processes)),
        sender: message.sender,
        urgent: message.urgent,
    })
}

/// A process as the computation sees it. One that has ended keeps its number where we see the numbers that the
/// computation sees; one outside has none.
fn inside(by: Credentials, processes: &Processes) -> UnixCredentialsV1 {
    let same_numbers = processes.inside.iter().all(|(outside, inside)| outside == inside);
    let ended = || same_numbers && !Path::new(&format!("/proc/{}", by.pid)).exists();
    let pid = match processes.inside.get(&by.pid) {
        Some(inside) => *inside,
        None if ended() => by.pid,
        None => 0,
    };
    UnixCredentialsV1 {
        pid,
        uid: by.uid,
        gid: by.gid,
    }
}

fn is_unix(seen: &Seen) -> bool {
    let is_socket = seen.target.as_os_str().as_encoded_bytes().starts_with(b"socket:");
    is_socket && Common::ask(seen, libc::SO_DOMAIN).is_ok_and(|family| family == libc::AF_UNIX)
}

fn socket_type(seen: &Seen) -> Result<i32> {
    Common::ask(seen, libc::SO_TYPE)
}

/// The inode number by which sock_diag(7) knows it.
fn inode(socket: impl AsFd) -> io::Result<u32> {
    Ok(fstat(socket)?.st_ino as u32)
}

fn ask(seen: &Seen) -> Result<UnixSocket> {
    let name = || format!("cannot ask the kernel about {}", seen.name());
    match unix_socket(inode(&seen.duplicate).context(name)?) {
        Err(e) if e.raw_os_error() == Some(libc::ENOENT) => {
            Err(seen
                .refused("a Unix socket of another network namespace, or the kernel lacks CONFIG_UNIX_DIAG"))
        }
        outcome => outcome.context(name),
    }
}

/// Collects one of them, description `id`.
pub(super) fn collect(
    seen: &Seen,
    id: u32,
    around: &Around<'_>,
    common: Common,
    names: &Names,
) -> Result<UnixSocketV1> {
    let (sockets, processes) = (&around.unix, around.processes);
    let context = || format!("cannot look at {}", seen.name());
    let Some(shown) = sockets.shown.get(&id) else {
        return Err(Error::Ended);
    };
    let mut record = UnixSocketV1 {
        socket_type: common.socket_type,
        bound: name::bound(seen, shown, processes, names)?,
        listens: shown.listens,
        shutdown: shown.shutdown.into(),
        reset: queue::is_reset(seen),
        send_buffer: common.send_buffer,
        receive_buffer: common.receive_buffer,
        options: common.options,
        peer_credentials: peer_credentials(seen.duplicate.as_fd())
            .context(context)?
            .map(|by| inside(by, processes)),
        ..UnixSocketV1::default()
    };
    if shown.listens {
        record.backlog = shown.backlog_or_sent;
        record.waiting = clients(seen, shown, sockets)?;
    }
    connection(seen, shown, sockets, &mut record)?;
    record.queue = sockets.queues.get(&id).cloned().unwrap_or_default();
    refuse_hidden(seen, id, sockets, &record)?;
    Ok(record)
}

/// The clients of a socket that listens, whose connections it has not accepted yet. What they have sent already
/// lies in sockets that nobody has a descriptor of: it cannot be looked at.
fn clients(seen: &Seen, shown: &UnixSocket, sockets: &UnixSockets) -> Result<Vec<u32>> {
    let client = |inode: &u32| match sockets.by_inode.get(inode) {
        Some(id)
            if sockets
                .shown
                .get(id)
                .is_some_and(|client| client.backlog_or_sent == 0) =>
        {
            Ok(*id)
        }
        Some(_) => Err(later(
            seen,
            "a connection that was not accepted yet and on which something was sent",
        )),
        None if *inode == 0 => Err(later(seen, "a connection that was closed before it was accepted")),
        None => Err(later(
            seen,
            "a connection from outside of the computation that was not accepted yet",
        )),
    };
    shown.clients.iter().map(client).collect()
}

/// The refusal of what will be over in a moment.
fn later(seen: &Seen, what: &str) -> Error {
    let refusal = match seen.refused(what) {
        Error::Refused { what, pid, place, .. } => Error::Refused {
            what,
            pid,
            place,
            remedy: "the next checkpoint tries again".to_owned(),
        },
        other => other,
    };
    Error::Passing(Box::new(refusal))
}

/// To whom it is connected.
fn connection(
    seen: &Seen,
    shown: &UnixSocket,
    sockets: &UnixSockets,
    record: &mut UnixSocketV1,
) -> Result<()> {
    let context = || format!("cannot look at {}", seen.name());
    let Some(peer) = shown.peer else {
        return refuse_error(seen, record);
    };
    record.peer_name = peer_name(seen.duplicate.as_fd()).context(context)?;
    if let Some(id) = sockets.by_inode.get(&peer) {
        record.peer = *id;
        record.peer_name.clear();
        return refuse_error(seen, record);
    }
    let own = inode(&seen.duplicate).context(context)?;
    if sockets.waiting.contains(&own) {
        record.peer_name.clear();
        return refuse_error(seen, record);
    }
    // A socket whose peer has closed it is shut down in both directions (unix_release_sock); one that is still in
    // the queue of a listener has no inode either.
    record.peer_closed = peer == 0 && (record.socket_type == libc::SOCK_DGRAM || record.shutdown == 3);
    match record.peer_closed {
        true if record.socket_type == libc::SOCK_DGRAM => refuse_error(seen, record),
        true => Ok(()),
        false if service::is_known(&record.peer_name) => {
            service::collect(record);
            Ok(())
        }
        false if sockets.external == External::Refuse => Err(outside(seen)),
        false => {
            cut_off(record, sockets.external);
            Ok(())
        }
    }
}

/// After a restart, the other end is as closed as the user wants it.
fn cut_off(record: &mut UnixSocketV1, external: External) {
    record.peer_closed = true;
    if record.socket_type != libc::SOCK_DGRAM {
        record.shutdown = 3;
        record.reset = external == External::Reset;
    }
}

/// Only where the other end was closed can the error be made again.
fn refuse_error(seen: &Seen, record: &UnixSocketV1) -> Result<()> {
    match record.reset {
        true => Err(seen.refused("a socket with an error that the program has not read yet")),
        false => Ok(()),
    }
}

fn outside(seen: &Seen) -> Error {
    match seen.refused("a Unix socket whose other end is outside of the computation") {
        Error::Refused { what, pid, place, .. } => Error::Refused {
            what,
            pid,
            place,
            remedy: "start both programs under one rethaw, take the checkpoint while it is closed, or have it closed \
                     at a restart with --external close (or reset)"
                .to_owned(),
        },
        other => other,
    }
}

/// An empty message can be looked at once only, and an earlier checkpoint did.
fn refuse_hidden(seen: &Seen, id: u32, sockets: &UnixSockets, record: &UnixSocketV1) -> Result<()> {
    if record.socket_type == libc::SOCK_STREAM || record.listens || record.reset {
        return Ok(());
    }
    let readable = super::signs(seen).contains(rustix::event::PollFlags::IN) && record.shutdown & 1 == 0;
    let sender = sockets.shown.get(&record.peer);
    let mutual = sender
        .and_then(|sender| sender.peer)
        .and_then(|peer| sockets.by_inode.get(&peer))
        == Some(&id);
    let hides = match sender {
        Some(sender) if mutual => hides(sender.backlog_or_sent, &record.queue, record.socket_type)?,
        _ => false,
    };
    match record.queue.is_empty() && readable || hides {
        true => Err(seen.refused("a socket in which empty messages wait, at a second checkpoint")),
        false => Ok(()),
    }
}

/// Whether the other end has sent more than these messages: what it sent takes more memory than they do when
/// they are sent again.
fn hides(sent: u32, messages: &[UnixMessageV1], socket_type: i32) -> Result<bool> {
    const LEAST: u32 = 512; // struct sk_buff and struct skb_shared_info, without any bytes
    if messages.is_empty() {
        return Ok(false);
    }
    let name = || "cannot try a socket pair".to_owned();
    let (one, _other) = super::make::pair(socket_type)?;
    for message in messages {
        super::send::send(
            one.as_fd(),
            &message.bytes,
            &[],
            None,
            rustix::net::SendFlags::empty(),
            false,
        )
        .context(name)?;
    }
    let shown = unix_socket(inode(&one).context(name)?).context(name)?;
    Ok(sent >= shown.backlog_or_sent + LEAST)
}
