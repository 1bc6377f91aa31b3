//! What agents say.

/// From an agent to the coordinator.
#[derive(Clone, PartialEq, prost::Oneof)]
pub enum Report {
    /// First of all.
    #[prost(message, tag = "1")]
    Hello(Hello),
    /// Somebody at this agent wants a checkpoint.
    #[prost(message, tag = "2")]
    Request(Request),
    /// Answer to [`Freeze`](super::Freeze).
    #[prost(message, tag = "3")]
    Frozen(Frozen),
    /// Answer to [`Drain`](super::Drain).
    #[prost(message, tag = "4")]
    Drained(Drained),
    /// Answer to [`Collect`](super::Collect).
    #[prost(message, tag = "5")]
    Collected(Collected),
    /// The image is durable.
    #[prost(message, tag = "6")]
    Written(Written),
    /// Answer to [`Commit`](super::Commit): the manifest is durable.
    #[prost(message, tag = "7")]
    Committed(Committed),
    /// Something that will be over in a moment is in the way of the checkpoint.
    #[prost(message, tag = "8")]
    Passing(Passing),
    /// The checkpoint or the restart is not possible here.
    #[prost(message, tag = "9")]
    Failed(Failed),
    /// Answer to [`Prepare`](super::Prepare): everything is rebuilt and stands still.
    #[prost(message, tag = "10")]
    Prepared(Prepared),
    /// The agent's last process has ended and it leaves; it says nothing after that.
    #[prost(message, tag = "11")]
    Ended(Ended),
    /// Answer to [`Start`](super::Start).
    #[prost(message, tag = "12")]
    Started(Started),
    /// What was started has ended.
    #[prost(message, tag = "13")]
    Exited(Exited),
    /// A process here wants a program to be started on another node.
    #[prost(message, tag = "14")]
    StartOn(StartOn),
    /// Answer to [`Ping`](super::Ping); the link sends it by itself.
    #[prost(message, tag = "15")]
    Pong(Pong),
}

/// Who joins.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Hello {
    /// [`VERSION`](super::VERSION).
    #[prost(uint32, tag = "1")]
    pub version: u32,
    /// Host name.
    #[prost(string, tag = "2")]
    pub node: String,
    /// /proc/sys/kernel/random/boot_id.
    #[prost(string, tag = "3")]
    pub boot_id: String,
    /// IP addresses of the node.
    #[prost(string, repeated, tag = "4")]
    pub addresses: Vec<String>,
    /// The number that it had before, or whose image it can best rebuild.
    #[prost(uint32, optional, tag = "5")]
    pub agent: Option<u32>,
}

/// A wish for a checkpoint.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Request {
    /// Comes back in the [`Answer`](super::Answer).
    #[prost(uint64, tag = "1")]
    pub ticket: u64,
    /// End the computation once it is durable.
    #[prost(bool, tag = "2")]
    pub stop: bool,
    /// For people.
    #[prost(string, tag = "3")]
    pub why: String,
}

/// All threads of the agent stand still.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Frozen {
    /// Of [`Freeze`](super::Freeze).
    #[prost(uint64, tag = "1")]
    pub attempt: u64,
    /// Its ends of TCP connections whose other end it does not have itself.
    #[prost(message, repeated, tag = "2")]
    pub ends: Vec<End>,
}

/// One end of a TCP connection.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct End {
    /// Own address, such as `10.0.0.1:4711` or `[fd00::1]:4711`.
    #[prost(string, tag = "1")]
    pub own: String,
    /// Address of the other end.
    #[prost(string, tag = "2")]
    pub peer: String,
    /// A socket of this agent listens at the own address, so that this end was probably accepted.
    #[prost(bool, tag = "3")]
    pub listens: bool,
}

/// Nothing is on the wire towards or from this agent.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct Drained {
    /// Of [`Freeze`](super::Freeze).
    #[prost(uint64, tag = "1")]
    pub attempt: u64,
}

/// Everything is collected, memory is stable.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct Collected {
    /// Of [`Freeze`](super::Freeze).
    #[prost(uint64, tag = "1")]
    pub attempt: u64,
}

/// The agent's image is durable under its name.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct Written {
    /// Of [`Freeze`](super::Freeze).
    #[prost(uint64, tag = "1")]
    pub attempt: u64,
    /// Size of the image.
    #[prost(uint64, tag = "2")]
    pub bytes: u64,
    /// Memory in it, before compression.
    #[prost(uint64, tag = "3")]
    pub memory: u64,
    /// How long the threads stood still, in microseconds.
    #[prost(uint64, tag = "4")]
    pub pause_us: u64,
    /// Checksum of the image's header, for the manifest.
    #[prost(fixed64, tag = "5")]
    pub header_checksum: u64,
}

/// The manifest is durable: the generation exists.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct Committed {
    /// Of [`Freeze`](super::Freeze).
    #[prost(uint64, tag = "1")]
    pub attempt: u64,
}

/// A refusal of what will be over in a moment. Everything stands still until [`Abort`](super::Abort).
#[derive(Clone, PartialEq, prost::Message)]
pub struct Passing {
    /// Of [`Freeze`](super::Freeze).
    #[prost(uint64, tag = "1")]
    pub attempt: u64,
    /// What is in the way.
    #[prost(string, tag = "2")]
    pub sentence: String,
}

/// It cannot be done. In answer to [`Commit`](super::Commit) it means that there is no manifest and will be none.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Failed {
    /// Of [`Freeze`](super::Freeze); 0 for a restart.
    #[prost(uint64, tag = "1")]
    pub attempt: u64,
    /// What, which process, what to do.
    #[prost(string, tag = "2")]
    pub sentence: String,
    /// The computation holds something that cannot be checkpointed.
    #[prost(bool, tag = "3")]
    pub refused: bool,
}

/// The image is rebuilt and stands still.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct Prepared {}

/// The agent leaves.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct Ended {
    /// Raw wait status of its main process, where it has one.
    #[prost(int32, optional, tag = "1")]
    pub status: Option<i32>,
}

/// Whether a program was started.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Started {
    /// Of [`Start`](super::Start).
    #[prost(uint64, tag = "1")]
    pub ticket: u64,
    /// Why not.
    #[prost(string, optional, tag = "2")]
    pub error: Option<String>,
}

/// A started program has ended.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct Exited {
    /// Of [`Start`](super::Start).
    #[prost(uint64, tag = "1")]
    pub ticket: u64,
    /// Raw wait status.
    #[prost(int32, tag = "2")]
    pub status: i32,
}

/// Start this on another node. Waits for an agent of that node, if there is none yet.
#[derive(Clone, PartialEq, prost::Message)]
pub struct StartOn {
    /// Comes back in the [`StartedOn`](super::StartedOn).
    #[prost(uint64, tag = "1")]
    pub ticket: u64,
    /// Host name.
    #[prost(string, tag = "2")]
    pub node: String,
    /// Command line.
    #[prost(bytes = "vec", repeated, tag = "3")]
    pub command: Vec<Vec<u8>>,
    /// `NAME=VALUE`.
    #[prost(bytes = "vec", repeated, tag = "4")]
    pub environment: Vec<Vec<u8>>,
    /// Current folder.
    #[prost(bytes = "vec", tag = "5")]
    pub folder: Vec<u8>,
}

/// I am here.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct Pong {}
