use super::{FolderV1, SocketOptionV1};

/// A Unix socket.
#[derive(Clone, PartialEq, prost::Message)]
pub struct UnixSocketV1 {
    /// SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET.
    #[prost(int32, tag = "1")]
    pub socket_type: i32,
    /// Where it is bound; an accepted end has the name of the socket that listened.
    #[prost(message, optional, tag = "2")]
    pub bound: Option<UnixNameV1>,
    /// It listens.
    #[prost(bool, tag = "3")]
    pub listens: bool,
    /// Backlog, when it listens.
    #[prost(uint32, tag = "4")]
    pub backlog: u32,
    /// Descriptions of the clients whose connections it has not accepted yet, the first first.
    #[prost(uint32, repeated, tag = "5")]
    pub waiting: Vec<u32>,
    /// Description of the socket that it is connected to; 0 when there is none.
    #[prost(uint32, tag = "6")]
    pub peer: u32,
    /// The socket that it was connected to is closed.
    #[prost(bool, tag = "7")]
    pub peer_closed: bool,
    /// Where the closed one, or the service outside, was bound; empty when it was not.
    #[prost(bytes = "vec", tag = "8")]
    pub peer_name: Vec<u8>,
    /// It is connected to a service outside of the computation (system log, name service): it is connected again.
    #[prost(bool, tag = "9")]
    pub service: bool,
    /// What waits to be read, the first first.
    #[prost(message, repeated, tag = "10")]
    pub queue: Vec<UnixMessageV1>,
    /// shutdown(2) state: bit 0 receive, bit 1 send.
    #[prost(uint32, tag = "11")]
    pub shutdown: u32,
    /// The other end was closed before it had read everything: the next read fails with ECONNRESET.
    #[prost(bool, tag = "12")]
    pub reset: bool,
    /// SO_SNDBUF as set (half of what getsockopt shows).
    #[prost(uint32, tag = "13")]
    pub send_buffer: u32,
    /// SO_RCVBUF as set.
    #[prost(uint32, tag = "14")]
    pub receive_buffer: u32,
    /// Further options.
    #[prost(message, repeated, tag = "15")]
    pub options: Vec<SocketOptionV1>,
    /// SO_PEERCRED: who made the other end, or who called listen(2); absent when there is nobody.
    #[prost(message, optional, tag = "16")]
    pub peer_credentials: Option<UnixCredentialsV1>,
}

/// Where a Unix socket is bound.
#[derive(Clone, PartialEq, prost::Message)]
pub struct UnixNameV1 {
    /// A path, or an abstract name with its leading zero byte.
    #[prost(bytes = "vec", tag = "1")]
    pub name: Vec<u8>,
    /// Type and permissions of the file at that path (st_mode); 0 when it is gone, or another one is there.
    #[prost(uint32, tag = "2")]
    pub mode: u32,
    /// The folder that a relative path is relative to.
    #[prost(bytes = "vec", tag = "3")]
    pub folder: Vec<u8>,
    /// The folders down to that of the file, which are made again when they are gone.
    #[prost(message, repeated, tag = "80")]
    pub folders: Vec<FolderV1>,
}

/// A message in flight; of a stream, a run of bytes.
#[derive(Clone, PartialEq, prost::Message)]
pub struct UnixMessageV1 {
    /// The bytes.
    #[prost(bytes = "vec", tag = "1")]
    pub bytes: Vec<u8>,
    /// Descriptions whose descriptors are in flight with it (SCM_RIGHTS).
    #[prost(uint32, repeated, tag = "2")]
    pub descriptions: Vec<u32>,
    /// Who sent it (SCM_CREDENTIALS); absent when the kernel did not note it.
    #[prost(message, optional, tag = "3")]
    pub credentials: Option<UnixCredentialsV1>,
    /// Where the sender of a datagram is bound; empty when it is not.
    #[prost(bytes = "vec", tag = "4")]
    pub sender: Vec<u8>,
    /// It is the urgent byte (MSG_OOB).
    #[prost(bool, tag = "5")]
    pub urgent: bool,
}

/// A process and its user, for other programs to see.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct UnixCredentialsV1 {
    /// Number as the program sees it; 0 for a process outside of the computation.
    #[prost(int32, tag = "1")]
    pub pid: i32,
    /// User.
    #[prost(uint32, tag = "2")]
    pub uid: u32,
    /// Group.
    #[prost(uint32, tag = "3")]
    pub gid: u32,
}
