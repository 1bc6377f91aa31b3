//! Unix sockets, the other direction: made and bound, then filled, and last given their state.

use super::send::deliver;
use super::workshop::{Letter, Spot, Workshop};
use super::{datagram, name, set_buffers, set_options, shut, stream};
use crate::Result;
use crate::error::Context;
use crate::restart::{Places, Stub, damaged};
use rethaw_image::record::{
    DescriptionKind, DescriptionV1, UnixCredentialsV1, UnixMessageV1, UnixNameV1, UnixSocketV1,
};
use rustix::net::{AddressFamily, SendFlags, SocketFlags, SocketType, bind, socket_with};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

/// All Unix sockets while they are made, by the numbers of their descriptions.
pub(crate) struct MadeSockets<'a> {
    pub(super) records: BTreeMap<u32, &'a UnixSocketV1>,
    pub(super) places: &'a Places,
    pub(super) made: BTreeMap<u32, OwnedFd>,
    /// Other ends that are closed in the end, by the description that they are the other end of.
    pub(super) gone: BTreeMap<u32, OwnedFd>,
    /// Where those are found that can be connected to.
    pub(super) spots: BTreeMap<u32, Spot>,
    /// Which datagram socket is connected to which already.
    pub(super) connected: BTreeSet<(u32, u32)>,
}

