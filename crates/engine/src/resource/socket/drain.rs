//! Bytes on their way through TCP: they are brought into the queue of the receiving end, where they can be looked at
//! without being consumed.
//!
//! What the sender still holds, because the receiver's window is full, arrives when the receiver gets a larger buffer.
//! Nothing is taken out, so that nothing is lost whenever we are killed; afterwards the buffer gets back its size, and
//! the bytes stay where they are.

use rethaw_sys::inet::{raise_receive_buffer, unacknowledged};
use rethaw_sys::inet_diag::{state, tcp_socket};
use rethaw_sys::socket::{int_option, option, set_option};
use rustix::net::{RecvFlags, recv};
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

/// One direction of a connection.
pub(super) struct Flow<'a> {
    pub from: Source<'a>,
    /// None: on another node.
    pub to: Option<&'a OwnedFd>,
}

/// Where bytes come from.
pub(super) enum Source<'a> {
    /// A socket that we have.
    Open(&'a OwnedFd),
    /// One that was closed: its address and the receiver's.
    Closed(SocketAddr, SocketAddr),
}

impl Source<'_> {
    /// Whether something of it has not arrived: bytes, or the end of the file.
    fn holds(&self) -> bool {
        match self {
            Source::Open(socket) => unacknowledged(socket.as_fd()).is_ok_and(|bytes| bytes > 0),
            Source::Closed(own, peer) => matches!(
                tcp_socket(*own, *peer),
                Ok(Some(found)) if is_ending(found.state) && found.inode == 0
            ),
        }
    }
}

/// Closed, with bytes or the end of the file still to be delivered.
pub(super) fn is_ending(of: u8) -> bool {
    [state::FIN_WAIT1, state::CLOSING, state::LAST_ACK].contains(&of)
}

/// How long to wait. Megabytes take milliseconds.
const LONGEST: Duration = Duration::from_secs(3);
const STEP: Duration = Duration::from_millis(1);
/// After this, a buffer of the size that SO_RCVBUF allows was not enough.
const PATIENCE: Duration = Duration::from_millis(50);

/// Waits until everything has arrived, or nothing moves any more. `receive` is called again and again, for what comes from
/// other nodes.
pub(super) fn drain(flows: Vec<Flow<'_>>, receive: &mut dyn FnMut()) -> io::Result<()> {
    let start = Instant::now();
    let mut raised = Vec::new();
    let mut open = flows;
    let outcome = loop {
        receive();
        // What has arrived may not have been acknowledged yet.
        let receivers = open.iter().filter_map(|flow| flow.to);
        receivers.for_each(|to| acknowledge(to.as_fd()));
        open.retain(|flow| flow.from.holds());
        if open.is_empty() || start.elapsed() > LONGEST {
            break Ok(());
        }
        let more = start.elapsed() > PATIENCE;
        let mut receivers = open.iter().filter_map(|flow| flow.to);
        if let Err(e) = receivers.try_for_each(|to| raise(to, &mut raised, more)) {
            break Err(e);
        }
        std::thread::sleep(STEP);
    };
    let back = raised.into_iter().try_for_each(|room: Room<'_>| room.leave());
    outcome.and(back)
}

/// Makes room for what may still be on its way from other nodes.
pub(super) fn make_room<'a>(sockets: &[&'a OwnedFd]) -> io::Result<Vec<Room<'a>>> {
    sockets.iter().map(|socket| Room::make(socket)).collect()
}

/// Makes the kernel send what it holds back: acknowledgments (TCP_QUICKACK), and word that there is room again,
/// for which it takes a look at the queue (tcp_cleanup_rbuf).
pub(super) fn acknowledge(socket: BorrowedFd<'_>) {
    let quick = |value: i32| {
        set_option(
            socket,
            libc::IPPROTO_TCP,
            libc::TCP_QUICKACK,
            &value.to_ne_bytes(),
        )
    };
    let before = int_option(socket, libc::IPPROTO_TCP, libc::TCP_QUICKACK);
    let waiting = rustix::io::ioctl_fionread(socket).unwrap_or(0);
    let own_offset = int_option(socket, libc::SOL_SOCKET, libc::SO_PEEK_OFF).is_ok_and(|offset| offset >= 0);
    // Without anything to see, a look would consume an error; and it would move an offset of the program's.
    if waiting > 0 && !own_offset {
        let _ = recv(socket, &mut [0_u8; 1][..], RecvFlags::PEEK | RecvFlags::DONTWAIT);
    }
    let _ = quick(1);
    if let Ok(0) = before {
        let _ = quick(0);
    }
}

/// A socket whose buffer is larger for a while.
pub(super) struct Room<'a> {
    socket: &'a OwnedFd,
    size: i32,
    clamp: i32,
    /// Absent before Linux 5.14.
    lock: Option<i32>,
    further: bool,
}

