/// A description of a POSIX message queue.
#[derive(Clone, PartialEq, prost::Message)]
pub struct QueueFileV1 {
    /// The same for all descriptions of one queue.
    #[prost(uint64, tag = "1")]
    pub inode: u64,
    /// Its name, with the slash; empty if it was removed (mq_unlink(3)).
    #[prost(bytes = "vec", tag = "2")]
    pub name: Vec<u8>,
    /// Permissions.
    #[prost(uint32, tag = "3")]
    pub mode: u32,
    /// Messages that it takes.
    #[prost(uint32, tag = "4")]
    pub max_messages: u32,
    /// Bytes of the longest message.
    #[prost(uint32, tag = "5")]
    pub max_bytes: u32,
    /// What is in it, in the order in which it is received; only in one description of the queue.
    #[prost(message, repeated, tag = "6")]
    pub messages: Vec<QueueMessageV1>,
}

/// A message in a POSIX message queue.
#[derive(Clone, PartialEq, prost::Message)]
pub struct QueueMessageV1 {
    /// Its priority.
    #[prost(uint32, tag = "1")]
    pub priority: u32,
    /// Its bytes.
    #[prost(bytes = "vec", tag = "2")]
    pub bytes: Vec<u8>,
}
