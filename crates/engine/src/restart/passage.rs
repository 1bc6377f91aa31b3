//! Descriptors on their way into a process that is being rebuilt: sent through the init's socket (SCM_RIGHTS),
//! received by a remote call, so that both have the same open file description.

use super::stub::Stub;
use crate::Result;
use crate::error::Context;
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
const CONTROL_LEN: u64 = 24; // CMSG_SPACE(sizeof(int))
const CONTROL_DATA: u64 = 16; // CMSG_LEN(0)

impl Passage {
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
        let name = || "cannot pass a descriptor on".to_owned();
        self.send(fd).context(name)?;
        self.receive(stub).context(name)
    }

    fn send(&self, fd: BorrowedFd<'_>) -> io::Result<()> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        control.push(SendAncillaryMessage::ScmRights(std::slice::from_ref(&fd)));
        sendmsg(
            &self.socket,
            &[IoSlice::new(b"f")],
            &mut control,
            SendFlags::empty(),
        )?;
        Ok(())
    }

    fn receive(&self, stub: &mut Stub) -> io::Result<u64> {
        let mut remote = stub.remote().map_err(io::Error::other)?;
        let base = remote.put(0, &[0; 256])?;
        let words = |words: &[u64]| words.iter().flat_map(|w| w.to_ne_bytes()).collect::<Vec<u8>>();
        // struct msghdr: name, namelen, iov, iovlen, control, controllen, flags.
        remote.put(
            HEADER,
            &words(&[0, 0, base + IOV, 1, base + CONTROL, CONTROL_LEN, 0]),
        )?;
        remote.put(IOV, &words(&[base + DATA, 1]))?;
        remote.must(libc::SYS_recvmsg, [self.inside as u64, base + HEADER, 0, 0, 0, 0])?;
        let fd = i32::from_ne_bytes(remote.get(CONTROL + CONTROL_DATA)?);
        let len = u64::from_ne_bytes(remote.get(CONTROL)?);
        if len < CONTROL_DATA + 4 {
            Err(io::Error::other("no descriptor arrived"))
        } else {
            Ok(fd as u64)
        }
    }
}
