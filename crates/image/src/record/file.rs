use super::{
    DatagramV1, FileIdentityV1, MembershipV1, NetlinkV1, QueueFileV1, RingV1, TcpConnectionV1, UnixSocketV1,
};

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
        tags = "10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 21, 22, 30, 35, 40, 41, 50, 55, 56, 57, 60, 61"
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
    /// A process descriptor for a process of this image.
    #[prost(int32, tag = "21")]
    PidFd(i32),
    /// An internet socket.
    #[prost(message, tag = "22")]
    Socket(SocketV1),
    /// A Unix socket.
    #[prost(message, tag = "35")]
    Unix(UnixSocketV1),
    /// A TCP socket that is or was connected.
    #[prost(message, tag = "30")]
    TcpConnection(TcpConnectionV1),
    /// A file or folder of /proc.
    #[prost(message, tag = "50")]
    Proc(ProcFileV1),
    /// The master of the pseudo-terminal with this number.
    #[prost(uint32, tag = "55")]
    Master(u32),
    /// The slave of the pseudo-terminal with this number.
    #[prost(uint32, tag = "56")]
    Slave(u32),
    /// /dev/tty, opened by a process of the session whose terminal has this number.
    #[prost(uint32, tag = "57")]
    Controlling(u32),
    /// A process descriptor of a process that had ended and was waited for.
    #[prost(message, tag = "40")]
    EndedProcess(EndedProcessV1),
    /// inotify.
    #[prost(message, tag = "41")]
    Inotify(InotifyV1),
    /// io_uring.
    #[prost(message, tag = "60")]
    Ring(RingV1),
    /// A POSIX message queue.
    #[prost(message, tag = "61")]
    Queue(QueueFileV1),
}

/// A process of which only process descriptors are left.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct EndedProcessV1 {
    /// The same for all descriptors of one process.
    #[prost(uint64, tag = "1")]
    pub number: u64,
    /// Its wait status, if the kernel tells (PIDFD_INFO_EXIT).
    #[prost(int32, optional, tag = "2")]
    pub status: Option<i32>,
}

/// An inotify instance.
#[derive(Clone, PartialEq, prost::Message)]
pub struct InotifyV1 {
    /// What it watches, by ascending number.
    #[prost(message, repeated, tag = "1")]
    pub watches: Vec<InotifyWatchV1>,
    /// Events were waiting, which are not in the image: the program is told that events were dropped.
    #[prost(bool, tag = "2")]
    pub overflow: bool,
}

/// One watch.
#[derive(Clone, PartialEq, prost::Message)]
pub struct InotifyWatchV1 {
    /// Watch descriptor.
    #[prost(int32, tag = "1")]
    pub wd: i32,
    /// Events, IN_ONESHOT, IN_EXCL_UNLINK.
    #[prost(uint32, tag = "2")]
    pub mask: u32,
    /// Path of the watched file; empty if it was deleted.
    #[prost(bytes = "vec", tag = "3")]
    pub path: Vec<u8>,
    /// A description of the watched file, if it was deleted.
    #[prost(uint32, tag = "4")]
    pub description: u32,
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
    /// Number of the object that has its contents, when these are in the image too; else 0.
    #[prost(uint32, tag = "3")]
    pub object: u32,
    /// What a symbolic link points to, when the link itself is open (O_PATH with O_NOFOLLOW).
    #[prost(bytes = "vec", tag = "4")]
    pub link_target: Vec<u8>,
    /// The symbolic link is deleted.
    #[prost(bool, tag = "5")]
    pub deleted: bool,
    /// For a folder in a volatile place: itself and the folders above it, which are made again when they are gone.
    #[prost(message, repeated, tag = "6")]
    pub folders: Vec<FolderV1>,
}

/// A folder that is made again when it is gone.
#[derive(Clone, PartialEq, prost::Message)]
pub struct FolderV1 {
    /// Absolute path.
    #[prost(bytes = "vec", tag = "1")]
    pub path: Vec<u8>,
    /// Permissions.
    #[prost(uint32, tag = "2")]
    pub mode: u32,
}

/// A file or folder of /proc.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ProcFileV1 {
    /// The process that it tells of, by its number inside; 0 when it tells of none.
    #[prost(int32, tag = "1")]
    pub pid: i32,
    /// Path below /proc/PID, or below /proc; empty for that folder itself.
    #[prost(bytes = "vec", tag = "2")]
    pub path: Vec<u8>,
    /// File offset.
    #[prost(int64, tag = "3")]
    pub offset: i64,
    /// The process has ended.
    #[prost(bool, tag = "4")]
    pub ended: bool,
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
    /// Mode of a FIFO, to make it again where it is gone; 0 for one that is not.
    #[prost(uint32, tag = "100")]
    pub mode: u32,
    /// Of a FIFO in a volatile place: the folders that lead to it.
    #[prost(message, repeated, tag = "101")]
    pub folders: Vec<FolderV1>,
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
    /// When a timer of CLOCK_REALTIME that was set to an absolute time expires, in nanoseconds since the epoch; else 0.
    #[prost(int64, tag = "30")]
    pub expires_ns: i64,
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

/// An internet socket.
#[derive(Clone, PartialEq, prost::Message)]
pub struct SocketV1 {
    /// AF_INET, AF_INET6.
    #[prost(int32, tag = "1")]
    pub family: i32,
    /// SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET.
    #[prost(int32, tag = "2")]
    pub socket_type: i32,
    /// IPPROTO_TCP, IPPROTO_UDP, 0.
    #[prost(int32, tag = "3")]
    pub protocol: i32,
    /// Address and port that an internet socket is bound to, as text; empty when it is not.
    #[prost(string, tag = "5")]
    pub address: String,
    /// It listens.
    #[prost(bool, tag = "6")]
    pub listens: bool,
    /// Backlog of a socket that listens.
    #[prost(uint32, tag = "7")]
    pub backlog: u32,
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
