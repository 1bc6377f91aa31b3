//! What comes into the coordinator and what goes out.

use crate::message::{Hello, Image, Order, Report};
use std::fmt;
use std::time::Duration;

/// A connection of an agent. Never used again; the agent's number is another matter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(pub u64);

/// The connection of the agent in the coordinator's own process.
pub const LOCAL: Key = Key(0);

/// What happens to a coordinator.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// An agent has proved that it is a member and said who it is.
    Joined(Key, Hello),
    /// An agent has said something.
    Received(Key, Report),
    /// An agent's connection has ended, for this reason.
    Lost(Key, String),
    /// The user's side wants something.
    Command(Command),
    /// Time has passed.
    Tick,
}

/// What the user's side can want.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// A checkpoint. Answered by one [`News::Verdict`] that carries the ticket.
    Request {
        /// Chosen by the caller.
        ticket: u64,
        /// End the computation once it is durable.
        stop: bool,
        /// For people.
        why: String,
    },
    /// Start a program on a node, as soon as an agent of this node is there. Answered by one [`News::Started`], and
    /// if it was started, one [`News::Exited`].
    StartOn {
        /// Chosen by the caller.
        ticket: u64,
        /// Host name.
        node: String,
        /// What.
        program: Program,
    },
    /// No agent can be started on this node: what waits for it fails with this sentence.
    Unreachable {
        /// Host name.
        node: String,
        /// Why.
        sentence: String,
    },
    /// Bring a checkpoint back with the agents that are there and that come. Answered by [`News::Restarted`] or
    /// [`News::RestartFailed`].
    Restart(RestartPlan),
    /// End all processes. [`News::Over`] comes when it is done.
    Kill,
}

/// A program to be started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// Command line.
    pub command: Vec<Vec<u8>>,
    /// `NAME=VALUE`.
    pub environment: Vec<Vec<u8>>,
    /// Current folder.
    pub folder: Vec<u8>,
}

/// What a restart has to bring back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestartPlan {
    /// Which checkpoint.
    pub generation: u64,
    /// All its images; each goes to one agent.
    pub images: Vec<PlannedImage>,
}

/// An image of a restart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedImage {
    /// Its number in the checkpoint, and of the agent that rebuilds it.
    pub agent: u32,
    /// Host name where it was.
    pub node: String,
    /// IP addresses of this node.
    pub addresses: Vec<String>,
    /// Path.
    pub image: Vec<u8>,
}

/// What is to be done, in this order.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Send this to each of these.
    Send(Vec<Key>, Order),
    /// End the connection when everything before has been sent.
    Close(Key),
    /// Tell the user's side.
    Tell(News),
}

/// What the user's side gets to know.
#[derive(Debug, Clone, PartialEq)]
pub enum News {
    /// An agent is one of the computation.
    Joined(Node),
    /// An attempt at a checkpoint begins.
    Began {
        /// Its number.
        attempt: u64,
        /// The checkpoint's.
        generation: u64,
        /// Agents.
        agents: u32,
    },
    /// All agents have collected: the programs run again (not with `stop`) and the images are being written.
    Writing {
        /// Of the checkpoint.
        generation: u64,
    },
    /// A checkpoint is over.
    Verdict(Verdict),
    /// A manifest whose fate was unknown was written after all.
    Late {
        /// Of the checkpoint.
        generation: u64,
    },
    /// An agent was lost. `killed`: all others are being ended; else they run on, and no checkpoint can be taken.
    NodeLost {
        /// Its number.
        agent: u32,
        /// Host name.
        node: String,
        /// What was noticed.
        reason: String,
        /// What follows.
        killed: bool,
    },
    /// An agent's last process has ended and it has left.
    Ended {
        /// Its number.
        agent: u32,
        /// Host name.
        node: String,
        /// Raw wait status of its main process.
        status: Option<i32>,
    },
    /// After a kill or a stop: all agents have left, except those that did not answer in time (host names).
    Over {
        /// Those from which nothing was heard.
        silent: Vec<String>,
    },
    /// What became of [`Command::StartOn`].
    Started {
        /// Of the command.
        ticket: u64,
        /// Why not.
        error: Option<String>,
    },
    /// What was started has ended.
    Exited {
        /// Of the command.
        ticket: u64,
        /// Raw wait status; none if its agent has left or was lost.
        status: Option<i32>,
    },
    /// A program is to be started on a node of which no agent is there. Start one, or say [`Command::Unreachable`].
    Wanted {
        /// Host name.
        node: String,
    },
    /// Everything was rebuilt and runs.
    Restarted {
        /// Of the checkpoint.
        generation: u64,
    },
    /// Nothing runs.
    RestartFailed(Cause),
}

