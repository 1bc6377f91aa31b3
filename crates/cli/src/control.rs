//! The control socket of a running computation: one JSON line asks, one answers.

use crate::failure::{Context, Failure, Result, status};
use crate::place::Seen;
use crate::state::{LastCheckpoint, Text};
use serde::{Deserialize, Serialize};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What can be asked.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "snake_case")]
pub enum Request {
    /// How it goes.
    Status,
    /// A checkpoint now.
    Checkpoint {
        /// End the computation once it is durable.
        stop: bool,
        /// Answer when it is durable, not when it has begun.
        wait: bool,
    },
    /// What would stop a checkpoint now.
    Check,
    /// End every process.
    Kill,
    /// Another interval; 0 for never.
    Interval {
        /// In seconds.
        seconds: f64,
    },
}

/// What is answered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "reply", rename_all = "snake_case")]
pub enum Reply {
    /// To [`Request::Status`].
    Status(Box<Status>),
    /// The checkpoint is durable.
    Checkpoint(LastCheckpoint),
    /// To [`Request::Check`].
    Checked(Checked),
    /// It will be done.
    Accepted,
    /// It was not done.
    Failed {
        /// Why.
        sentence: String,
        /// The computation holds something that cannot be checkpointed.
        refused: bool,
    },
}

/// A running computation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Identity.
    pub computation: String,
    /// Command line.
    pub command: Vec<Text>,
    /// Where its checkpoints go.
    #[serde(with = "crate::state::path_as_text")]
    pub checkpoints: PathBuf,
    /// Main process.
    pub main: Option<Seen>,
    /// Living processes, as seen from outside.
    pub processes: Vec<i32>,
    /// Their resident memory in bytes.
    pub resident_bytes: u64,
    /// Seconds between checkpoints; 0 for never.
    pub interval_seconds: f64,
    /// Seconds until the next checkpoint is due.
    pub next_in_seconds: Option<f64>,
    /// Number of the checkpoint that is being written.
    pub writing: Option<u64>,
    /// Newest durable checkpoint.
    pub last: Option<LastCheckpoint>,
    /// Seconds until the batch job ends.
    pub job_ends_in_seconds: Option<f64>,
}

/// What a checkpoint would meet.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Checked {
    /// What would stop it, in a sentence each.
    pub refusals: Vec<String>,
    /// What would not come back quite as it is, in a sentence each.
    pub warnings: Vec<String>,
    /// Processes that were looked at.
    pub processes: usize,
    /// Their threads.
    pub threads: usize,
    /// Their descriptors.
    pub descriptors: usize,
    /// Memory to be saved, in bytes.
    pub memory: u64,
    /// How long they stood still.
    pub pause_ms: f64,
}

impl From<rethaw_engine::checkpoint::Findings> for Checked {
    fn from(found: rethaw_engine::checkpoint::Findings) -> Checked {
        /// Of each sort: more would not be read, and might not fit into a reply.
        const MOST: usize = 1000;
        let mut checked = Checked {
            refusals: found.refusals.iter().map(ToString::to_string).collect(),
            warnings: found.warnings,
            processes: found.processes,
            threads: found.threads,
            descriptors: found.descriptors,
            memory: found.memory,
            pause_ms: found.pause.as_secs_f64() * 1e3,
        };
        for (sentences, what) in [
            (&mut checked.refusals, "cannot checkpoint"),
            (&mut checked.warnings, "left out here"),
        ] {
            let more = sentences.len().saturating_sub(MOST);
            sentences.truncate(MOST);
            sentences.extend((more > 0).then(|| format!("{what}: {more} more of the same sort")));
        }
        checked
    }
}

/// A request or reply is never longer.
const LONGEST_LINE: u64 = 4 << 20;

/// Asks a computation and waits for the answer as long as it takes.
pub fn ask(socket: &Path, request: Request) -> Result<Reply> {
    let mut stream = UnixStream::connect(socket).context(|| format!("connect to {}", socket.display()))?;
    send(&mut stream, &request).context(|| format!("ask {}", socket.display()))?;
    match receive(&stream) {
        Ok(Some(reply)) => Ok(reply),
        Ok(None) => Err(Failure::said("the computation ended before it answered")),
        Err(error) => Err(error).context(|| format!("read the answer of {}", socket.display())),
    }
}

/// The same, with a failure as an error.
pub fn demand(socket: &Path, request: Request) -> Result<Reply> {
    match ask(socket, request)? {
        Reply::Failed { sentence, refused } => Err(Failure::with_status(
            if refused { status::REFUSED } else { status::FAILED },
            sentence,
        )),
        reply => Ok(reply),
    }
}

/// Writes one line.
pub fn send(stream: &mut UnixStream, message: &impl Serialize) -> std::io::Result<()> {
    let mut line = serde_json::to_vec(message)?;
    line.push(b'\n');
    stream.write_all(&line)
}

/// Reads one line; `None` at the end of the stream.
pub fn receive<T: serde::de::DeserializeOwned>(stream: &UnixStream) -> std::io::Result<Option<T>> {
    let mut line = Vec::new();
    BufReader::new(stream.take(LONGEST_LINE)).read_until(b'\n', &mut line)?;
    if line.is_empty() {
        return Ok(None);
    }
    Ok(Some(serde_json::from_slice(&line)?))
}

/// Reads the request of a client that has just connected; it is of the same user and does not dawdle.
pub fn accept_request(stream: &UnixStream) -> std::io::Result<Option<Request>> {
    let peer = rethaw_sys::descriptor::peer_uid(stream)?;
    if peer != rustix::process::geteuid().as_raw() && peer != 0 {
        return Err(std::io::ErrorKind::PermissionDenied.into());
    }
    let patience = Some(Duration::from_millis(500));
    stream.set_read_timeout(patience)?;
    stream.set_write_timeout(patience)?;
    receive(stream)
}

#[cfg(test)]
#[allow(clippy::expect_used)]
mod tests {
    use super::*;

    #[test]
    fn a_request_and_its_reply() {
        let (mut client, server) = UnixStream::pair().expect("a pair");
        let request = Request::Checkpoint {
            stop: true,
            wait: false,
        };
        send(&mut client, &request).expect("sent");
        assert_eq!(accept_request(&server).expect("received"), Some(request));
        let mut server = server;
        send(&mut server, &Reply::Accepted).expect("sent");
        assert_eq!(
            receive::<Reply>(&client).expect("received"),
            Some(Reply::Accepted)
        );
    }

    #[test]
    fn nonsense_is_an_error_and_the_end_is_none() {
        let (mut client, server) = UnixStream::pair().expect("a pair");
        client.write_all(b"{\"request\":\"dance\"}\n").expect("sent");
        assert!(accept_request(&server).is_err());
        drop(client);
        assert_eq!(accept_request(&server).expect("the end"), None);
    }
}
