//! What waits in a Unix socket, looked at without taking it.

use super::super::descriptor::Seen;
use super::{SO_PASSPIDFD, signs};
use crate::Result;
use crate::error::Context;
use rethaw_sys::socket::{Credentials, Received, UNKNOWN_ID, at_mark, last_part, option, peek, set_option};
use rustix::event::PollFlags;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// A message in flight; of a stream, a run of bytes.
#[derive(Debug, Default)]
pub(super) struct Peeked {
    pub bytes: Vec<u8>,
    /// Duplicates of the descriptors in flight with it.
    pub descriptors: Vec<OwnedFd>,
    /// Who sent it, if the kernel has noted that.
    pub credentials: Option<Credentials>,
    /// Where the sender is bound.
    pub sender: Vec<u8>,
    /// It is the urgent byte.
    pub urgent: bool,
}

/// Options that are other while we look at a queue; dropping it puts them back.
struct Looking<'a> {
    socket: BorrowedFd<'a>,
    before: Vec<(i32, Vec<u8>)>,
}

impl Looking<'_> {
    /// SO_PEEK_OFF: every look starts behind the one before it. SO_PASSCRED: with every message, even an empty
    /// one, comes a control message, and with the end of the file none. SO_OOBINLINE: the urgent byte is looked
    /// at in its place.
    fn begin(socket: BorrowedFd<'_>, urgent: bool) -> io::Result<Looking<'_>> {
        let mut looking = Looking {
            socket,
            before: Vec::new(),
        };
        let inline = urgent.then_some((libc::SO_OOBINLINE, 1));
        let others = [
            (libc::SO_PEEK_OFF, 0_i32),
            (libc::SO_PASSCRED, 1),
            (SO_PASSPIDFD, 0),
        ];
        for (name, value) in others.into_iter().chain(inline) {
            let Ok(before) = option(socket, libc::SOL_SOCKET, name) else {
                continue;
            };
            set_option(socket, libc::SOL_SOCKET, name, &value.to_ne_bytes())?;
            looking.before.push((name, before));
        }
        Ok(looking)
    }

    /// The next look starts there.
    fn start_at(&self, byte: usize) -> io::Result<()> {
        let offset = i32::try_from(byte).map_err(io::Error::other)?;
        set_option(
            self.socket,
            libc::SOL_SOCKET,
            libc::SO_PEEK_OFF,
            &offset.to_ne_bytes(),
        )
    }

    fn look(&self, buffer: &mut [u8], flags: i32) -> io::Result<Received> {
        let seen = peek(self.socket, buffer, flags)?;
        match seen.cut {
            true => Err(io::Error::other(
                "not all descriptors in flight could be looked at",
            )),
            false => Ok(seen),
        }
    }
}

impl Drop for Looking<'_> {
    fn drop(&mut self) {
        for (name, before) in &self.before {
            // It was just read from there.
            let _ = set_option(self.socket, libc::SOL_SOCKET, *name, before);
        }
    }
}

/// The other end has closed it before it had read everything, or an equal error waits.
pub(super) fn is_reset(seen: &Seen) -> bool {
    signs(seen).contains(PollFlags::ERR)
}

/// Copies a queue without consuming it. An option is changed only where something waits.
pub(super) fn copy(seen: &Seen, socket_type: i32) -> Result<Vec<Peeked>> {
    let name = || format!("cannot read {}", seen.name());
    let socket = seen.duplicate.as_fd();
    let stream = socket_type == libc::SOCK_STREAM;
    let signs = signs(seen);
    let waits = rustix::io::ioctl_fionread(socket).is_ok_and(|bytes| bytes > 0);
    // Looking at messages would consume the error; a stream shows its bytes first.
    if signs.contains(PollFlags::ERR) && !stream {
        return match waits {
            true => Err(seen.refused("a socket with an error that the program has not read yet")),
            false => Ok(Vec::new()),
        };
    }
    if stream && !waits || !signs.intersects(PollFlags::IN | PollFlags::PRI) {
        return Ok(Vec::new());
    }
    let urgent = signs.contains(PollFlags::PRI);
    let looking = Looking::begin(socket, urgent).context(name)?;
    let copied = match stream {
        true => copy_stream(&looking, urgent),
        false => copy_messages(&looking),
    };
    drop(looking);
    copied.context(name)
}

