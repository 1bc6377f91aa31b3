//! What the coordinator says.

/// From the coordinator to an agent.
#[derive(Clone, PartialEq, prost::Oneof)]
pub enum Order {
    /// The agent is taken in. A later one replaces an earlier one.
    #[prost(message, tag = "1")]
    Welcome(Welcome),
    /// The agent is not taken in; the connection ends.
    #[prost(message, tag = "2")]
    Refused(Refused),
    /// Let all threads stand still and say which connections lead to other agents.
    #[prost(message, tag = "3")]
    Freeze(Freeze),
    /// Everything stands still, everywhere: settle what is on the wire.
    #[prost(message, tag = "4")]
    Drain(Drain),
    /// Nothing is on the wire: collect.
    #[prost(message, tag = "5")]
    Collect(Collect),
    /// Let the threads run again and write the image (`stop`: write it, they stand still).
    #[prost(message, tag = "6")]
    Resume(Resume),
    /// All images are durable: write the manifest. To one agent only.
    #[prost(message, tag = "7")]
    Commit(Commit),
    /// The generation exists. With `stop`: end the processes, then say `Ended`.
    #[prost(message, tag = "8")]
    Done(Done),
    /// The attempt is over: everything runs again with what it had.
    #[prost(message, tag = "9")]
    Abort(Abort),
    /// Start a program in this agent's computation.
    #[prost(message, tag = "10")]
    Start(Start),
    /// Rebuild an image and let it stand still.
    #[prost(message, tag = "11")]
    Prepare(Prepare),
    /// All images are rebuilt: let them run.
    #[prost(message, tag = "12")]
    Go(Go),
    /// End all processes, then say `Ended`.
    #[prost(message, tag = "13")]
    Kill(Kill),
    /// Answer to [`Request`](super::Request).
    #[prost(message, tag = "14")]
    Answer(Answer),
    /// Answer to [`StartOn`](super::StartOn).
    #[prost(message, tag = "15")]
    StartedOn(StartedOn),
    /// What [`StartOn`](super::StartOn) started has ended.
    #[prost(message, tag = "16")]
    ExitedOn(ExitedOn),
    /// Asks whether the agent is there; the link answers by itself.
    #[prost(message, tag = "17")]
    Ping(Ping),
}

/// The agent is one of the computation.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Welcome {
    /// Its number, the one in the names of images.
    #[prost(uint32, tag = "1")]
    pub agent: u32,
    /// Identity of the computation.
    #[prost(string, tag = "2")]
    pub computation: String,
}

/// The agent is not taken in.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Refused {
    /// Why.
    #[prost(string, tag = "1")]
    pub sentence: String,
}

/// First step of a checkpoint. The images of a checkpoint are numbered from 0 without gaps, which agents need not be.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct Freeze {
    /// Number of this attempt, never used again; every answer carries it.
    #[prost(uint64, tag = "1")]
    pub attempt: u64,
    /// Number of the checkpoint.
    #[prost(uint64, tag = "2")]
    pub generation: u64,
    /// The computation ends once the checkpoint is durable: it stands still until [`Done`] or [`Abort`].
    #[prost(bool, tag = "3")]
    pub stop: bool,
    /// Number of this agent's image in the checkpoint.
    #[prost(uint32, tag = "4")]
    pub image: u32,
    /// How many images it has.
    #[prost(uint32, tag = "5")]
    pub images: u32,
}

/// Second step.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Drain {
    /// Of [`Freeze`].
    #[prost(uint64, tag = "1")]
    pub attempt: u64,
    /// Those of the ends in [`Frozen`](super::Frozen) whose other end is another agent's, in no order. All others are
    /// the outside.
    #[prost(message, repeated, tag = "2")]
    pub inside: Vec<Inside>,
}

/// A connection between two agents.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Inside {
    /// As the agent said it.
    #[prost(string, tag = "1")]
    pub own: String,
    /// As the agent said it.
    #[prost(string, tag = "2")]
    pub peer: String,
    /// This end accepts at a restart, the other connects. True for one of the two.
    #[prost(bool, tag = "3")]
    pub accepts: bool,
    /// The agent that has the other end.
    #[prost(uint32, tag = "4")]
    pub agent: u32,
}

/// Third step.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct Collect {
    /// Of [`Freeze`].
    #[prost(uint64, tag = "1")]
    pub attempt: u64,
}

/// Fourth step; the answer is [`Written`](super::Written).
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct Resume {
    /// Of [`Freeze`].
    #[prost(uint64, tag = "1")]
    pub attempt: u64,
}

/// Fifth step.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Commit {
    /// Of [`Freeze`].
    #[prost(uint64, tag = "1")]
    pub attempt: u64,
    /// Of [`Freeze`].
    #[prost(uint64, tag = "2")]
    pub generation: u64,
    /// All images, by their number.
    #[prost(message, repeated, tag = "3")]
    pub images: Vec<Image>,
}