/// An agent, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Its number.
    pub agent: u32,
    /// Host name.
    pub node: String,
    /// IP addresses.
    pub addresses: Vec<String>,
}

/// The end of a checkpoint, and the answer to all requests that it was taken for.
#[derive(Debug, Clone, PartialEq)]
pub struct Verdict {
    /// Last attempt; 0 if there was none.
    pub attempt: u64,
    /// The checkpoint's number.
    pub generation: u64,
    /// Tickets of the user's side.
    pub tickets: Vec<u64>,
    /// The computation was to end with it.
    pub stop: bool,
    /// What became of it.
    pub outcome: Outcome,
    /// The images that are durable, by their number; all of them if it is committed.
    pub images: Vec<Image>,
}

/// What became of a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It exists.
    Committed,
    /// It does not: the computation holds something that cannot be checkpointed.
    Refused(Cause),
    /// It does not.
    Failed(Cause),
    /// The manifest may have been written or not: what is in the folder decides.
    Unknown(Cause),
}

/// Why something is not possible, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cause {
    /// For the user.
    pub sentence: String,
    /// Number and host name of the agent whose matter it is.
    pub place: Option<(u32, String)>,
}

impl Cause {
    pub(super) fn general(sentence: impl Into<String>) -> Cause {
        Cause {
            sentence: sentence.into(),
            place: None,
        }
    }

    pub(super) fn at(agent: u32, node: &str, sentence: impl Into<String>) -> Cause {
        Cause {
            sentence: sentence.into(),
            place: Some((agent, node.to_string())),
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Some((_, node)) => write!(f, "{node}: {}", self.sentence),
            None => f.write_str(&self.sentence),
        }
    }
}

/// What does not change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Identity of the computation.
    pub computation: String,
    /// Number of the next checkpoint.
    pub next_generation: u64,
    /// Number 0 is for [`LOCAL`]. Else the first to join gets it.
    pub local: bool,
    /// How long what may take.
    pub limits: Limits,
}

impl Config {
    /// With a local agent and the usual limits.
    pub fn new(computation: &str, next_generation: u64) -> Config {
        Config {
            computation: computation.to_string(),
            next_generation,
            local: true,
            limits: Limits::default(),
        }
    }
}

/// How long what may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Until everything stands still.
    pub freeze: Duration,
    /// Until nothing is on the wire.
    pub drain: Duration,
    /// Until all is collected.
    pub collect: Duration,
    /// Until the manifest is durable.
    pub commit: Duration,
    /// Between an attempt that met something passing and the next.
    pub pause: Duration,
    /// From the first such attempt until it counts as failed.
    pub passing: Duration,
    /// Until all agents of a restart are there.
    pub gather: Duration,
    /// Until they all have rebuilt; it grows with the memory, so it is long.
    pub prepare: Duration,
    /// Until an agent of a wanted node is there.
    pub wanted: Duration,
    /// Until it has started the program.
    pub start: Duration,
    /// Until all have ended what they run.
    pub kill: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        let s = Duration::from_secs;
        Limits {
            freeze: s(35),
            drain: s(10),
            collect: s(120),
            commit: s(60),
            pause: Duration::from_millis(100),
            passing: s(2),
            gather: s(120),
            prepare: s(24 * 3600),
            wanted: s(120),
            start: s(60),
            kill: s(30),
        }
    }
}
