//! What waits to be read in a TCP socket: copied without being consumed, with the urgent byte in its place.

use super::super::descriptor::Seen;
use super::signs;
use crate::Result;
use crate::error::Context;
use rethaw_image::record::{TcpConnectionV1, TcpStage, UrgentByteV1};
use rethaw_sys::socket::{int_option, set_option};
use rustix::event::PollFlags;
use rustix::net::{RecvFlags, recv};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

/// Copies what waits to be read.
pub(super) fn collect(seen: &Seen, connection: &mut TcpConnectionV1) -> Result<()> {
    let name = || format!("cannot read {}", seen.name());
    let signs = signs(seen);
    let over = connection.stage() == TcpStage::Over;
    if signs.contains(PollFlags::ERR) {
        if !over {
            return Err(seen.refused("a TCP connection with an error that the program has not read yet"));
        }
        connection.reset = true;
    }
    if connection.stage() == TcpStage::Connecting {
        return Ok(());
    }
    let fd = seen.duplicate.as_fd();
    let offset = int_option(fd, libc::SOL_SOCKET, libc::SO_PEEK_OFF).ok();
    let set_offset = |value: i32| set_option(fd, libc::SOL_SOCKET, libc::SO_PEEK_OFF, &value.to_ne_bytes());
    let copied = if signs.contains(PollFlags::PRI) {
        copy_with_urgent(fd, &set_offset).map(|(queue, urgent)| {
            (connection.queue, connection.urgent) = (queue, Some(urgent));
        })
    } else {
        if offset.is_some_and(|offset| offset >= 0) {
            set_offset(-1).context(name)?;
        }
        copy(fd).map(|queue| connection.queue = queue)
    };
    if let Some(offset) = offset {
        set_offset(offset).context(name)?;
    }
    copied.context(name)
}

/// In one look, which goes no further than to the end: there it would consume an error.
fn copy(fd: BorrowedFd<'_>) -> io::Result<Vec<u8>> {
    let waiting = rustix::io::ioctl_fionread(fd)? as usize;
    let mut queue = vec![0; waiting];
    let mut done = 0;
    if waiting > 0 {
        done = recv(fd, &mut queue[..], RecvFlags::PEEK | RecvFlags::DONTWAIT)?.0;
    }
    if done < waiting {
        return Err(io::Error::other(format!("{} bytes are missing", waiting - done)));
    }
    Ok(queue)
}

/// Piece by piece (SO_PEEK_OFF of TCP, Linux 6.9): a look ends at the urgent byte, and the next one begins behind it,
/// or with it where it is one of the others (SO_OOBINLINE).
fn copy_with_urgent(
    fd: BorrowedFd<'_>,
    set_offset: &dyn Fn(i32) -> io::Result<()>,
) -> io::Result<(Vec<u8>, UrgentByteV1)> {
    let look = |at: usize, buffer: &mut [u8]| {
        set_offset(at as i32)?;
        match recv(fd, buffer, RecvFlags::PEEK | RecvFlags::DONTWAIT) {
            Err(rustix::io::Errno::AGAIN) => Ok(0),
            outcome => outcome.map(|(bytes, _)| bytes).map_err(io::Error::from),
        }
    };
    let inline = int_option(fd, libc::SOL_SOCKET, libc::SO_OOBINLINE)? != 0;
    let mut before = vec![
        0;
        if inline {
            MOST
        } else {
            rustix::io::ioctl_fionread(fd)? as usize
        }
    ];
    let at_mark = rethaw_sys::inet::at_mark(fd)?;
    if at_mark {
        before.clear();
    } else {
        let len = look(0, &mut before)?;
        before.truncate(len);
    }
    let mut after = vec![0; MOST];
    let len = look(before.len(), &mut after)?;
    after.truncate(len);
    if after.len() == MOST {
        return Err(io::Error::other("more bytes wait than can be looked at"));
    }
    let byte = if inline {
        if after.is_empty() {
            return Err(io::Error::other("the urgent byte is missing"));
        }
        after.remove(0)
    } else {
        let mut byte = [0_u8; 1];
        recv(
            fd,
            &mut byte[..],
            RecvFlags::PEEK | RecvFlags::OOB | RecvFlags::DONTWAIT,
        )?;
        byte[0]
    };
    let urgent = UrgentByteV1 {
        byte: byte.into(),
        at: before.len() as u64,
    };
    before.extend(after);
    Ok((before, urgent))
}

/// Larger than a receive buffer is.
const MOST: usize = 64 << 20;
