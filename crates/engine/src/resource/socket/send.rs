//! Sending messages again, into the queues that they waited in.

use super::workshop::{Letter, Workshop};
use crate::restart::Stub;
use rethaw_image::record::UnixCredentialsV1;
use rethaw_sys::remote::Remote;
use rethaw_sys::socket::{int_option, set_option};
use rustix::net::{
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix, UCred, sendmsg, sendmsg_addr,
};
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::BorrowedFd;

/// Most descriptors that one message can have (SCM_MAX_FD).
pub(super) const MAX_DESCRIPTORS: usize = 253;

/// Sends one message, of a stream all bytes. What the program had sent piece by piece may need more room in one
/// piece.
pub(super) fn deliver(
    workshop: &mut Workshop<'_>,
    from: BorrowedFd<'_>,
    stream: bool,
    mut letter: Letter<'_>,
) -> io::Result<()> {
    let mut larger = false;
    loop {
        match once(workshop, from, &letter) {
            Ok(sent) if stream && sent < letter.bytes.len() => {
                letter.bytes = &letter.bytes[sent..];
                // They have gone with the first byte.
                letter.descriptors = &[];
            }
            Ok(_) => return Ok(()),
            Err(e) if !larger && no_room(&e) => {
                enlarge(from)?;
                larger = true;
            }
            Err(e) if no_room(&e) => {
                return Err(io::Error::other(
                    "more is in flight than net.core.wmem_max or net.unix.max_dgram_qlen allow to send",
                ));
            }
            Err(e) => return Err(e),
        }
    }
}

fn no_room(error: &io::Error) -> bool {
    [Some(libc::EAGAIN), Some(libc::EMSGSIZE)].contains(&error.raw_os_error())
}

fn enlarge(from: BorrowedFd<'_>) -> io::Result<()> {
    const AS_LARGE_AS_ALLOWED: i32 = 1 << 30; // the kernel cuts it to net.core.wmem_max
    let before = int_option(from, libc::SOL_SOCKET, libc::SO_SNDBUF)?;
    let wanted = AS_LARGE_AS_ALLOWED.to_ne_bytes();
    set_option(from, libc::SOL_SOCKET, libc::SO_SNDBUF, &wanted)?;
    // A buffer that was larger by privilege stays.
    if int_option(from, libc::SOL_SOCKET, libc::SO_SNDBUF)? < before {
        set_option(
            from,
            libc::SOL_SOCKET,
            libc::SO_SNDBUF,
            &(before / 2).to_ne_bytes(),
        )?;
    }
    Ok(())
}

/// From here, unless the kernel is to note a process of the computation, or the address is too long for here.
fn once(workshop: &mut Workshop<'_>, from: BorrowedFd<'_>, letter: &Letter<'_>) -> io::Result<usize> {
    let address = letter.to.map(super::workshop::Spot::address);
    let here = letter.credentials.is_none_or(|by| by.pid == 0);
    match address {
        None if here => send_here(from, letter, None),
        Some(Ok(address)) if here => send_here(from, letter, Some(address)),
        _ => workshop.send(from, letter),
    }
}

fn send_here(from: BorrowedFd<'_>, letter: &Letter<'_>, to: Option<SocketAddrUnix>) -> io::Result<usize> {
    let flags = SendFlags::from_bits_retain(letter.flags as u32);
    send(
        from,
        letter.bytes,
        letter.descriptors,
        to,
        flags,
        letter.credentials.is_some(),
    )
}

/// Sends from this process. `noted`: the kernel is to note us as the sender.
pub(super) fn send(
    from: BorrowedFd<'_>,
    bytes: &[u8],
    descriptors: &[BorrowedFd<'_>],
    to: Option<SocketAddrUnix>,
    flags: SendFlags,
    noted: bool,
) -> io::Result<usize> {
    let mut space =
        [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS), ScmCredentials(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    if noted {
        control.push(SendAncillaryMessage::ScmCredentials(UCred {
            pid: rustix::process::getpid(),
            uid: rustix::process::geteuid(),
            gid: rustix::process::getegid(),
        }));
    }
    let flags = flags | SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    let data = [IoSlice::new(bytes)];
    let sent = match to {
        Some(to) => sendmsg_addr(from, &to, &data, &mut control, flags)?,
        None => sendmsg(from, &data, &mut control, flags)?,
    };
    Ok(sent)
}

/// Brings the bytes of a message into a process. Gives their address.
pub(super) fn place(stub: &mut Stub, bytes: &[u8]) -> io::Result<u64> {
    let len = bytes.len().max(1) as u64;
    let protection = (libc::PROT_READ | libc::PROT_WRITE) as u64;
    let flags = (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS) as u64;
    let nothing = u64::MAX; // no descriptor
    let mut remote = stub.remote().map_err(io::Error::other)?;
    let address = remote.must(libc::SYS_mmap, [0, len, protection, flags, nothing, 0])?;
    stub.foothold.memory().write(address, bytes)?;
    Ok(address)
}

pub(super) fn remove(stub: &mut Stub, address: u64, len: usize) -> io::Result<()> {
    let mut remote = stub.remote().map_err(io::Error::other)?;
    remote.must(libc::SYS_munmap, [address, len.max(1) as u64, 0, 0, 0, 0])?;
    Ok(())
}

/// sendmsg(2) in another process, with its own descriptors of the same files.
pub(super) fn remote(
    remote: &mut Remote<'_>,
    socket: u64,
    (address, address_len): (u64, u64),
    data: u64,
    letter: &Letter<'_>,
    rights: &[u64],
) -> io::Result<u64> {
    const HEADER: u64 = 0;
    const IOV: u64 = 64;
    const CONTROL: u64 = 1024;
    let words = |words: &[u64]| words.iter().flat_map(|w| w.to_ne_bytes()).collect::<Vec<u8>>();
    let control = control(rights, letter.credentials);
    let control_at = remote.put(CONTROL, &control)?;
    let iov = remote.put(IOV, &words(&[data, letter.bytes.len() as u64]))?;
    // struct msghdr: name, namelen, iov, iovlen, control, controllen, flags.
    let header = words(&[address, address_len, iov, 1, control_at, control.len() as u64, 0]);
    let header = remote.put(HEADER, &header)?;
    let flags = letter.flags | libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    remote.must(libc::SYS_sendmsg, [socket, header, flags as u64, 0, 0, 0])
}

/// The control messages (cmsg(3)).
fn control(rights: &[u64], credentials: Option<UnixCredentialsV1>) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut push = |kind: i32, data: &[u8]| {
        const HEADER: usize = 16;
        bytes.extend((HEADER + data.len()).to_ne_bytes());
        bytes.extend(libc::SOL_SOCKET.to_ne_bytes());
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(data);
        bytes.resize(bytes.len().next_multiple_of(8), 0);
    };
    if !rights.is_empty() {
        let numbers: Vec<u8> = rights.iter().flat_map(|fd| (*fd as i32).to_ne_bytes()).collect();
        push(libc::SCM_RIGHTS, &numbers);
    }
    if let Some(by) = credentials {
        let ids = [by.pid.cast_unsigned(), by.uid, by.gid];
        push(libc::SCM_CREDENTIALS, &ids.map(u32::to_ne_bytes).concat());
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_messages_are_padded() {
        let by = UnixCredentialsV1 {
            pid: 1,
            uid: 2,
            gid: 3,
        };
        assert_eq!(control(&[3], None).len(), 24);
        assert_eq!(control(&[3, 4, 5], Some(by)).len(), 32 + 32);
        assert!(control(&[], None).is_empty());
    }
}
