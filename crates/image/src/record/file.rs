use super::{DatagramV1, FileIdentityV1, MembershipV1, NetlinkV1, TcpConnectionV1};

/// A slot of a descriptor table.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct DescriptorV1 {
    /// Descriptor number.
    #[prost(int32, tag = "1")]
    pub fd: i32,
    /// FD_CLOEXEC.
    #[prost(bool, tag = "2")]
    pub close_on_exec: bool,
    /// Number of the open file description in this image.
    #[prost(uint32, tag = "3")]
    pub description: u32,
}

/// Current folder and root of a process.
#[derive(Clone, PartialEq, prost::Message)]
pub struct PathFolderV1 {
    /// Current folder.
    #[prost(bytes = "vec", tag = "1")]
    pub cwd: Vec<u8>,
    /// Root folder.
    #[prost(bytes = "vec", tag = "2")]
    pub root: Vec<u8>,
}

/// An open file description: what all dup'ed and inherited descriptors of it share.
#[derive(Clone, PartialEq, prost::Message)]
pub struct DescriptionV1 {
    /// Number within the image.
    #[prost(uint32, tag = "1")]
    pub id: u32,
    /// Status flags (F_GETFL), access mode included.
    #[prost(uint32, tag = "2")]
    pub flags: u32,
    /// What it is.
    #[prost(
        oneof = "DescriptionKind",
        tags = "10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 30, 55, 56, 57"
    )]
    pub kind: Option<DescriptionKind>,
    /// Locks held through it.
    #[prost(message, repeated, tag = "4")]
    pub locks: Vec<LockV1>,
    /// Who gets its signals; absent when nothing was set.
    #[prost(message, optional, tag = "5")]
    pub owner: Option<OwnerV1>,
}

/// Who gets the signal when something can be read or written (fcntl(2), F_SETOWN_EX).
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct OwnerV1 {
    /// 0 a thread, 1 a process, 2 a process group.
    #[prost(int32, tag = "1")]
    pub kind: i32,
    /// Its number, as the program sees it; 0 for nobody.
    #[prost(int32, tag = "2")]
    pub number: i32,
    /// F_SETSIG; 0 for SIGIO.
    #[prost(int32, tag = "3")]
    pub signal: i32,
    /// O_ASYNC, which is not among the flags.
    #[prost(bool, tag = "4")]
    pub asynchronous: bool,
}

/// A file lock.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct LockV1 {
    /// 0 flock, 1 POSIX, 2 open file description, 3 lease.
    #[prost(int32, tag = "1")]
    pub kind: i32,
    /// Exclusive (write) or shared (read).
    #[prost(bool, tag = "2")]
    pub exclusive: bool,
    /// First byte.
    #[prost(uint64, tag = "3")]
    pub start: u64,
    /// Number of bytes, 0 = to the end.
    #[prost(uint64, tag = "4")]
    pub len: u64,
    /// Process that took it, as the program sees it; 0 when it has ended, or for open file description locks.
    #[prost(int32, tag = "5")]
    pub pid: i32,
    /// A lease that is being broken: 1 it is to become a read lease, 2 to be given up; else 0.
    #[prost(uint32, tag = "6")]
    pub breaking: u32,
}

/// What an open file description is of.
#[derive(Clone, PartialEq, prost::Oneof)]
pub enum DescriptionKind {
    /// Inherited from the launcher: its stdin (0), stdout (1) or stderr (2).
    #[prost(uint32, tag = "10")]
    Launcher(u32),
    /// A regular file or a folder, by path.
    #[prost(message, tag = "11")]
    Regular(RegularV1),
    /// A character device, by path.
    #[prost(bytes, tag = "12")]
    Device(Vec<u8>),
    /// One end of a pipe whose ends are all inside.
    #[prost(message, tag = "13")]
    Pipe(PipeEndV1),
    /// eventfd.
    #[prost(message, tag = "14")]
    EventFd(EventFdV1),
    /// epoll.
    #[prost(message, tag = "15")]
    Epoll(EpollV1),
    /// timerfd.
    #[prost(message, tag = "16")]
    TimerFd(TimerFdV1),
    /// signalfd: the mask.
    #[prost(uint64, tag = "17")]
    SignalFd(u64),
    /// A shared memory object of the image (memfd, deleted file), with its offset.
    #[prost(message, tag = "18")]
    Object(ObjectFileV1),
    /// The controlling terminal by /dev/tty or a terminal that is the launcher's.
    #[prost(bytes, tag = "19")]
    Terminal(Vec<u8>),
    /// One end of a Unix socket pair whose ends are both inside.
    #[prost(message, tag = "20")]
    SocketPair(SocketPairV1),
    /// A process descriptor for a process of this image.
    #[prost(int32, tag = "21")]
    PidFd(i32),
    /// A socket that is not connected, or a datagram socket that is connected by an address.
    #[prost(message, tag = "22")]
    Socket(SocketV1),
    /// A TCP socket that is or was connected.
    #[prost(message, tag = "30")]
    TcpConnection(TcpConnectionV1),
    /// The master of the pseudo-terminal with this number.
    #[prost(uint32, tag = "55")]
    Master(u32),
    /// The slave of the pseudo-terminal with this number.
    #[prost(uint32, tag = "56")]
    Slave(u32),
    /// /dev/tty, opened by a process of the session whose terminal has this number.
    #[prost(uint32, tag = "57")]
    Controlling(u32),
}