impl<'a> MadeSockets<'a> {
    /// Makes all of them, bound, and all but datagram sockets connected.
    pub fn make(
        descriptions: &'a BTreeMap<u32, DescriptionV1>,
        places: &'a Places,
        workshop: &mut Workshop<'_>,
    ) -> Result<MadeSockets<'a>> {
        let records = descriptions.iter().filter_map(|(id, record)| match &record.kind {
            Some(DescriptionKind::Unix(socket)) => Some((*id, socket)),
            _ => None,
        });
        let mut sockets = MadeSockets {
            records: records.collect(),
            places,
            made: BTreeMap::new(),
            gone: BTreeMap::new(),
            spots: BTreeMap::new(),
            connected: BTreeSet::new(),
        };
        for (id, record) in sockets.all() {
            if record.listens {
                sockets.alone(id, record, workshop)?;
            }
        }
        stream::connect(&mut sockets, workshop)?;
        datagram::pair(&mut sockets, workshop)?;
        for (id, record) in sockets.all() {
            if !sockets.made.contains_key(&id) {
                sockets.alone(id, record, workshop)?;
            }
        }
        stream::wait(&mut sockets, workshop)?;
        Ok(sockets)
    }

    /// All records, in the order of their numbers.
    pub(super) fn all(&self) -> Vec<(u32, &'a UnixSocketV1)> {
        self.records.iter().map(|(id, record)| (*id, *record)).collect()
    }

    /// The socket that was made for a description.
    pub(super) fn get(&self, id: u32) -> Result<BorrowedFd<'_>> {
        let made = self.made.get(&id).map(OwnedFd::as_fd);
        made.ok_or_else(|| damaged("a Unix socket that is missing"))
    }

    /// Duplicates of all, for the descriptor tables.
    pub fn duplicates(&self) -> Result<BTreeMap<u32, OwnedFd>> {
        let duplicates = self.made.iter().map(|(id, fd)| Ok((*id, fd.try_clone()?)));
        duplicates
            .collect::<io::Result<_>>()
            .context(|| "cannot duplicate a descriptor".to_owned())
    }

    fn alone(&mut self, id: u32, record: &UnixSocketV1, workshop: &mut Workshop<'_>) -> Result<()> {
        let socket = new(record.socket_type)?;
        self.bind(id, &socket, record.bound.as_ref(), workshop)?;
        self.made.insert(id, socket);
        Ok(())
    }

    /// Binds the socket of description `id`, which is then found at its spot.
    pub(super) fn bind(
        &mut self,
        id: u32,
        socket: &OwnedFd,
        bound: Option<&UnixNameV1>,
        workshop: &mut Workshop<'_>,
    ) -> Result<()> {
        if let Some(bound) = bound {
            let spot = take(socket.as_fd(), bound, self.places, workshop)?;
            self.spots.insert(id, spot);
        }
        Ok(())
    }

    /// Sends what waited in the queues; `descriptors` gives those that were in flight, made with the help of any process.
    pub fn fill(
        &self,
        workshop: &mut Workshop<'_>,
        mut descriptors: impl FnMut(&mut Stub, &[u32]) -> Result<Vec<OwnedFd>>,
    ) -> Result<()> {
        let name = || "cannot put back what was in flight in a Unix socket".to_owned();
        for (id, record) in self.all() {
            for message in &record.queue {
                let in_flight = descriptors(workshop.any()?, &message.descriptions)?;
                let in_flight: Vec<_> = in_flight.iter().map(OwnedFd::as_fd).collect();
                let letter = Letter {
                    bytes: &message.bytes,
                    descriptors: &in_flight,
                    credentials: ours(message.credentials),
                    to: None,
                    flags: if message.urgent { libc::MSG_OOB } else { 0 },
                };
                match record.socket_type {
                    libc::SOCK_DGRAM => {
                        datagram::deliver_to(self, id, record, &message.sender, letter, workshop)?;
                    }
                    kind => {
                        let from = self.other_end(id, record)?;
                        deliver(workshop, from, kind == libc::SOCK_STREAM, letter).context(name)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// The other end of a connection.
    fn other_end(&self, id: u32, record: &UnixSocketV1) -> Result<BorrowedFd<'_>> {
        match self.gone.get(&id) {
            Some(gone) => Ok(gone.as_fd()),
            None => self.get(record.peer),
        }
    }

    /// What must not be before the queues are full again.
    pub fn finish(mut self, workshop: &mut Workshop<'_>, warnings: &mut Vec<String>) -> Result<()> {
        let name = || "cannot rebuild a Unix socket".to_owned();
        datagram::connect(&self, workshop, warnings)?;
        for (id, record) in self.all() {
            let socket = self.get(id)?;
            if record.reset && self.gone.contains_key(&id) {
                let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
                rustix::net::send(socket, b"x", flags).context(name)?;
            }
        }
        self.gone.clear();
        for (id, record) in self.all() {
            let socket = self.get(id)?;
            if record.listens {
                workshop.listen(maker(record), socket, record.backlog)?;
            }
            set_buffers(socket, record.send_buffer, record.receive_buffer).context(name)?;
            set_options(socket, &record.options).context(name)?;
            if let (Some(bound), true) = (&record.bound, self.spots.contains_key(&id)) {
                name::settle(bound, self.places)?;
            }
            shut(socket, record.shutdown).context(name)?;
        }
        Ok(())
    }
}

/// Who made the other end, or the socket that listens.
pub(super) fn maker(record: &UnixSocketV1) -> i32 {
    record.peer_credentials.map_or(0, |by| by.pid)
}

/// A sender that the kernel lets us name: of our own user.
fn ours(by: Option<UnixCredentialsV1>) -> Option<UnixCredentialsV1> {
    let uid = rustix::process::geteuid().as_raw();
    let gid = rustix::process::getegid().as_raw();
    by.filter(|by| (by.uid, by.gid) == (uid, gid))
}

/// Binds a socket to a name. One that was in flight in a circle of sockets keeps its name after the end of the
/// program until the kernel has collected it, so a name in use is tried again for a while.
pub(super) fn take(
    socket: BorrowedFd<'_>,
    bound: &UnixNameV1,
    places: &Places,
    workshop: &mut Workshop<'_>,
) -> Result<Spot> {
    const TRIES: u32 = 20;
    const PAUSE: Duration = Duration::from_millis(25);
    let in_use = |e: &io::Error| e.raw_os_error() == Some(libc::EADDRINUSE);
    for _ in 1..TRIES {
        match take_once(socket, bound, places, workshop) {
            Err(e) if in_use(&e) => {
                // The end of any socket makes the kernel collect (unix_release).
                drop(new(libc::SOCK_DGRAM)?);
                std::thread::sleep(PAUSE);
            }
            outcome => {
                return outcome.context(|| format!("cannot bind a socket to {}", name::show(&bound.name)));
            }
        }
    }
    Err(name::in_use(&name::show(&bound.name)))
}

fn take_once(
    socket: BorrowedFd<'_>,
    bound: &UnixNameV1,
    places: &Places,
    workshop: &mut Workshop<'_>,
) -> io::Result<Spot> {
    if name::is_abstract(&bound.name) {
        bind(socket, &name::address(&bound.name)?)?;
        return Ok(Spot::Abstract(bound.name.clone()));
    }
    if name::is_gone(bound) {
        return workshop.bind_gone(socket, &bound.name);
    }
    name::remove_abandoned(&name::path(bound, places));
    workshop.bind_file(
        socket,
        &name::folder(bound, places),
        &name::written(bound, places),
    )
}

fn kind(number: i32) -> Result<SocketType> {
    match number {
        libc::SOCK_STREAM => Ok(SocketType::STREAM),
        libc::SOCK_DGRAM => Ok(SocketType::DGRAM),
        libc::SOCK_SEQPACKET => Ok(SocketType::SEQPACKET),
        _ => Err(damaged("a Unix socket of unknown type")),
    }
}

/// A new socket.
pub(super) fn new(number: i32) -> Result<OwnedFd> {
    socket_with(AddressFamily::UNIX, kind(number)?, SocketFlags::CLOEXEC, None)
        .context(|| "cannot make a Unix socket".to_owned())
}

/// Two new sockets, connected.
pub(super) fn pair(number: i32) -> Result<(OwnedFd, OwnedFd)> {
    rustix::net::socketpair(AddressFamily::UNIX, kind(number)?, SocketFlags::CLOEXEC, None)
        .context(|| "cannot make a socket pair".to_owned())
}

/// A name of which no file is left.
pub(super) fn gone(name: &[u8]) -> Option<UnixNameV1> {
    (!name.is_empty()).then(|| UnixNameV1 {
        name: name.to_vec(),
        ..UnixNameV1::default()
    })
}

/// Messages that can be sent.
pub(super) fn valid(record: &UnixSocketV1) -> bool {
    const LONGEST_NAME: usize = 108; // sun_path
    let fits = |name: &[u8]| name.len() <= LONGEST_NAME;
    let sendable = |message: &UnixMessageV1| {
        message.descriptions.len() <= super::send::MAX_DESCRIPTORS && fits(&message.sender)
    };
    record.queue.iter().all(sendable)
        && fits(&record.peer_name)
        && record
            .bound
            .as_ref()
            .is_none_or(|bound| fits(&bound.name) && !bound.name.is_empty())
}
