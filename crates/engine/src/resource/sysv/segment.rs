//! System V shared memory.

use super::{Owner, Sort, State, is_gone, refused};
use crate::Result;
use crate::checkpoint::refusals::Refusals;
use crate::checkpoint::snapshot::{self, Copy};
use crate::error::Context;
use crate::resource::memory::PageRange;
use crate::restart::{Plan, Stub, damaged};
use rethaw_image::record::{Backing, MappingV1, SegmentV1};
use rethaw_image::{ImageReader, PAGE, RunKind};
use rethaw_sys::proc::{Pid, Vma};
use rethaw_sys::remote::{Foothold, Remote};
use std::collections::BTreeMap;
use std::io;

/// Removed, but still attached (SHM_DEST).
const REMOVED: u32 = 0o1000;
/// Locked into memory (SHM_LOCKED).
const LOCKED: u32 = 0o2000;

/// Streams of segments follow those of shared objects.
const FIRST_STREAM: u32 = 1 << 24;

/// One segment, and where its contents can be read.
#[derive(Debug)]
pub(crate) struct Segment {
    pub record: SegmentV1,
    pub mapped: Vec<(Pid, PageRange)>,
    /// Can be left out when others remove it.
    may_miss: bool,
}

impl Segment {
    /// The parts that nobody has attached.
    pub fn missing(&self) -> Vec<PageRange> {
        let whole = PageRange {
            start: 0,
            end: self.record.size.next_multiple_of(PAGE as u64),
            stream: self.record.stream,
            at: 0,
            forced: true,
            in_pause: true,
        };
        not_in(vec![whole], &self.mapped)
    }
}

/// What of `parts` is not mapped yet.
fn not_in(parts: Vec<PageRange>, mapped: &[(Pid, PageRange)]) -> Vec<PageRange> {
    mapped.iter().fold(parts, |parts, (_, known)| {
        let end = known.at + (known.end - known.start);
        parts
            .into_iter()
            .flat_map(|part| part.outside(known.at, end))
            .collect()
    })
}

/// Whether a mapping is of a segment: the kernel calls it by its key, and its inode is the identifier (ipc/shm.c,
/// newseg). The first identifier of a namespace is 0, which otherwise stands for no file at all.
pub(crate) fn is_segment(vma: &Vma) -> bool {
    let deleted = vma.deleted || vma.ino == 0 && vma.name.ends_with(b" (deleted)");
    vma.shared && deleted && vma.name.starts_with(b"/SYSV")
}

pub(super) fn collect(
    all: &[State],
    attached: &[(Pid, Vma)],
    owner: &Owner,
    refusals: &Refusals,
) -> Result<Vec<Segment>> {
    let mut segments = Vec::new();
    for state in all {
        let here = || attached.iter().filter(|(_, vma)| vma.ino == state.id as u64);
        let (maker, user) = (state.u32(80).cast_signed(), state.u32(84).cast_signed());
        let attached_here = here().count() as u64;
        // Every mapping counts. Those of our own copies, which have ended, do not any more.
        let outside = !owner.private && state.u64(88) > attached_here;
        let used = attached_here > 0 || owner.used(&[maker, user]);
        if !used && (outside || !owner.has(state, &[maker, user], state.u64(72).cast_signed())) {
            continue;
        }
        if outside {
            let by = here().next().map_or(Pid::own(), |(pid, _)| *pid);
            let what = "System V shared memory that a process outside of the computation has attached, too";
            refusals.note(refused(by, what, Sort::Segment, state.id))?;
        }
        let mut segment = Segment {
            record: SegmentV1 {
                ipc: Some(state.ipc()),
                size: state.u64(48),
                creator: maker,
                stream: FIRST_STREAM + segments.len() as u32,
                huge_page: 0,
            },
            mapped: Vec::new(),
            may_miss: attached_here == 0 && owner.may_miss(&[maker, user]),
        };
        for (pid, vma) in here() {
            let range = PageRange {
                start: vma.start,
                end: vma.end,
                stream: segment.record.stream,
                at: vma.offset,
                forced: true,
                in_pause: true,
            };
            let new = not_in(vec![range], &segment.mapped);
            segment.mapped.extend(new.into_iter().map(|part| (*pid, part)));
        }
        segments.push(segment);
    }
    Ok(segments)
}

