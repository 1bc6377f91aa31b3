/// An io_uring instance in which no operation is in flight.
#[derive(Clone, PartialEq, prost::Message)]
pub struct RingV1 {
    /// Its inode, which its mappings have, too (`MappingV1.io_ring`).
    #[prost(uint64, tag = "1")]
    pub inode: u64,
    /// IORING_SETUP_ flags with which it is made again.
    #[prost(uint32, tag = "2")]
    pub flags: u32,
    /// Entries of the submission queue.
    #[prost(uint32, tag = "3")]
    pub sq_entries: u32,
    /// Entries of the completion queue.
    #[prost(uint32, tag = "4")]
    pub cq_entries: u32,
    /// How many entries the kernel has taken from the submission queue, modulo 2^32.
    #[prost(uint32, tag = "5")]
    pub taken: u32,
    /// How many completions the kernel has put into the completion queue, modulo 2^32.
    #[prost(uint32, tag = "6")]
    pub completed: u32,
    /// The rings, as they are mapped at offset 0.
    #[prost(bytes = "vec", tag = "7")]
    pub rings: Vec<u8>,
    /// The entries of the submission queue, as they are mapped at offset 0x10000000.
    #[prost(bytes = "vec", tag = "8")]
    pub entries: Vec<u8>,
    /// The thread in which it is made, by its number inside.
    #[prost(int32, tag = "9")]
    pub maker: i32,
    /// Registered files by their places: numbers of descriptions, 0 for an empty place.
    #[prost(uint32, repeated, tag = "10")]
    pub files: Vec<u32>,
    /// Registered buffers by their places, of length 0 for an empty place.
    #[prost(message, repeated, tag = "11")]
    pub buffers: Vec<RingBufferV1>,
}

/// A registered buffer of an io_uring instance, in the memory of the process that it is made in.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct RingBufferV1 {
    /// Address.
    #[prost(uint64, tag = "1")]
    pub address: u64,
    /// Bytes.
    #[prost(uint64, tag = "2")]
    pub len: u64,
}
