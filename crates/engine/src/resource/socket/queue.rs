//! Messages that wait in a Unix socket.

use super::super::descriptor::Seen;
use super::SO_PASSPIDFD;
use crate::Result;
use crate::error::Context;
use rethaw_sys::socket::{int_option, option, set_option};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendFlags, recvmsg, send,
};
use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd};

/// Options that are other while we look at a queue; dropping it puts them back.
struct Looking<'a> {
    socket: BorrowedFd<'a>,
    before: Vec<(i32, Vec<u8>)>,
}

impl Looking<'_> {
    /// SO_PEEK_OFF: every look starts behind the one before it. SO_PASSCRED: with every message, even an empty
    /// one, comes a control message, and with the end of the file none.
    fn begin(socket: BorrowedFd<'_>) -> io::Result<Looking<'_>> {
        let mut looking = Looking {
            socket,
            before: Vec::new(),
        };
        for (name, value) in [
            (libc::SO_PEEK_OFF, 0_i32),
            (libc::SO_PASSCRED, 1),
            (SO_PASSPIDFD, 0),
        ] {
            let Ok(before) = option(socket, libc::SOL_SOCKET, name) else {
                continue;
            };
            set_option(socket, libc::SOL_SOCKET, name, &value.to_ne_bytes())?;
            looking.before.push((name, before));
        }
        Ok(looking)
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

/// One look at the queue.
struct Look {
    /// Bytes seen; with an empty buffer and MSG_TRUNC the length of the message.
    bytes: usize,
    /// There was a message, not the end of the file.
    message: bool,
    /// Descriptors came with it (closed again).
    descriptors: bool,
}

fn look(socket: BorrowedFd<'_>, buffer: &mut [u8], flags: RecvFlags) -> io::Result<Look> {
    const MAX_DESCRIPTORS: usize = 253; // SCM_MAX_FD
    let mut space =
        [MaybeUninit::uninit(); rustix::cmsg_space!(ScmCredentials(1), ScmRights(MAX_DESCRIPTORS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let flags = flags | RecvFlags::PEEK | RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
    let received = recvmsg(socket, &mut [IoSliceMut::new(buffer)], &mut control, flags)?;
    let cut = received.flags.contains(ReturnFlags::CTRUNC);
    let mut look = Look {
        bytes: received.bytes,
        message: false,
        descriptors: cut,
    };
    for message in control.drain() {
        look.message = true;
        if let RecvAncillaryMessage::ScmRights(descriptors) = message {
            look.descriptors = true;
            drop(descriptors);
        }
    }
    Ok(look)
}

/// Copies a queue without consuming it: one entry per message, for a stream one per run of bytes.
pub(super) fn copy(seen: &Seen, stream: bool) -> Result<Vec<Vec<u8>>> {
    let name = || format!("cannot read {}", seen.name());
    let socket = seen.duplicate.as_fd();
    let looking = Looking::begin(socket).context(name)?;
    let outcome = if stream {
        copy_stream(socket)
    } else {
        copy_messages(socket)
    };
    drop(looking);
    outcome
        .context(name)?
        .ok_or_else(|| seen.refused("a socket in which a descriptor is in flight (SCM_RIGHTS)"))
}

/// None: descriptors are in flight.
type Copied = io::Result<Option<Vec<Vec<u8>>>>;

/// Stops exactly at the end: to look further would consume an error that waits there.
fn copy_stream(socket: BorrowedFd<'_>) -> Copied {
    let mut runs = Vec::new();
    let mut left = rustix::io::ioctl_fionread(socket)? as usize;
    while left > 0 {
        let mut run = vec![0; left];
        let seen = look(socket, &mut run, RecvFlags::empty())?;
        if seen.descriptors {
            return Ok(None);
        }
        if seen.bytes == 0 {
            return Err(io::Error::other(format!("{left} bytes are missing")));
        }
        run.truncate(seen.bytes);
        left -= seen.bytes;
        runs.push(run);
    }
    Ok(Some(runs))
}

fn copy_messages(socket: BorrowedFd<'_>) -> Copied {
    let mut messages = Vec::new();
    loop {
        let length = match look(socket, &mut [], RecvFlags::TRUNC) {
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(Some(messages)),
            outcome => outcome?,
        };
        if length.descriptors {
            return Ok(None);
        }
        if !length.message {
            return Ok(Some(messages));
        }
        let mut message = vec![0; length.bytes];
        // The kernel does not show an empty message a second time.
        if !message.is_empty() && look(socket, &mut message, RecvFlags::empty())?.bytes < message.len() {
            return Err(io::Error::other("a message changed"));
        }
        messages.push(message);
    }
}

/// Sends messages into the queue of the other end of `from`.
pub(super) fn refill(from: BorrowedFd<'_>, messages: &[Vec<u8>], stream: bool) -> io::Result<()> {
    for message in messages {
        let mut rest = &message[..];
        loop {
            let sent = send_some(from, rest)?;
            rest = &rest[sent..];
            if rest.is_empty() || !stream {
                break;
            }
        }
    }
    Ok(())
}

/// What the program had sent piece by piece may need more room in one piece.
fn send_some(from: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<usize> {
    const AS_LARGE_AS_ALLOWED: i32 = 1 << 30; // the kernel cuts it to net.core.wmem_max
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    match send(from, bytes, flags) {
        Err(rustix::io::Errno::AGAIN | rustix::io::Errno::MSGSIZE) => {
            let before = int_option(from, libc::SOL_SOCKET, libc::SO_SNDBUF)?;
            set_option(
                from,
                libc::SOL_SOCKET,
                libc::SO_SNDBUF,
                &AS_LARGE_AS_ALLOWED.to_ne_bytes(),
            )?;
            if int_option(from, libc::SOL_SOCKET, libc::SO_SNDBUF)? <= before {
                return Err(io::Error::other(
                    "more is in flight than net.core.wmem_max allows to send",
                ));
            }
            send(from, bytes, flags).map_err(io::Error::from)
        }
        outcome => outcome.map_err(io::Error::from),
    }
}
