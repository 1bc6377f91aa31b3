use super::SocketV1;

/// A TCP socket that is or was connected, or is connecting.
#[derive(Clone, PartialEq, prost::Message)]
pub struct TcpConnectionV1 {
    /// Its addresses, options and sizes. `shutdown` is what shutdown(2) and the other end's have done to it.
    #[prost(message, optional, tag = "1")]
    pub socket: Option<SocketV1>,
    /// How far it is.
    #[prost(enumeration = "TcpStage", tag = "2")]
    pub stage: i32,
    /// Description number of the other end. 0: no process of the computation has it open.
    #[prost(uint32, tag = "3")]
    pub peer: u32,
    /// Description number of the socket that listens and in whose queue the other end waits to be accepted, or 0.
    #[prost(uint32, tag = "4")]
    pub listener: u32,
    /// For how long it has waited there, in milliseconds: the queue's order.
    #[prost(uint32, tag = "5")]
    pub waiting_ms: u32,
    /// Bytes waiting to be read, those that were still on their way included, without the urgent one.
    #[prost(bytes = "vec", tag = "6")]
    pub queue: Vec<u8>,
    /// An urgent byte that was not read yet.
    #[prost(message, optional, tag = "7")]
    pub urgent: Option<UrgentByteV1>,
    /// The next call fails with ECONNRESET (once the bytes that wait are read).
    #[prost(bool, tag = "8")]
    pub reset: bool,
    /// Where the other end is, if it is in another image of the same checkpoint.
    #[prost(enumeration = "Elsewhere", tag = "9")]
    pub elsewhere: i32,
}

/// What an end does at a restart to be connected with the other one, which is in another image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, prost::Enumeration)]
#[repr(i32)]
pub enum Elsewhere {
    /// The other end is in this image, or in none.
    No = 0,
    /// It connects.
    Connects = 1,
    /// It accepts.
    Accepts = 2,
}

/// How far a TCP connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, prost::Enumeration)]
#[repr(i32)]
pub enum TcpStage {
    /// Open in one direction at least. With neither `peer` nor `listener`, the other end has closed it.
    Connected = 0,
    /// Over, in both directions.
    Over = 1,
    /// connect(2) was called and has not come to an end.
    Connecting = 2,
}

/// A byte sent with MSG_OOB.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct UrgentByteV1 {
    /// The byte.
    #[prost(uint32, tag = "1")]
    pub byte: u32,
    /// How many bytes of the queue come before it.
    #[prost(uint64, tag = "2")]
    pub at: u64,
}

/// A message that waits in a datagram socket.
#[derive(Clone, PartialEq, prost::Message)]
pub struct DatagramV1 {
    /// Address and port of the sender, as text.
    #[prost(string, tag = "1")]
    pub sender: String,
    /// The message.
    #[prost(bytes = "vec", tag = "2")]
    pub bytes: Vec<u8>,
}

/// A multicast group that a socket has joined.
#[derive(Clone, PartialEq, prost::Message)]
pub struct MembershipV1 {
    /// Address of the group, as text.
    #[prost(string, tag = "1")]
    pub group: String,
    /// Name of the interface.
    #[prost(string, tag = "2")]
    pub interface: String,
    /// Only these senders are heard (or, with `exclude`, all but these).
    #[prost(string, repeated, tag = "3")]
    pub sources: Vec<String>,
    /// MCAST_EXCLUDE.
    #[prost(bool, tag = "4")]
    pub exclude: bool,
}

/// What only a netlink socket has.
#[derive(Clone, PartialEq, prost::Message)]
pub struct NetlinkV1 {
    /// Its number (nl_pid); 0 when it is not bound.
    #[prost(uint32, tag = "1")]
    pub port: u32,
    /// Groups that it has joined.
    #[prost(uint32, repeated, tag = "2")]
    pub groups: Vec<u32>,
}