/// An image that is durable.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Image {
    /// Whose.
    #[prost(uint32, tag = "1")]
    pub agent: u32,
    /// Host name.
    #[prost(string, tag = "2")]
    pub node: String,
    /// IP addresses of the node, which a restart elsewhere replaces.
    #[prost(string, repeated, tag = "3")]
    pub addresses: Vec<String>,
    /// Size of the image.
    #[prost(uint64, tag = "4")]
    pub bytes: u64,
    /// Memory in it, before compression.
    #[prost(uint64, tag = "5")]
    pub memory: u64,
    /// How long the threads stood still, in microseconds.
    #[prost(uint64, tag = "6")]
    pub pause_us: u64,
    /// Checksum of the image's header.
    #[prost(fixed64, tag = "7")]
    pub header_checksum: u64,
    /// Its number in the checkpoint.
    #[prost(uint32, tag = "8")]
    pub image: u32,
}

/// Last step.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct Done {
    /// Of [`Freeze`].
    #[prost(uint64, tag = "1")]
    pub attempt: u64,
    /// What exists now.
    #[prost(uint64, tag = "2")]
    pub generation: u64,
}

/// The end of an attempt, or of a restart (then nothing is left of what was rebuilt).
#[derive(Clone, PartialEq, prost::Message)]
pub struct Abort {
    /// Of [`Freeze`]; 0 for a restart.
    #[prost(uint64, tag = "1")]
    pub attempt: u64,
    /// Why: the first cause.
    #[prost(string, tag = "2")]
    pub sentence: String,
    /// Where.
    #[prost(uint32, optional, tag = "3")]
    pub agent: Option<u32>,
    /// Whether the manifest was written is not known: the image must stay.
    #[prost(bool, tag = "4")]
    pub keep_image: bool,
    /// Host name of the node where it was; empty where `agent` is not set.
    #[prost(string, tag = "5")]
    pub node: String,
}

/// Start a program.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Start {
    /// Comes back in [`Started`](super::Started) and [`Exited`](super::Exited).
    #[prost(uint64, tag = "1")]
    pub ticket: u64,
    /// Command line.
    #[prost(bytes = "vec", repeated, tag = "2")]
    pub command: Vec<Vec<u8>>,
    /// `NAME=VALUE`.
    #[prost(bytes = "vec", repeated, tag = "3")]
    pub environment: Vec<Vec<u8>>,
    /// Current folder.
    #[prost(bytes = "vec", tag = "4")]
    pub folder: Vec<u8>,
}

/// First step of a restart; the same for all agents.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Prepare {
    /// Which checkpoint.
    #[prost(uint64, tag = "1")]
    pub generation: u64,
    /// All images and where they go, by agent number.
    #[prost(message, repeated, tag = "2")]
    pub nodes: Vec<NodeMove>,
}

impl Prepare {
    /// What the agent with this number has to rebuild.
    pub fn of(&self, agent: u32) -> Option<&NodeMove> {
        self.nodes.iter().find(|one| one.agent == agent)
    }
}

/// An image and its way to another node.
#[derive(Clone, PartialEq, prost::Message)]
pub struct NodeMove {
    /// Who rebuilds it; also the number of the image.
    #[prost(uint32, tag = "1")]
    pub agent: u32,
    /// IP addresses of the node where it was. This and the next are empty if it is there again.
    #[prost(string, repeated, tag = "2")]
    pub old: Vec<String>,
    /// IP addresses of the node where it will be.
    #[prost(string, repeated, tag = "3")]
    pub new: Vec<String>,
    /// Path of the image.
    #[prost(bytes = "vec", tag = "4")]
    pub image: Vec<u8>,
    /// Host name where it was.
    #[prost(string, tag = "5")]
    pub old_node: String,
    /// Host name where it will be.
    #[prost(string, tag = "6")]
    pub new_node: String,
}

/// Last step of a restart.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct Go {}

/// The end of the computation.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct Kill {}

/// What became of a [`Request`](super::Request).
#[derive(Clone, PartialEq, prost::Message)]
pub struct Answer {
    /// Of the request.
    #[prost(uint64, tag = "1")]
    pub ticket: u64,
    /// The checkpoint that was taken, or tried.
    #[prost(uint64, tag = "2")]
    pub generation: u64,
    /// It exists.
    #[prost(bool, tag = "3")]
    pub committed: bool,
    /// The computation holds something that cannot be checkpointed.
    #[prost(bool, tag = "4")]
    pub refused: bool,
    /// Why not.
    #[prost(string, tag = "5")]
    pub sentence: String,
    /// All images together.
    #[prost(uint64, tag = "6")]
    pub bytes: u64,
    /// Memory in them, before compression.
    #[prost(uint64, tag = "7")]
    pub memory: u64,
    /// The longest of the pauses, in microseconds.
    #[prost(uint64, tag = "8")]
    pub pause_us: u64,
}

/// What became of a [`StartOn`](super::StartOn).
#[derive(Clone, PartialEq, prost::Message)]
pub struct StartedOn {
    /// Of the request.
    #[prost(uint64, tag = "1")]
    pub ticket: u64,
    /// Why not.
    #[prost(string, optional, tag = "2")]
    pub error: Option<String>,
}

/// What was started on another node has ended.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct ExitedOn {
    /// Of the request.
    #[prost(uint64, tag = "1")]
    pub ticket: u64,
    /// Raw wait status; none if its agent has left or was lost.
    #[prost(int32, optional, tag = "2")]
    pub status: Option<i32>,
}

/// Are you there?
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct Ping {}
