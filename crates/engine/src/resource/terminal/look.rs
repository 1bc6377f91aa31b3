//! Looking at what waits in a pseudo-terminal while the program stands still. It has to be taken out and put in
//! again (`queue.rs`), so a process of its own does both at a stretch: it goes on when the agent is killed in
//! between, is in a session of its own, and takes no signals.
//!
//! It is this program again: `rethaw __terminals MASTER SLAVE …` (descriptor numbers). For each pair it says one
//! record on stdout: length (4 bytes), then a [`TerminalQueuesV1`], or length 0 and its end.

use super::queue::Ends;
use crate::Result;
use crate::error::Context;
use rethaw_image::record::TerminalQueuesV1;
use rethaw_sys::terminal;
use rustix::fs::OFlags;
use rustix::io::FdFlags;
use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::process::{Command, Stdio};

/// Name of the hidden subcommand.
pub const SUBCOMMAND: &str = "__terminals";

/// What waits in each of these pseudo-terminals (master, slave).
pub(super) fn look(terminals: &[(&OwnedFd, &OwnedFd)]) -> Result<Vec<TerminalQueuesV1>> {
    let name = || "cannot look at what waits in a pseudo-terminal".to_owned();
    let mut passed = Vec::new();
    for (master, slave) in terminals {
        for fd in [master, slave] {
            let copy = fd.try_clone().context(name)?;
            rustix::io::fcntl_setfd(&copy, FdFlags::empty()).context(name)?;
            passed.push(copy);
        }
    }
    let mut child = Command::new("/proc/self/exe")
        .arg(SUBCOMMAND)
        .args(passed.iter().map(|fd| fd.as_raw_fd().to_string()))
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context(name)?;
    drop(passed);
    let mut said = Vec::new();
    let heard = match &mut child.stdout {
        Some(stdout) => stdout.read_to_end(&mut said).map(drop),
        None => Ok(()),
    };
    child.wait().context(name)?;
    heard.context(name)?;
    decode(&said, terminals.len()).context(name)
}

fn decode(mut said: &[u8], count: usize) -> io::Result<Vec<TerminalQueuesV1>> {
    let short = || io::Error::other("it was busy, or its state is one that this version does not know");
    let mut all = Vec::new();
    for _ in 0..count {
        let (len, rest) = said.split_first_chunk::<4>().ok_or_else(short)?;
        let len = u32::from_le_bytes(*len) as usize;
        let record = rest.get(..len).ok_or_else(short)?;
        all.push(prost::Message::decode(record).map_err(io::Error::other)?);
        said = &rest[len..];
    }
    Ok(all)
}

/// Runs the process that looks; `arguments` are those after the subcommand. Gives the exit status.
pub fn main(arguments: &[OsString]) -> i32 {
    let numbers: Option<Vec<i32>> = arguments.iter().map(|word| word.to_str()?.parse().ok()).collect();
    let Some(numbers) = numbers else { return 2 };
    if terminal::be_undisturbed().is_err() {
        return 1;
    }
    for pair in numbers.chunks_exact(2) {
        let (master, slave) = (pair[0], pair[1]);
        let looked = match (rethaw_sys::inherited(master), rethaw_sys::inherited(slave)) {
            (Ok(master), Ok(slave)) => look_at(&master, &slave),
            (Err(error), _) | (_, Err(error)) => Err(error),
        };
        let Ok(queues) = looked else { return 1 };
        let bytes = prost::Message::encode_to_vec(&queues);
        let mut out = io::stdout();
        let len = (bytes.len() as u32).to_le_bytes();
        // The agent may be gone; then nobody wants to know.
        let said = out.write_all(&len).and_then(|()| out.write_all(&bytes));
        let _ = said.and_then(|()| out.flush());
    }
    0
}

/// Takes out and puts in again, whatever happens between.
fn look_at(master: &OwnedFd, slave: &OwnedFd) -> io::Result<TerminalQueuesV1> {
    let ends = Ends {
        master: master.as_fd(),
        slave: slave.as_fd(),
    };
    // What is taken out has to find its way back.
    let access = rustix::fs::fcntl_getfl(ends.slave)? & OFlags::ACCMODE;
    if access != OFlags::RDWR {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    let modes = terminal::modes(ends.master)?;
    let packets = terminal::packet_mode(ends.master)?;
    if packets {
        terminal::set_packet_mode(ends.master, false)?;
    }
    let mut queues = TerminalQueuesV1::default();
    let taken = ends.take(&modes, &mut queues);
    let put = ends.put(&queues, &modes);
    if packets {
        terminal::set_packet_mode(ends.master, true)?;
    }
    taken.and(put)?;
    Ok(queues)
}