/// A regular file or folder.
#[derive(Clone, PartialEq, prost::Message)]
pub struct RegularV1 {
    /// Identity at the checkpoint.
    #[prost(message, optional, tag = "1")]
    pub file: Option<FileIdentityV1>,
    /// File offset.
    #[prost(int64, tag = "2")]
    pub offset: i64,
}

/// A pipe end.
#[derive(Clone, PartialEq, prost::Message)]
pub struct PipeEndV1 {
    /// Number of the pipe within the image.
    #[prost(uint32, tag = "1")]
    pub pipe: u32,
    /// Path for a FIFO, empty for a pipe.
    #[prost(bytes = "vec", tag = "2")]
    pub path: Vec<u8>,
}

/// A pipe with its bytes in flight.
#[derive(Clone, PartialEq, prost::Message)]
pub struct PipeV1 {
    /// Number of the pipe within the image.
    #[prost(uint32, tag = "1")]
    pub pipe: u32,
    /// F_GETPIPE_SZ.
    #[prost(uint32, tag = "2")]
    pub capacity: u32,
    /// Bytes in flight; in packet mode one entry per packet, else one entry.
    #[prost(bytes = "vec", repeated, tag = "3")]
    pub packets: Vec<Vec<u8>>,
    /// The bytes were written in packet mode (O_DIRECT).
    #[prost(bool, tag = "4")]
    pub packet_mode: bool,
    /// In packet mode: numbers, from 0, of entries that are no packets.
    #[prost(uint32, repeated, tag = "5")]
    pub plain: Vec<u32>,
    /// Nobody writes to it, and nobody has since its readers opened it, so that they are not told of the end.
    #[prost(bool, tag = "6")]
    pub unwritten: bool,
}

/// An eventfd.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct EventFdV1 {
    /// Counter.
    #[prost(uint64, tag = "1")]
    pub count: u64,
    /// EFD_SEMAPHORE.
    #[prost(bool, tag = "2")]
    pub semaphore: bool,
}

/// An epoll instance.
#[derive(Clone, PartialEq, prost::Message)]
pub struct EpollV1 {
    /// Registered descriptors.
    #[prost(message, repeated, tag = "1")]
    pub watches: Vec<EpollWatchV1>,
}

/// One registration of an epoll instance.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct EpollWatchV1 {
    /// Descriptor number at registration.
    #[prost(int32, tag = "1")]
    pub fd: i32,
    /// Events mask.
    #[prost(uint32, tag = "2")]
    pub events: u32,
    /// User data.
    #[prost(uint64, tag = "3")]
    pub data: u64,
    /// Watched open file description.
    #[prost(uint32, tag = "4")]
    pub description: u32,
}

/// A timerfd.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct TimerFdV1 {
    /// Clock.
    #[prost(int32, tag = "1")]
    pub clock: i32,
    /// settime flags.
    #[prost(int32, tag = "2")]
    pub settime_flags: i32,
    /// Time left in nanoseconds, 0 when disarmed.
    #[prost(uint64, tag = "3")]
    pub remaining_ns: u64,
    /// Interval in nanoseconds.
    #[prost(uint64, tag = "4")]
    pub interval_ns: u64,
    /// Unread expirations.
    #[prost(uint64, tag = "5")]
    pub ticks: u64,
}

/// A descriptor of a shared memory object.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct ObjectFileV1 {
    /// Object number.
    #[prost(uint32, tag = "1")]
    pub object: u32,
    /// File offset.
    #[prost(int64, tag = "2")]
    pub offset: i64,
}