/// The kernel shows an unknown user, and no process, where it has noted nothing.
fn noted(credentials: Option<Credentials>) -> Option<Credentials> {
    credentials.filter(|by| (by.pid, by.uid) != (0, UNKNOWN_ID))
}

/// Stops exactly at the end: to look further would consume an error that waits there.
fn copy_stream(looking: &Looking<'_>, urgent: bool) -> io::Result<Vec<Peeked>> {
    let mut runs: Vec<Peeked> = Vec::new();
    let all = rustix::io::ioctl_fionread(looking.socket)? as usize;
    let mut mark = (urgent && at_mark(looking.socket)?).then_some(0);
    let mut done = 0;
    while done < all {
        let mut bytes = vec![0; all - done];
        let seen = looking.look(&mut bytes, 0)?;
        if seen.bytes == 0 {
            return Err(io::Error::other(format!("{} bytes are missing", all - done)));
        }
        bytes.truncate(seen.bytes);
        let credentials = noted(seen.credentials);
        // A run ends where the sender changes, after descriptors, and before the urgent byte.
        let before = runs.last();
        let reason = before.is_none_or(|run| !run.descriptors.is_empty() || run.credentials != credentials);
        if urgent && mark.is_none() && !reason {
            mark = Some(done);
        }
        let tail = match seen.descriptors.is_empty() {
            true => None,
            false => Some(bytes.split_off(first_with_descriptors(looking, done, seen.bytes)?)),
        };
        done += seen.bytes;
        let run = |bytes, descriptors| Peeked {
            bytes,
            descriptors,
            credentials,
            ..Peeked::default()
        };
        runs.extend((!bytes.is_empty()).then(|| run(bytes, Vec::new())));
        runs.extend(tail.map(|tail| run(tail, seen.descriptors)));
    }
    match (urgent, mark) {
        (true, Some(mark)) => Ok(split_urgent(runs, mark)),
        (true, None) => Err(io::Error::other("the place of an urgent byte cannot be found")),
        _ => Ok(runs),
    }
}

/// Descriptors come with the last part of a run, of which they are: where that begins.
fn first_with_descriptors(looking: &Looking<'_>, start: usize, len: usize) -> io::Result<usize> {
    looking.start_at(start)?;
    let first = last_part(looking.socket, len)?;
    looking.start_at(start + len)?;
    Ok(first)
}

/// Makes the byte at `mark` a message of its own.
fn split_urgent(runs: Vec<Peeked>, mark: usize) -> Vec<Peeked> {
    let mut split = Vec::new();
    let mut at = 0;
    for mut run in runs {
        let len = run.bytes.len();
        if at == mark {
            let rest = run.bytes.split_off(1);
            let credentials = run.credentials;
            split.push(Peeked { urgent: true, ..run });
            split.extend((!rest.is_empty()).then(|| Peeked {
                bytes: rest,
                credentials,
                ..Peeked::default()
            }));
        } else {
            split.push(run);
        }
        at += len;
    }
    split
}

fn copy_messages(looking: &Looking<'_>) -> io::Result<Vec<Peeked>> {
    let mut messages = Vec::new();
    loop {
        let seen = match looking.look(&mut [], libc::MSG_TRUNC) {
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(messages),
            Err(e) if e.raw_os_error() == Some(libc::ENOTCONN) => return Ok(messages),
            outcome => outcome?,
        };
        if !seen.control {
            return Ok(messages);
        }
        let mut bytes = vec![0; seen.bytes];
        // The kernel does not show an empty message a second time.
        if !bytes.is_empty() && looking.look(&mut bytes, 0)?.bytes < bytes.len() {
            return Err(io::Error::other("a message changed"));
        }
        messages.push(Peeked {
            bytes,
            descriptors: seen.descriptors,
            credentials: noted(seen.credentials),
            sender: seen.sender,
            urgent: false,
        });
    }
}
