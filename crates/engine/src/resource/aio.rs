//! Contexts of Linux asynchronous I/O (io_setup(2)). A context is known by the address of its ring, which the kernel maps
//! into the process, and which moves with it (mremap(2)).
//!
//! Requests that have not completed are known to nobody but the kernel. Those of disks complete while the program stands
//! still, and are waited for; one on a pipe, a socket or a poll could stay: the restart says so.

use crate::Result;
use crate::error::{Context, Error};
use crate::restart::{Stub, damaged};
use rethaw_image::record::{Backing, MappingV1};
use rethaw_sys::proc::{Pid, Vma};
use rethaw_sys::remote::Remote;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

/// `struct aio_ring` (fs/aio.c): id, nr, head, tail, magic, features, length of this header; then the events.
const HEADER: u64 = 32;
const EVENT: u64 = 32;
const MAGIC: u32 = 0xa10a_10a1;

pub(crate) fn is_ring(vma: &Vma) -> bool {
    vma.shared && vma.deleted && vma.name == b"/[aio]"
}

fn word(ring: &[u8], index: usize) -> u32 {
    let bytes = ring
        .get(index * 4..index * 4 + 4)
        .and_then(|bytes| bytes.try_into().ok());
    bytes.map_or(0, u32::from_ne_bytes)
}

/// The ring, once no request has completed for a while.
pub(crate) fn collect(pid: Pid, vma: &Vma) -> Result<Vec<u8>> {
    const QUIET: Duration = Duration::from_millis(20);
    const LONGEST: Duration = Duration::from_secs(5);
    let end = Instant::now() + LONGEST;
    let read = || {
        let mut ring = vec![0; vma.bytes() as usize];
        let outcome = rethaw_sys::memory::read(pid, vma.start, &mut ring).map(|()| ring);
        outcome.context(|| format!("cannot read the ring of asynchronous I/O of process {pid}"))
    };
    let mut ring = read()?;
    loop {
        std::thread::sleep(QUIET);
        let now = read()?;
        if now == ring && is_valid(&ring) {
            return Ok(ring);
        }
        if Instant::now() > end {
            return Err(Error::Refused {
                what: "asynchronous I/O that does not come to an end (io_submit)".to_owned(),
                pid: pid.0,
                place: format!("address {:#x}", vma.start),
                remedy: "the next checkpoint tries again".to_owned(),
            });
        }
        ring = now;
    }
}

/// Whether it is a ring as the kernel makes it.
fn is_valid(ring: &[u8]) -> bool {
    let len = ring.len() as u64;
    let [count, head, tail] = [1, 2, 3].map(|index| word(ring, index));
    word(ring, 4) == MAGIC
        && len.is_multiple_of(rethaw_image::PAGE as u64)
        && u64::from(count) == (len - HEADER) / EVENT
        && head < count
        && tail < count
}

/// Makes the contexts of a process again.
pub(crate) fn rebuild(stub: &mut Stub, mappings: &[MappingV1], warnings: &mut Vec<String>) -> Result<()> {
    for ring in mappings.iter().filter(|m| m.backing() == Backing::AioRing) {
        rebuild_one(stub, ring)?;
        warnings.push(
            "the program uses asynchronous I/O (io_submit): a request on a pipe, a socket or a poll that had not \
             completed will not"
                .to_owned(),
        );
    }
    Ok(())
}

/// Makes a context with the same ring at the same address.
fn rebuild_one(stub: &mut Stub, mapping: &MappingV1) -> Result<()> {
    let (ring, len) = (&mapping.ring, mapping.end - mapping.start);
    if ring.len() as u64 != len || !is_valid(ring) {
        return Err(damaged("a ring of asynchronous I/O that cannot be"));
    }
    let name = || {
        format!(
            "cannot rebuild the ring of asynchronous I/O at {:#x}",
            mapping.start
        )
    };
    let null = stub.open(Path::new("/dev/null"), libc::O_WRONLY).context(name)?;
    let pid = stub.pid;
    let mut remote = stub.remote()?;
    let id = set_up(&mut remote, ring, mapping, pid).context(name)?;
    let Some(id) = id else {
        return Err(Error::CannotRestart {
            what: "the kernel makes rings of asynchronous I/O of another size here".to_owned(),
            remedy: "restart on a machine with as many processors".to_owned(),
        });
    };
    advance(&mut remote, mapping.start, word(ring, 3), null, pid).context(name)?;
    remote
        .must(libc::SYS_close, [null, 0, 0, 0, 0, 0])
        .context(name)?;
    // All but the number by which the kernel finds the context.
    rethaw_sys::memory::write(pid, mapping.start + 4, &ring[4..]).context(name)?;
    let now = id.to_ne_bytes();
    rethaw_sys::memory::write(pid, mapping.start, &now).context(name)
}

/// Gives the number that the kernel has put into the ring; nothing if the ring has another size.
fn set_up(remote: &mut Remote<'_>, ring: &[u8], mapping: &MappingV1, pid: Pid) -> io::Result<Option<u32>> {
    let (start, len) = (mapping.start, mapping.end - mapping.start);
    // So that the kernel does not choose a place that overlaps.
    let kept = (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED_NOREPLACE) as u64;
    remote.must(
        libc::SYS_mmap,
        [start, len, libc::PROT_NONE as u64, kept, u64::MAX, 0],
    )?;
    let at = remote.put(0, &[0; 8])?;
    // The kernel makes twice as many as asked for, and two, and fills the last page (aio_setup_ring).
    let wanted = u64::from(word(ring, 1)).saturating_sub(2) / 2;
    remote.must(libc::SYS_io_setup, [wanted, at, 0, 0, 0, 0])?;
    let made = u64::from_ne_bytes(remote.get(0)?);
    let mut header = [0; HEADER as usize];
    rethaw_sys::memory::read(pid, made, &mut header)?;
    if word(&header, 1) != word(ring, 1) {
        return Ok(None);
    }
    let fixed = (libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED) as u64;
    remote.must(libc::SYS_mremap, [made, len, len, fixed, start, 0])?;
    Ok(Some(word(&header, 0)))
}

/// Brings the kernel's own end of the ring to where it was, by requests that complete at once. They count as
/// collected when the head is moved: without that, the kernel may run out of places before the ring is full, since it
/// hands them out by processor (EAGAIN, fs/aio.c, get_reqs_available).
fn advance(remote: &mut Remote<'_>, context: u64, tail: u32, null: u64, pid: Pid) -> io::Result<()> {
    const WRITE: u16 = 1;
    const AT_ONCE: u32 = 32;
    const POINTERS: u64 = 128;
    let mut request = [0; 64];
    let address = remote.put(0, &request)?;
    request[16..18].copy_from_slice(&WRITE.to_ne_bytes());
    request[20..24].copy_from_slice(&(null as u32).to_ne_bytes());
    request[24..32].copy_from_slice(&address.to_ne_bytes());
    request[32..40].copy_from_slice(&1_u64.to_ne_bytes());
    remote.put(0, &request)?;
    let pointers = remote.put(POINTERS, &address.to_ne_bytes().repeat(AT_ONCE as usize))?;
    const HEAD: u64 = 8;
    let mut done = 0;
    while done < tail {
        rethaw_sys::memory::write(pid, context + HEAD, &done.to_ne_bytes())?;
        let some = u64::from((tail - done).min(AT_ONCE));
        done += match remote.must(libc::SYS_io_submit, [context, some, pointers, 0, 0, 0])? {
            0 => return Err(io::ErrorKind::WouldBlock.into()),
            some => some as u32,
        };
    }
    Ok(())
}