/// Attaches what no process has (or has only in part) in a copy of a process, which is ours alone.
pub(super) fn attach_missing(
    segments: &mut Vec<Segment>,
    pid: Pid,
    remote: &mut Remote<'_>,
    foothold: &Foothold,
) -> Result<Copy> {
    let mut hand = snapshot::copy_process(pid, remote, foothold)?;
    let copy = hand.pid();
    let name = || "cannot attach System V shared memory".to_owned();
    let foothold = foothold.in_copy(copy).context(name)?;
    let mut remote = Remote::begin_disposable(hand.stopped(), &foothold).context(name)?;
    for mut segment in std::mem::take(segments) {
        let missing = segment.missing();
        if missing.is_empty() {
            segments.push(segment);
            continue;
        }
        let attach = [id(&segment.record) as u64, 0, libc::SHM_RDONLY as u64, 0, 0, 0];
        let address = match remote.call(libc::SYS_shmat, attach).context(name)? {
            Err(e) if segment.may_miss && is_gone(&e) => continue,
            outcome => outcome.context(name)?,
        };
        segment.mapped.extend(missing.into_iter().map(|part| {
            let at_address = PageRange {
                start: address + part.start,
                end: address + part.end,
                ..part
            };
            (copy, at_address)
        }));
        segments.push(segment);
    }
    Ok(hand)
}

/// Every mapping of a segment has to be one of these.
pub(super) fn check_mappings(
    pid: Pid,
    mappings: &[MappingV1],
    segments: &mut [Segment],
    refusals: &Refusals,
) -> Result<()> {
    for mapping in mappings.iter().filter(|mapping| is_of(mapping)) {
        let Some(segment) = segments.iter_mut().find(|s| id(&s.record) == mapping.segment) else {
            let what = "System V shared memory that the process may not ask for";
            refusals.note(refused(pid, what, Sort::Segment, mapping.segment))?;
            continue;
        };
        segment.record.huge_page = mapping.huge_page;
    }
    Ok(())
}

pub(super) fn is_of(mapping: &MappingV1) -> bool {
    mapping.backing() == Backing::Segment
}

pub(super) fn id(record: &SegmentV1) -> i32 {
    record.ipc.map_or(-1, |ipc| ipc.id)
}

/// What it takes in an address space.
fn len(record: &SegmentV1) -> Option<u64> {
    record
        .size
        .checked_next_multiple_of(record.huge_page.max(PAGE as u64))
}

/// Whether `mapping` can be one of this segment.
pub(super) fn fits(record: &SegmentV1, mapping: &MappingV1) -> bool {
    let end = mapping.offset.checked_add(mapping.end - mapping.start);
    let inside = end.zip(len(record)).is_some_and(|(end, len)| end <= len);
    id(record) == mapping.segment && mapping.shared && inside
}

/// Makes it again and fills it.
pub(super) fn rebuild(
    stub: &mut Stub,
    record: &SegmentV1,
    reader: &ImageReader,
    warnings: &mut Vec<String>,
) -> Result<()> {
    let Some(ipc) = &record.ipc else { return Ok(()) };
    let huge = if record.huge_page == 0 {
        0
    } else {
        libc::SHM_HUGETLB as u32 | record.huge_page.trailing_zeros() << 26
    };
    Sort::Segment.make(stub, ipc, record.size, huge)?;
    let name = || format!("cannot fill System V shared memory segment {}", ipc.id);
    let attach = [ipc.id as u64, 0, 0, 0, 0, 0];
    let address = stub.remote()?.must(libc::SYS_shmat, attach).context(name)?;
    let mut buffer = Vec::new();
    let runs = reader.runs(record.stream)?.iter();
    for run in runs.filter(|run| run.kind == RunKind::Data) {
        if run.end() > record.size.next_multiple_of(PAGE as u64) {
            return Err(damaged("System V shared memory with too many pages"));
        }
        reader.read_run(run, &mut buffer)?;
        rethaw_sys::memory::write(stub.pid, address + run.start, &buffer).context(name)?;
    }
    let mut remote = stub.remote()?;
    remote
        .must(libc::SYS_shmdt, [address, 0, 0, 0, 0, 0])
        .context(name)?;
    if ipc.mode & LOCKED != 0
        && let Err(e) = Sort::Segment
            .control(&mut remote, ipc.id, libc::SHM_LOCK, 0)
            .context(name)?
    {
        warnings.push(format!(
            "System V shared memory cannot be locked here ({e}); raise the limit (ulimit -l)"
        ));
    }
    Ok(())
}

