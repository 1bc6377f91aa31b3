//! Descriptors on their way into a process that is being rebuilt: sent through the init's socket (SCM_RIGHTS),
//! received by a remote call, so that both have the same open file description.

use super::stub::Stub;
use crate::Result;
use crate::error::{Context, Error};
use crate::init::Init;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::BorrowedFd;
use std::os::unix::net::UnixStream;

/// The way in.
#[derive(Debug)]
pub(crate) struct Passage {
    socket: UnixStream,
    /// Number of the other end in every clone of the init.
    inside: i32,
}

// Layout of the arguments of recvmsg(2) in the scratch memory.
const HEADER: u64 = 0;
const IOV: u64 = 64;
const DATA: u64 = 96;
const CONTROL: u64 = 128;
const CONTROL_LEN: u64 = CONTROL_DATA + 4 * Passage::MOST as u64; // CMSG_SPACE of as many numbers, which is even
const CONTROL_DATA: u64 = 16; // CMSG_LEN(0)

impl Passage {
    /// How many descriptors go at once.
    pub const MOST: usize = 48;

    pub fn new(init: &Init) -> Result<Passage> {
        let socket = init
            .socket()
            .try_clone()
            .context(|| "cannot duplicate a descriptor".to_owned())?;
        Ok(Passage {
            socket,
            inside: init.socket_inside(),
        })
    }

    /// The same way with the other end at another number.
    pub fn at(&self, inside: i32) -> Result<Passage> {
        let socket = self
            .socket
            .try_clone()
            .context(|| "cannot duplicate a descriptor".to_owned())?;
        Ok(Passage { socket, inside })
    }

    /// Number of the other end.
    pub fn inside(&self) -> i32 {
        self.inside
    }

    /// Passes a descriptor into a stub. Gives its number there: the lowest that is free.
    pub fn pass(&self, stub: &mut Stub, fd: BorrowedFd<'_>) -> Result<u64> {
        let arrived = self.pass_all(stub, &[fd])?;
        arrived.first().copied().ok_or(Error::Ended)
    }

    /// Passes at most [`Passage::MOST`] descriptors into a stub. Gives their numbers there: the lowest that are free.
    pub fn pass_all(&self, stub: &mut Stub, fds: &[BorrowedFd<'_>]) -> Result<Vec<u64>> {
        let name = || "cannot pass a descriptor on".to_owned();
        self.send(fds).context(name)?;
        self.receive(stub, fds.len()).context(name)
    }

    fn send(&self, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(Passage::MOST))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !control.push(SendAncillaryMessage::ScmRights(fds)) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        sendmsg(
            &self.socket,
            &[IoSlice::new(b"f")],
            &mut control,
            SendFlags::empty(),
        )?;
        Ok(())
    }

    fn receive(&self, stub: &mut Stub, count: usize) -> io::Result<Vec<u64>> {
        let mut remote = stub.remote().map_err(io::Error::other)?;
        let base = remote.put(0, &[0; (CONTROL + CONTROL_LEN) as usize])?;
        let words = |words: &[u64]| words.iter().flat_map(|w| w.to_ne_bytes()).collect::<Vec<u8>>();
        // struct msghdr: name, namelen, iov, iovlen, control, controllen, flags.
        remote.put(
            HEADER,
            &words(&[0, 0, base + IOV, 1, base + CONTROL, CONTROL_LEN, 0]),
        )?;
        remote.put(IOV, &words(&[base + DATA, 1]))?;
        remote.must(libc::SYS_recvmsg, [self.inside as u64, base + HEADER, 0, 0, 0, 0])?;
        let control: [u8; CONTROL_LEN as usize] = remote.get(CONTROL)?;
        let (head, numbers) = control.split_at(CONTROL_DATA as usize);
        let len = u64::from_ne_bytes(head[..8].try_into().unwrap_or_default());
        if len != CONTROL_DATA + 4 * count as u64 {
            return Err(io::Error::other("not all descriptors have arrived"));
        }
        let numbers = numbers.chunks_exact(4).take(count);
        Ok(numbers
            .map(|bytes| u32::from_ne_bytes(bytes.try_into().unwrap_or_default()).into())
            .collect())
    }
}
