//! Looking at what waits in a POSIX message queue while the program stands still. It has to be taken out and put in
//! again, so a process of its own does both at a stretch, as for terminals (`terminal/look.rs`): it goes on when the agent
//! is killed in between.
//!
//! It is this program again: `rethaw __queue QUEUE` (a descriptor number). On stdout it says a [`QueueFileV1`] with the
//! messages.

use rethaw_image::record::{QueueFileV1, QueueMessageV1};
use rethaw_sys::mqueue::{self, Attributes};
use rethaw_sys::terminal;
use rustix::io::FdFlags;
use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::process::{Command, Stdio};
use std::time::Duration;

/// Name of the hidden subcommand.
pub const SUBCOMMAND: &str = "__queue";

/// What waits in a queue that nobody else uses.
pub(super) fn look(queue: &OwnedFd, attributes: Attributes) -> io::Result<Vec<QueueMessageV1>> {
    let passed = queue.try_clone()?;
    rustix::io::fcntl_setfd(&passed, FdFlags::empty())?;
    let mut child = Command::new("/proc/self/exe")
        .arg(SUBCOMMAND)
        .arg(passed.as_raw_fd().to_string())
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()?;
    drop(passed);
    let mut said = Vec::new();
    if let Some(stdout) = &mut child.stdout {
        stdout.read_to_end(&mut said)?;
    }
    let said: QueueFileV1 = prost::Message::decode(&said[..]).map_err(io::Error::other)?;
    if said.messages.len() != attributes.messages as usize {
        // It may still be busy putting them back, and is not waited for.
        return Err(io::Error::other("it is in use"));
    }
    child.wait()?;
    Ok(said.messages)
}

/// Runs the process that looks; `arguments` are those after the subcommand. Gives the exit status.
pub fn main(arguments: &[OsString]) -> i32 {
    let number = arguments.first().and_then(|word| word.to_str()?.parse().ok());
    let Some(Ok(queue)) = number.map(rethaw_sys::inherited) else {
        return 2;
    };
    if terminal::be_undisturbed().is_err() {
        return 1;
    }
    let Ok(messages) = take_and_put(queue.as_fd()) else {
        return 1;
    };
    let said = QueueFileV1 {
        messages,
        ..QueueFileV1::default()
    };
    // The agent may be gone; then nobody wants to know.
    let _ = io::stdout().write_all(&prost::Message::encode_to_vec(&said));
    0
}

/// Everything that is there, in the order of receiving, in which it is also put back: a queue keeps the order of messages
/// of one priority.
fn take_and_put(queue: BorrowedFd<'_>) -> io::Result<Vec<QueueMessageV1>> {
    let attributes = mqueue::attributes(queue)?;
    let mut messages = Vec::with_capacity(attributes.messages as usize);
    let taken = loop {
        match mqueue::receive(queue, attributes.max_bytes) {
            Ok((priority, bytes)) => messages.push(QueueMessageV1 { priority, bytes }),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => break Ok(()),
            Err(e) => break Err(e),
        }
    };
    for message in &messages {
        put(queue, message)?;
    }
    taken.map(|()| messages)
}

/// There was room for it. Should somebody outside of the computation have filled that, then the agent is not kept waiting
/// any more, and the message is put in when there is room again.
fn put(queue: BorrowedFd<'_>, message: &QueueMessageV1) -> io::Result<()> {
    const PAUSE: Duration = Duration::from_millis(5);
    while let Err(error) = mqueue::send(queue, message.priority, &message.bytes) {
        if error.kind() != io::ErrorKind::WouldBlock {
            return Err(error);
        }
        rethaw_sys::leave_stdio()?;
        std::thread::sleep(PAUSE);
    }
    Ok(())
}
