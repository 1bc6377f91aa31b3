/// What the three sorts of System V IPC objects have in common (`struct ipc_perm`).
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct IpcV1 {
    /// Identifier, which programs keep and which therefore comes back.
    #[prost(int32, tag = "1")]
    pub id: i32,
    /// Key; 0 is IPC_PRIVATE.
    #[prost(int32, tag = "2")]
    pub key: i32,
    /// Permissions, with SHM_DEST and SHM_LOCKED.
    #[prost(uint32, tag = "3")]
    pub mode: u32,
}

/// A System V shared memory segment. Its pages are in the page stream `stream`, by offset.
#[derive(Clone, PartialEq, prost::Message)]
pub struct SegmentV1 {
    /// Identity.
    #[prost(message, optional, tag = "1")]
    pub ipc: Option<IpcV1>,
    /// Size in bytes, as asked for.
    #[prost(uint64, tag = "2")]
    pub size: u64,
    /// Process that made it.
    #[prost(int32, tag = "3")]
    pub creator: i32,
    /// Page stream.
    #[prost(uint32, tag = "4")]
    pub stream: u32,
    /// Huge page size in bytes (SHM_HUGETLB), or 0.
    #[prost(uint64, tag = "5")]
    pub huge_page: u64,
}

/// A System V semaphore set.
#[derive(Clone, PartialEq, prost::Message)]
pub struct SemaphoreSetV1 {
    /// Identity.
    #[prost(message, optional, tag = "1")]
    pub ipc: Option<IpcV1>,
    /// The semaphores in order.
    #[prost(message, repeated, tag = "2")]
    pub semaphores: Vec<SemaphoreV1>,
    /// What happens at the end of processes (SEM_UNDO).
    #[prost(message, repeated, tag = "3")]
    pub adjustments: Vec<AdjustmentV1>,
}

/// One semaphore.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct SemaphoreV1 {
    /// Value.
    #[prost(uint32, tag = "1")]
    pub value: u32,
    /// Process that changed it last.
    #[prost(int32, tag = "2")]
    pub last: i32,
}

/// What is added to a semaphore when a process ends.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct AdjustmentV1 {
    /// The process.
    #[prost(int32, tag = "1")]
    pub pid: i32,
    /// Index of the semaphore.
    #[prost(uint32, tag = "2")]
    pub semaphore: u32,
    /// The addend.
    #[prost(sint32, tag = "3")]
    pub value: i32,
}

/// A System V message queue.
#[derive(Clone, PartialEq, prost::Message)]
pub struct MessageQueueV1 {
    /// Identity.
    #[prost(message, optional, tag = "1")]
    pub ipc: Option<IpcV1>,
    /// How many bytes it takes.
    #[prost(uint64, tag = "2")]
    pub capacity: u64,
    /// Process that sent last.
    #[prost(int32, tag = "3")]
    pub sender: i32,
    /// Messages in order.
    #[prost(message, repeated, tag = "4")]
    pub messages: Vec<MessageV1>,
}

/// One message of a queue.
#[derive(Clone, PartialEq, prost::Message)]
pub struct MessageV1 {
    /// Its type.
    #[prost(int64, tag = "1")]
    pub kind: i64,
    /// Its bytes.
    #[prost(bytes = "vec", tag = "2")]
    pub bytes: Vec<u8>,
}