/// One end of a Unix socket pair.
#[derive(Clone, PartialEq, prost::Message)]
pub struct SocketPairV1 {
    /// Description number of the other end; 0 when it is closed.
    #[prost(uint32, tag = "1")]
    pub peer: u32,
    /// SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET.
    #[prost(int32, tag = "2")]
    pub socket_type: i32,
    /// Bytes waiting to be read from this end, one entry per message.
    #[prost(bytes = "vec", repeated, tag = "3")]
    pub queue: Vec<Vec<u8>>,
    /// shutdown(2) state: bit 0 receive, bit 1 send.
    #[prost(uint32, tag = "4")]
    pub shutdown: u32,
    /// SO_SNDBUF as set (half of what getsockopt shows).
    #[prost(uint32, tag = "5")]
    pub send_buffer: u32,
    /// SO_RCVBUF as set.
    #[prost(uint32, tag = "6")]
    pub receive_buffer: u32,
    /// Further options.
    #[prost(message, repeated, tag = "7")]
    pub options: Vec<SocketOptionV1>,
    /// The other end was closed before it had read everything: the next read fails with ECONNRESET.
    #[prost(bool, tag = "8")]
    pub reset: bool,
    /// Where this end is bound to.
    #[prost(message, optional, tag = "9")]
    pub bound: Option<UnixNameV1>,
}

/// An option of a socket (setsockopt(2)).
#[derive(Clone, PartialEq, prost::Message)]
pub struct SocketOptionV1 {
    /// SOL_SOCKET, IPPROTO_TCP …
    #[prost(int32, tag = "1")]
    pub level: i32,
    /// SO_KEEPALIVE …
    #[prost(int32, tag = "2")]
    pub name: i32,
    /// As getsockopt(2) shows it.
    #[prost(bytes = "vec", tag = "3")]
    pub value: Vec<u8>,
}

/// What a Unix socket is bound to.
#[derive(Clone, PartialEq, prost::Message)]
pub struct UnixNameV1 {
    /// A path, or an abstract name with its leading zero byte.
    #[prost(bytes = "vec", tag = "1")]
    pub name: Vec<u8>,
    /// Permissions of the file at that path; 0 when it is gone or another one.
    #[prost(uint32, tag = "2")]
    pub mode: u32,
}

/// A socket on its own.
#[derive(Clone, PartialEq, prost::Message)]
pub struct SocketV1 {
    /// AF_UNIX, AF_INET, AF_INET6.
    #[prost(int32, tag = "1")]
    pub family: i32,
    /// SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET.
    #[prost(int32, tag = "2")]
    pub socket_type: i32,
    /// IPPROTO_TCP, IPPROTO_UDP, 0.
    #[prost(int32, tag = "3")]
    pub protocol: i32,
    /// What a Unix socket is bound to.
    #[prost(message, optional, tag = "4")]
    pub bound: Option<UnixNameV1>,
    /// Address and port that an internet socket is bound to, as text; empty when it is not.
    #[prost(string, tag = "5")]
    pub address: String,
    /// It listens.
    #[prost(bool, tag = "6")]
    pub listens: bool,
    /// Backlog of a socket that listens.
    #[prost(uint32, tag = "7")]
    pub backlog: u32,
    /// Name of the Unix datagram socket that it sends to; empty when it is not connected.
    #[prost(bytes = "vec", tag = "8")]
    pub peer: Vec<u8>,
    /// Address and port that a UDP socket sends to, as text; empty when it is not connected.
    #[prost(string, tag = "9")]
    pub peer_address: String,
    /// shutdown(2) state: bit 0 receive, bit 1 send.
    #[prost(uint32, tag = "10")]
    pub shutdown: u32,
    /// SO_SNDBUF as set (half of what getsockopt shows).
    #[prost(uint32, tag = "11")]
    pub send_buffer: u32,
    /// SO_RCVBUF as set.
    #[prost(uint32, tag = "12")]
    pub receive_buffer: u32,
    /// Further options.
    #[prost(message, repeated, tag = "13")]
    pub options: Vec<SocketOptionV1>,
    /// Classic BPF program that filters what it receives (SO_ATTACH_FILTER), 8 bytes per instruction.
    #[prost(bytes = "vec", tag = "14")]
    pub filter: Vec<u8>,
    /// Connections that wait to be accepted and whose clients have closed them already: the clients' addresses.
    #[prost(string, repeated, tag = "15")]
    pub closed_clients: Vec<String>,
    /// Multicast groups that it has joined.
    #[prost(message, repeated, tag = "16")]
    pub memberships: Vec<MembershipV1>,
    /// Messages that wait to be read, of an internet socket.
    #[prost(message, repeated, tag = "17")]
    pub datagrams: Vec<DatagramV1>,
    /// It is bound to an address that the node did not have, by an option (IP_FREEBIND) that may be off again.
    #[prost(bool, tag = "18")]
    pub foreign: bool,
    /// What only a netlink socket has.
    #[prost(message, optional, tag = "19")]
    pub netlink: Option<NetlinkV1>,
}