fn raise<'a>(socket: &'a OwnedFd, raised: &mut Vec<Room<'a>>, more: bool) -> io::Result<()> {
    let known = raised.iter_mut().find(|one| std::ptr::eq(one.socket, socket));
    match known {
        None => raised.push(Room::new(socket)?),
        Some(one) if more && !one.further => one.raise_further()?,
        Some(_) => {}
    }
    Ok(())
}

impl<'a> Room<'a> {
    fn new(socket: &'a OwnedFd) -> io::Result<Room<'a>> {
        let fd = socket.as_fd();
        let room = Room {
            socket,
            size: int_option(fd, libc::SOL_SOCKET, libc::SO_RCVBUF)?,
            clamp: int_option(fd, libc::IPPROTO_TCP, libc::TCP_WINDOW_CLAMP)?,
            lock: int_option(fd, libc::SOL_SOCKET, SO_BUF_LOCK).ok(),
            further: false,
        };
        raise_window(fd)?;
        const AS_LARGE_AS_ALLOWED: i32 = 1 << 30; // the kernel cuts it to net.core.rmem_max
        set(fd, libc::SOL_SOCKET, libc::SO_RCVBUF, AS_LARGE_AS_ALLOWED)?;
        if int_option(fd, libc::SOL_SOCKET, libc::SO_RCVBUF)? < room.size {
            // It had grown beyond by itself.
            set(fd, libc::SOL_SOCKET, libc::SO_RCVBUF, room.size / 2)?;
        }
        Ok(room)
    }

    fn raise_further(&mut self) -> io::Result<()> {
        self.further = true;
        let fd = self.socket.as_fd();
        // A size that the program has set does not grow.
        if self.lock.is_some() {
            set(
                fd,
                libc::SOL_SOCKET,
                SO_BUF_LOCK,
                self.lock.unwrap_or(0) & !RECEIVE_LOCK,
            )?;
        }
        let mark = int_option(fd, libc::SOL_SOCKET, libc::SO_RCVLOWAT)?;
        raise_receive_buffer(fd, mark)?;
        raise_window(fd)
    }

    /// As much room as there can be.
    pub fn make(socket: &'a OwnedFd) -> io::Result<Room<'a>> {
        let mut room = Room::new(socket)?;
        room.raise_further()?;
        Ok(room)
    }

    /// Gives the buffer its size back, unless it would be too small for what is in it and what the sender has been told
    /// that it may send: the kernel would drop that, and the sender would wait for seconds before it sends it again.
    pub fn leave(self) -> io::Result<()> {
        let fd = self.socket.as_fd();
        set(fd, libc::IPPROTO_TCP, libc::TCP_WINDOW_CLAMP, self.clamp)?;
        // A size that the program has set is its own business.
        let is_set = self.lock.is_none_or(|lock| lock & RECEIVE_LOCK != 0);
        let needed = match is_set {
            true => 0,
            false => rustix::io::ioctl_fionread(fd)? + offered(fd)?,
        };
        // The kernel doubles what is set, and reckons that a byte takes up to twice its room.
        let size = u64::from(self.size.cast_unsigned() / 2).max(needed);
        if size <= rethaw_sys::inet::largest_receive_buffer() {
            set(fd, libc::SOL_SOCKET, libc::SO_RCVBUF, size as i32)?;
        }
        match self.lock {
            Some(lock) => set(fd, libc::SOL_SOCKET, SO_BUF_LOCK, lock),
            None => Ok(()),
        }
    }
}

/// How many bytes the sender may send (tcpi_rcv_wnd of struct tcp_info, Linux 6.2; before, this is not told: none).
fn offered(fd: BorrowedFd<'_>) -> io::Result<u64> {
    const WINDOW: std::ops::Range<usize> = 232..236;
    let info = option(fd, libc::IPPROTO_TCP, libc::TCP_INFO)?;
    let window = info.get(WINDOW).and_then(|bytes| bytes.try_into().ok());
    Ok(window.map_or(0, u32::from_ne_bytes).into())
}

/// Linux 5.14.
pub(super) const SO_BUF_LOCK: i32 = 72;
/// SO_BUF_LOCK: the size of the receive buffer was set by the program.
pub(super) const RECEIVE_LOCK: i32 = 2;
/// The same of the send buffer.
pub(super) const SEND_LOCK: i32 = 1;

fn set(fd: BorrowedFd<'_>, level: i32, name: i32, value: i32) -> io::Result<()> {
    set_option(fd, level, name, &value.to_ne_bytes())
}

/// The window follows the buffer only up to this limit.
fn raise_window(fd: BorrowedFd<'_>) -> io::Result<()> {
    set(fd, libc::IPPROTO_TCP, libc::TCP_WINDOW_CLAMP, 1 << 30)
}
