//! System V message queues. Messages are looked at with MSG_COPY (msgrcv(2)), which takes nothing away.

use super::{Owner, Sort, State, is_gone, refused};
use crate::Result;
use crate::checkpoint::refusals::Refusals;
use crate::error::Context;
use crate::restart::Stub;
use rethaw_image::record::{MessageQueueV1, MessageV1};
use rethaw_sys::proc::Pid;
use rethaw_sys::remote::Remote;
use std::io;

const MSG_COPY: i32 = 0o40000;
/// What a queue takes in a new IPC namespace (MSGMNB), and the longest message (MSGMAX).
const CAPACITY: u64 = 16384;
const LONGEST: u64 = 8192;
/// The type, before the bytes.
const HEAD: u64 = 8;
const PAGE: u64 = rethaw_image::PAGE as u64;

pub(super) fn collect(
    pid: Pid,
    all: &[State],
    owner: &Owner,
    remote: &mut Remote<'_>,
    refusals: &Refusals,
) -> Result<Vec<MessageQueueV1>> {
    let name = || format!("cannot look at System V message queues in process {pid}");
    let mut queues = Vec::new();
    for state in all {
        let used_by = [state.u32(96), state.u32(100)].map(u32::cast_signed);
        if !owner.has(state, &used_by, state.u64(64).cast_signed()) {
            continue;
        }
        let (bytes, count) = (state.u64(72), state.u64(80));
        if bytes > CAPACITY {
            let what = "a System V message queue with more bytes than one takes in a new IPC namespace";
            refusals.note(refused(pid, what, Sort::Queue, state.id))?;
            continue;
        }
        let messages = match count {
            0 => Vec::new(),
            _ => match copy(pid, state.id, count, bytes, remote) {
                Err(e) if owner.may_miss(&used_by) && is_gone(&e) => continue,
                outcome => outcome.context(name)?,
            },
        };
        if messages
            .iter()
            .any(|message| message.bytes.len() as u64 > LONGEST)
        {
            let what = "a System V message that is longer than one may be in a new IPC namespace";
            refusals.note(refused(pid, what, Sort::Queue, state.id))?;
        }
        queues.push(MessageQueueV1 {
            ipc: Some(state.ipc()),
            capacity: state.u64(88),
            sender: used_by[0],
            messages,
        });
    }
    Ok(queues)
}

/// Copies all messages by way of memory that is mapped for it. (If this process is killed meanwhile, that memory
/// stays, which does not disturb the program.)
fn copy(pid: Pid, id: i32, count: u64, bytes: u64, remote: &mut Remote<'_>) -> io::Result<Vec<MessageV1>> {
    let len = (HEAD + bytes).next_multiple_of(PAGE);
    let buffer = map(len, remote)?;
    let mut copy_one = |index: u64| {
        let flags = (MSG_COPY | libc::IPC_NOWAIT) as u64;
        let got = remote.must(libc::SYS_msgrcv, [id as u64, buffer, len - HEAD, index, flags, 0])?;
        let mut message = vec![0; (HEAD + got) as usize];
        rethaw_sys::memory::read(pid, buffer, &mut message)?;
        let rest = message.split_off(HEAD as usize);
        Ok(MessageV1 {
            kind: i64::from_ne_bytes(message.try_into().unwrap_or_default()),
            bytes: rest,
        })
    };
    let copied = (0..count).map(&mut copy_one).collect();
    remote.must(libc::SYS_munmap, [buffer, len, 0, 0, 0, 0])?;
    copied
}

fn map(len: u64, remote: &mut Remote<'_>) -> io::Result<u64> {
    let protection = (libc::PROT_READ | libc::PROT_WRITE) as u64;
    let flags = (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS) as u64;
    remote.must(libc::SYS_mmap, [0, len, protection, flags, u64::MAX, 0])
}

/// Makes a queue again and sends what was in it.
pub(super) fn rebuild(stub: &mut Stub, record: &MessageQueueV1, warnings: &mut Vec<String>) -> Result<()> {
    let Some(ipc) = &record.ipc else { return Ok(()) };
    let name = || format!("cannot fill the System V message queue {}", ipc.id);
    Sort::Queue.make(stub, ipc, 0, 0)?;
    let pid = stub.pid;
    let mut remote = stub.remote()?;
    let longest = record
        .messages
        .iter()
        .map(|message| message.bytes.len() as u64)
        .max();
    if let Some(longest) = longest {
        let len = (HEAD + longest).next_multiple_of(PAGE);
        let buffer = map(len, &mut remote).context(name)?;
        for message in &record.messages {
            let bytes = [&message.kind.to_ne_bytes()[..], &message.bytes].concat();
            rethaw_sys::memory::write(pid, buffer, &bytes).context(name)?;
            let arguments = [
                ipc.id as u64,
                buffer,
                message.bytes.len() as u64,
                libc::IPC_NOWAIT as u64,
                0,
                0,
            ];
            remote.must(libc::SYS_msgsnd, arguments).context(name)?;
        }
        remote
            .must(libc::SYS_munmap, [buffer, len, 0, 0, 0, 0])
            .context(name)?;
    }
    if record.capacity != CAPACITY {
        let asked = set_capacity(&mut remote, record.capacity, ipc.id, ipc.mode).context(name)?;
        if let Err(e) = asked {
            warnings.push(format!(
                "a System V message queue takes only {CAPACITY} bytes here ({e})"
            ));
        }
    }
    Ok(())
}

/// `struct msqid64_ds`: owner, permissions and capacity are read, and nothing else.
fn set_capacity(remote: &mut Remote<'_>, capacity: u64, id: i32, mode: u32) -> io::Result<io::Result<u64>> {
    let mut state = [0; 120];
    let ids = [
        rustix::process::geteuid().as_raw(),
        rustix::process::getegid().as_raw(),
    ];
    for (at, word) in [(4, ids[0]), (8, ids[1]), (20, mode & 0o777)] {
        state[at..at + 4].copy_from_slice(&word.to_ne_bytes());
    }
    state[88..96].copy_from_slice(&capacity.to_ne_bytes());
    let at = remote.put(0, &state)?;
    Sort::Queue.control(remote, id, libc::IPC_SET, at)
}