/// Attaches all segments of a process, before its other mappings are made.
pub(crate) fn attach(stub: &mut Stub, mappings: &[MappingV1], plan: &Plan) -> Result<()> {
    // What shmat(2) gave once, in whole or in pieces, was for the kernel one attachment, with one beginning (shmdt(2)).
    let mut attachments: BTreeMap<(i32, u64, bool), Vec<&MappingV1>> = BTreeMap::new();
    for mapping in mappings.iter().filter(|mapping| is_of(mapping)) {
        let begin = mapping.start.wrapping_sub(mapping.offset);
        let attachment = (mapping.segment, begin, mapping.read_only);
        attachments.entry(attachment).or_default().push(mapping);
    }
    for ((id, begin, _), pieces) in attachments {
        let name = || format!("cannot attach System V shared memory at {begin:#x}");
        attach_one(&mut stub.remote()?, plan.sysv.segment(id)?, &pieces).context(name)?;
    }
    Ok(())
}

/// Attaches it wherever there is room, and moves the pieces to where they were.
fn attach_one(remote: &mut Remote<'_>, record: &SegmentV1, pieces: &[&MappingV1]) -> io::Result<()> {
    let executable = pieces
        .iter()
        .any(|piece| piece.protection & libc::PROT_EXEC as u32 != 0);
    let mut flags = if executable { libc::SHM_EXEC } else { 0 };
    let mut protection = libc::PROT_READ | if executable { libc::PROT_EXEC } else { 0 };
    match pieces.iter().any(|piece| piece.read_only) {
        true => flags |= libc::SHM_RDONLY,
        false => protection |= libc::PROT_WRITE,
    }
    for piece in pieces {
        // So that the kernel does not choose a place that overlaps.
        let kept = (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED_NOREPLACE) as u64;
        let (len, none) = (piece.end - piece.start, libc::PROT_NONE as u64);
        remote.must(libc::SYS_mmap, [piece.start, len, none, kept, u64::MAX, 0])?;
    }
    let at = remote.must(libc::SYS_shmat, [id(record) as u64, 0, flags as u64, 0, 0, 0])?;
    for piece in pieces {
        let (from, len) = (at + piece.offset, piece.end - piece.start);
        let fixed = (libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED) as u64;
        remote.must(libc::SYS_mremap, [from, len, len, fixed, piece.start, 0])?;
        if piece.protection != protection as u32 {
            let arguments = [piece.start, len, piece.protection.into(), 0, 0, 0];
            remote.must(libc::SYS_mprotect, arguments)?;
        }
    }
    let len = len(record).unwrap_or_default();
    remote.must(libc::SYS_munmap, [at, len, 0, 0, 0, 0]).map(drop)
}

/// Removes what was removed before, now that it is attached.
pub(super) fn finish(stub: &mut Stub, record: &SegmentV1) -> Result<()> {
    let Some(ipc) = record.ipc.filter(|ipc| ipc.mode & REMOVED != 0) else {
        return Ok(());
    };
    let name = || format!("cannot remove System V shared memory segment {}", ipc.id);
    let removed = Sort::Segment.control(&mut stub.remote()?, ipc.id, libc::IPC_RMID, 0);
    removed.and_then(|outcome| outcome).map(drop).context(name)
}
