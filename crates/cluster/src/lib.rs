//! A computation on several nodes: its coordinator, and the links between it and the agents.
//!
//! ```text
//!  CLI ── Hub ────────────────────────────── one thread, all I/O
//!          │  Coordinator                    pure: event in, actions out
//!          ├── Link  agent 0                 in the same process
//!          ├── TLS ── Link  agent 1          one thread each, in their agents
//!          └── TLS ── Link  agent 2
//! ```
//!
//! An agent gets [`Order`]s and answers with [`Report`]s; what the CLI gets to know are [`News`]. Nothing here knows
//! what freezing or writing is. docs/protocol.md describes the messages, states and time-outs.

#![forbid(unsafe_code)]

mod connection;
mod coordinator;
mod error;
mod frame;
mod hub;
mod link;
mod mailbox;
mod message;
mod secret;
mod tls;

pub use coordinator::{
    Action, Cause, Command, Config, Coordinator, Event, Key, LOCAL, Limits, News, Node, Outcome,
    PlannedImage, Program, RestartPlan, Verdict,
};
pub use error::{Error, Result};
pub use hub::Hub;
pub use link::Link;
pub use mailbox::Mailbox;
pub use message::*;
pub use secret::Secret;
