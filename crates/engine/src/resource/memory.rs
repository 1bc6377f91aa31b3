//! Address spaces: mappings, their pages, and the boundaries that the kernel knows.

use super::object::{Objects, RebuiltObjects};
use super::thread::ContextProc;
use super::{sysv, vdso};
use crate::checkpoint::Progress;
use crate::error::{Context, Error};
use crate::restart::{Plan, Stub};
use crate::{Result, file_identity};
use rethaw_image::record::{Backing, FileIdentityV1, GuardV1, LayoutV1, MappingV1, MemoryV1, ProcessV1};
use rethaw_image::{ImageReader, PageRun, RunKind};
use rethaw_sys::proc::{self, Maps, Pid, Vma};
use rethaw_sys::remote::Remote;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Pages that go into the image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PageRange {
    /// First address in the process.
    pub start: u64,
    /// First address after.
    pub end: u64,
    /// Stream of the image.
    pub stream: u32,
    /// Where it belongs in the stream: an address, or an offset in a shared object.
    pub at: u64,
    /// The mapping may not be readable, or parts of it may not exist: read with force, page by page if needed.
    pub forced: bool,
    /// Does not come along into a copy-on-write child: has to be copied while the program stands still.
    pub in_pause: bool,
}

impl PageRange {
    /// The parts of it whose place in the stream is outside of `start..end`.
    pub fn outside(self, start: u64, end: u64) -> Vec<PageRange> {
        let last = self.at + (self.end - self.start);
        let part = |from: u64, to: u64| {
            let (first, after) = (self.start + (from - self.at), self.start + (to - self.at));
            PageRange {
                start: first,
                end: after,
                at: from,
                ..self.clone()
            }
        };
        let before = (self.at < start).then(|| part(self.at, last.min(start)));
        let behind = (last > end).then(|| part(self.at.max(end), last));
        before.into_iter().chain(behind).collect()
    }
}

/// VmFlags that can be set again and are (Documentation/filesystems/proc.rst).
const KEPT_FLAGS: [&[u8; 2]; 12] = [
    b"gd", b"lo", b"lf", b"nr", b"ht", b"hg", b"nh", b"dc", b"wf", b"dd", b"mg", b"dp",
];
/// Advice for reading ahead: also kept.
const KEPT_ADVICE: [&[u8; 2]; 2] = [b"sr", b"rr"];

/// Collects the address space of a frozen process. Gives the record and the pages to be saved.
pub(crate) fn collect(
    pid: Pid,
    stream: u32,
    maps: &Maps,
    objects: &mut Objects,
) -> Result<(MemoryV1, Vec<PageRange>)> {
    let mut record = MemoryV1 {
        stream,
        ..MemoryV1::default()
    };
    let mut pages = Vec::new();
    for vma in maps.vmas.iter().filter(|vma| vma.name != b"[vsyscall]") {
        let mapping = classify(pid, vma, objects)?;
        pages.extend(pages_to_save(pid, stream, vma, &mapping)?);
        record.mappings.push(mapping);
    }
    if let Some(vdso) = maps.named(b"[vdso]") {
        record.vdso = vec![0; vdso.bytes() as usize];
        rethaw_sys::memory::read(pid, vdso.start, &mut record.vdso)
            .context(|| format!("cannot read the vdso of process {pid}"))?;
    }
    record.auxv =
        fs::read(format!("/proc/{pid}/auxv")).context(|| format!("cannot read /proc/{pid}/auxv"))?;
    record.exe = Some(file_identity(&proc::exe(pid).context_proc()?));
    record.layout = Some(layout(pid)?);
    record.guards = guards(pid)?;
    Ok((record, pages))
}

/// Guard regions (MADV_GUARD_INSTALL, Linux 6.13), which only the page map shows.
fn guards(pid: Pid) -> Result<Vec<GuardV1>> {
    let all = proc::Range {
        start: 0,
        end: rethaw_sys::arch::TASK_SIZE,
    };
    let guards = proc::Pagemap::open(pid)
        .and_then(|pagemap| pagemap.guards(all))
        .context_proc()?;
    Ok(guards
        .into_iter()
        .map(|guard| GuardV1 {
            start: guard.start,
            end: guard.end,
        })
        .collect())
}

/// All but the program break, which only the process itself is told.
fn layout(pid: Pid) -> Result<LayoutV1> {
    let stat = proc::Stat::read(pid).context_proc()?;
    Ok(LayoutV1 {
        start_code: stat.start_code,
        end_code: stat.end_code,
        start_data: stat.start_data,
        end_data: stat.end_data,
        start_brk: stat.start_brk,
        brk: 0,
        start_stack: stat.start_stack,
        arg_start: stat.arg_start,
        arg_end: stat.arg_end,
        env_start: stat.env_start,
        env_end: stat.env_end,
    })
}

/// mlockall(2) of future mappings cannot be asked for: a page is mapped to see whether it gets locked.
pub(crate) fn collect_lock_future(pid: Pid, record: &mut MemoryV1, remote: &mut Remote<'_>) -> Result<()> {
    if !record.mappings.iter().any(|mapping| has_flag(mapping, "lo")) {
        return Ok(());
    }
    let name = || format!("cannot map a page in process {pid}");
    let flags = (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS) as u64;
    let page = remote
        .must(libc::SYS_mmap, [0, PAGE, 0, flags, u64::MAX, 0])
        .context(name)?;
    let maps = Maps::read(pid).context_proc();
    remote
        .must(libc::SYS_munmap, [page, PAGE, 0, 0, 0, 0])
        .context(name)?;
    if let Some(vma) = maps?.at(page).filter(|vma| vma.has(b"lo")) {
        record.lock_future = libc::MCL_FUTURE as u32;
        if vma.has(b"lf") {
            record.lock_future |= libc::MCL_ONFAULT as u32;
        }
    }
    Ok(())
}

/// The other direction, once everything is mapped.
pub(crate) fn rebuild_lock_future(
    record: &MemoryV1,
    remote: &mut Remote<'_>,
    warnings: &mut Vec<String>,
) -> Result<()> {
    if record.lock_future != 0 {
        let arguments = [record.lock_future.into(), 0, 0, 0, 0, 0];
        if let Err(e) = remote
            .call(libc::SYS_mlockall, arguments)
            .context(|| "cannot lock memory".to_owned())?
        {
            warnings.push(format!(
                "future memory cannot be locked here ({e}); raise the limit (ulimit -l)"
            ));
        }
    }
    Ok(())
}

fn classify(pid: Pid, vma: &Vma, objects: &mut Objects) -> Result<MappingV1> {
    let mut mapping = MappingV1 {
        start: vma.start,
        end: vma.end,
        protection: protection(vma),
        shared: vma.shared,
        flags: kept_flags(vma),
        huge_page: if vma.has(b"ht") { vma.page_bytes } else { 0 },
        protection_key: vma.protection_key.unwrap_or(0),
        ..MappingV1::default()
    };
    let backing = match vma.name.as_slice() {
        b"[vdso]" => Backing::Vdso,
        name if name.starts_with(b"[vvar") => Backing::Vvar,
        _ if vma.has(b"io") || vma.has(b"pf") => return Err(refused(pid, vma, "a mapping of a device")),
        _ if vma.has(b"sl") => return Err(refused(pid, vma, "sealed memory (mseal)")),
        _ if vma.protection_key.unwrap_or(0) != 0 => {
            return Err(refused(pid, vma, "a memory protection key"));
        }
        _ if vma.has(b"ss") => return Err(refused(pid, vma, "a shadow stack")),
        _ if vma.has(b"um") || vma.has(b"uw") => return Err(refused(pid, vma, "a userfaultfd mapping")),
        _ if sysv::is_segment(vma) => {
            mapping.segment = vma.ino as i32;
            mapping.read_only = !vma.has(b"mw");
            mapping.offset = vma.offset;
            Backing::Segment
        }
        name if vma.ino == 0 || (!vma.shared && vma.has(b"ht")) => {
            mapping.label = String::from_utf8_lossy(name).into_owned();
            Backing::Anonymous
        }
        _ => classify_file(pid, vma, &mut mapping, objects)?,
    };
    mapping.set_backing(backing);
    Ok(mapping)
}

fn classify_file(pid: Pid, vma: &Vma, mapping: &mut MappingV1, objects: &mut Objects) -> Result<Backing> {
    mapping.offset = vma.offset;
    let unchanged = if vma.deleted { None } else { same_file(vma) };
    if unchanged.is_none() && vma.shared && !vma.deleted {
        return Err(refused(
            pid,
            vma,
            "a shared mapping of a file whose name leads to another file by now",
        ));
    }
    Ok(match (unchanged, vma.shared) {
        (Some(identity), _) => {
            mapping.file = Some(identity);
            Backing::File
        }
        (None, true) => {
            mapping.object = objects.mapped(pid, vma);
            Backing::Object
        }
        (None, false) => {
            mapping.file = Some(FileIdentityV1 {
                path: vma.name.clone(),
                ..FileIdentityV1::default()
            });
            Backing::SavedFile
        }
    })
}

/// The file that is mapped, if its name still leads to it.
fn same_file(vma: &Vma) -> Option<FileIdentityV1> {
    let path = Path::new(std::ffi::OsStr::from_bytes(&vma.name));
    let metadata = fs::metadata(path).ok()?;
    // The device of a mapping is not that of stat(2) on btrfs and overlayfs; the inode is.
    (metadata.ino() == vma.ino).then(|| file_identity(path))
}

fn protection(vma: &Vma) -> u32 {
    let bits = [
        (vma.read, libc::PROT_READ),
        (vma.write, libc::PROT_WRITE),
        (vma.exec, libc::PROT_EXEC),
    ];
    bits.iter()
        .filter(|(set, _)| *set)
        .map(|(_, bit)| *bit as u32)
        .sum()
}

fn kept_flags(vma: &Vma) -> Vec<String> {
    let kept = KEPT_FLAGS.iter().chain(&KEPT_ADVICE);
    kept.filter(|flag| vma.has(flag))
        .map(|flag| String::from_utf8_lossy(*flag).into_owned())
        .collect()
}

fn pages_to_save(pid: Pid, stream: u32, vma: &Vma, mapping: &MappingV1) -> Result<Vec<PageRange>> {
    // The state of the vdso's random number generator (MAP_DROPPABLE, Linux 6.11): two runs from one image must not
    // get the same numbers. Found zero, as after it was dropped, it is seeded anew.
    if vma.has(b"dp") {
        return Ok(Vec::new());
    }
    let in_pause = vma.has(b"dc") || vma.has(b"wf") || vma.has(b"ht");
    let range = |start, end, forced| PageRange {
        start,
        end,
        stream,
        at: start,
        forced,
        in_pause,
    };
    Ok(match mapping.backing() {
        Backing::Anonymous | Backing::File if !vma.shared => {
            let ranges = proc::pages_to_save(pid, vma.start, vma.end, mapping.backing() == Backing::File)
                .context_proc()?;
            ranges
                .into_iter()
                .map(|r| range(r.start, r.end, !vma.read))
                .collect()
        }
        Backing::SavedFile => vec![range(vma.start, vma.end, true)],
        _ => Vec::new(),
    })
}

fn refused(pid: Pid, vma: &Vma, what: &str) -> Error {
    Error::Refused {
        what: format!("{what} ({})", String::from_utf8_lossy(&vma.name)),
        pid: pid.0,
        place: format!("address {:#x}", vma.start),
        remedy: "take the checkpoint while the program does not use it, or run the program without it"
            .to_owned(),
    }
}

/// Where the contents of mappings come from.
pub(crate) struct Sources<'a> {
    pub plan: &'a Plan,
    pub process: &'a ProcessV1,
    pub objects: &'a RebuiltObjects,
}

const PAGE: u64 = rethaw_image::PAGE as u64;

/// Rebuilds an address space in a stub that has only its foothold.
pub(crate) fn rebuild(
    stub: &mut Stub,
    record: &MemoryV1,
    reader: &ImageReader,
    sources: &Sources<'_>,
    progress: Progress<'_>,
    warnings: &mut Vec<String>,
) -> Result<()> {
    let runs = reader.runs(record.stream)?;
    vdso::rebuild(stub, sources.process, warnings)?;
    sysv::attach(stub, &record.mappings, sources.plan)?;
    for mapping in &record.mappings {
        map(stub, mapping, has_pages(mapping, runs), sources)?;
    }
    fill(stub.pid, reader, runs, &record.mappings, progress)?;
    for mapping in &record.mappings {
        finish(stub, mapping, has_pages(mapping, runs), warnings)?;
    }
    for guard in &record.guards {
        const MADV_GUARD_INSTALL: u64 = 102;
        let arguments = [guard.start, guard.end - guard.start, MADV_GUARD_INSTALL, 0, 0, 0];
        let name = || format!("cannot install a guard at {:#x}", guard.start);
        stub.remote()?.must(libc::SYS_madvise, arguments).context(name)?;
    }
    set_layout(stub, record, sources.plan, warnings)
}

/// Whether the image has pages of a mapping.
fn has_pages(mapping: &MappingV1, runs: &[PageRun]) -> bool {
    let after = runs.partition_point(|run| run.end() <= mapping.start);
    runs.get(after).is_some_and(|run| run.start < mapping.end)
}

fn mapping_name(mapping: &MappingV1) -> String {
    format!(
        "cannot map {:#x}-{:#x} {}",
        mapping.start, mapping.end, mapping.label
    )
}

fn has_flag(mapping: &MappingV1, flag: &str) -> bool {
    mapping.flags.iter().any(|f| f == flag)
}

/// Protection while pages are written to it.
fn protection_to_fill(mapping: &MappingV1, filled: bool) -> u32 {
    let more = if filled && !mapping.shared {
        (libc::PROT_READ | libc::PROT_WRITE) as u32
    } else {
        0
    };
    mapping.protection | more
}

fn map(stub: &mut Stub, mapping: &MappingV1, filled: bool, sources: &Sources<'_>) -> Result<()> {
    let anonymous = match mapping.backing() {
        Backing::Vdso | Backing::Vvar | Backing::Segment => return Ok(()),
        Backing::Anonymous | Backing::SavedFile => true,
        Backing::File | Backing::Object => false,
        Backing::Unknown => return Err(crate::restart::damaged("a mapping of unknown kind")),
    };
    let name = || mapping_name(mapping);
    let fd = if anonymous {
        None
    } else {
        Some(open_backing(stub, mapping, sources)?)
    };
    let mut flags = libc::MAP_FIXED_NOREPLACE
        | if mapping.shared {
            libc::MAP_SHARED
        } else {
            libc::MAP_PRIVATE
        };
    if anonymous {
        flags |= libc::MAP_ANONYMOUS;
    }
    if has_flag(mapping, "nr") {
        flags |= libc::MAP_NORESERVE;
    }
    if has_flag(mapping, "gd") {
        flags |= libc::MAP_GROWSDOWN;
    }
    if mapping.huge_page != 0 && anonymous {
        flags |= libc::MAP_HUGETLB | (mapping.huge_page.trailing_zeros() as i32) << libc::MAP_HUGE_SHIFT;
    }
    let (len, protection) = (mapping.end - mapping.start, protection_to_fill(mapping, filled));
    let mut remote = stub.remote()?;
    let file = fd.map_or(u64::MAX, |fd| fd);
    let arguments = [
        mapping.start,
        len,
        protection.into(),
        flags as u64,
        file,
        mapping.offset,
    ];
    let droppable = has_flag(mapping, "dp") && map_droppable(&mut remote, arguments).context(name)?;
    if !droppable {
        remote.must(libc::SYS_mmap, arguments).context(name)?;
    }
    if let Some(fd) = fd {
        remote.must(libc::SYS_close, [fd, 0, 0, 0, 0, 0]).context(name)?;
    }
    // Before the pages are written, so that they become huge at once.
    for (flag, advice) in [("hg", libc::MADV_HUGEPAGE), ("nh", libc::MADV_NOHUGEPAGE)] {
        if has_flag(mapping, flag) {
            remote
                .must(libc::SYS_madvise, [mapping.start, len, advice as u64, 0, 0, 0])
                .context(name)?;
        }
    }
    Ok(())
}

/// Maps memory that the kernel may drop (MAP_DROPPABLE, Linux 6.11). Gives whether it could.
fn map_droppable(remote: &mut Remote<'_>, arguments: [u64; 6]) -> io::Result<bool> {
    const MAP_DROPPABLE: u64 = 0x08;
    let [start, len, protection, flags, file, offset] = arguments;
    let flags = flags & !(libc::MAP_PRIVATE as u64) | MAP_DROPPABLE;
    Ok(remote
        .call(libc::SYS_mmap, [start, len, protection, flags, file, offset])?
        .is_ok())
}

/// Opens what backs a mapping, inside the stub. Gives the descriptor there.
fn open_backing(stub: &mut Stub, mapping: &MappingV1, sources: &Sources<'_>) -> Result<u64> {
    if mapping.backing() == Backing::Object {
        return sources.objects.open_in(stub, mapping.object);
    }
    let path = sources
        .plan
        .places
        .path(&mapping.file.as_ref().map(|f| f.path.clone()).unwrap_or_default());
    let name = || format!("cannot open {}", path.display());
    let writable = mapping.shared && mapping.protection & libc::PROT_WRITE as u32 != 0;
    // A shared mapping that is not writable now may have been made so that it can become it (mprotect).
    let modes = if mapping.shared {
        vec![libc::O_RDWR, libc::O_RDONLY]
    } else {
        vec![libc::O_RDONLY]
    };
    let mut outcome = Err(io::ErrorKind::NotFound.into());
    for mode in modes
        .into_iter()
        .filter(|mode| !writable || *mode == libc::O_RDWR)
    {
        outcome = stub.open(&path, mode);
        if outcome.is_ok() {
            break;
        }
    }
    outcome.context(name)
}

/// Reads, verifies and writes the pages, on as many threads as there are processors.
fn fill(
    pid: Pid,
    reader: &ImageReader,
    runs: &[PageRun],
    mappings: &[MappingV1],
    progress: Progress<'_>,
) -> Result<()> {
    const MOST: usize = 4;
    let total = runs.iter().map(PageRun::bytes).sum();
    let (next, done) = (AtomicUsize::new(0), AtomicU64::new(0));
    let work = || -> Result<()> {
        let mut buffer = Vec::new();
        while let Some(run) = runs.get(next.fetch_add(1, Ordering::Relaxed)) {
            fill_run(pid, reader, run, mappings, &mut buffer)?;
            progress(
                done.fetch_add(run.bytes(), Ordering::Relaxed) + run.bytes(),
                total,
            );
        }
        Ok(())
    };
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get().min(MOST));
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        workers
            .into_iter()
            .try_for_each(|worker| worker.join().unwrap_or(Err(Error::Ended)))
    })
}

fn fill_run(
    pid: Pid,
    reader: &ImageReader,
    run: &PageRun,
    mappings: &[MappingV1],
    buffer: &mut Vec<u8>,
) -> Result<()> {
    let name = || format!("cannot fill memory at {:#x}", run.start);
    match run.kind {
        RunKind::Data => {
            reader.read_run(run, buffer)?;
            rethaw_sys::memory::write(pid, run.start, buffer).context(name)
        }
        RunKind::Zero => fill_zero(pid, run, mappings).context(name),
    }
}

/// Fresh anonymous memory is zero already; only over a file's contents zeros have to be written.
fn fill_zero(pid: Pid, run: &PageRun, mappings: &[MappingV1]) -> io::Result<()> {
    let over_file = mappings.iter().filter(|m| m.backing() == Backing::File);
    for mapping in over_file.filter(|m| m.start < run.end() && run.start < m.end) {
        let (start, end) = (mapping.start.max(run.start), mapping.end.min(run.end()));
        let zeros = vec![0; PAGE as usize];
        for address in (start..end).step_by(PAGE as usize) {
            rethaw_sys::memory::write(pid, address, &zeros)?;
        }
    }
    Ok(())
}

/// Final protection, name, advice, locks.
fn finish(stub: &mut Stub, mapping: &MappingV1, filled: bool, warnings: &mut Vec<String>) -> Result<()> {
    if matches!(mapping.backing(), Backing::Vdso | Backing::Vvar) {
        return Ok(());
    }
    let name = || mapping_name(mapping);
    let (start, len) = (mapping.start, mapping.end - mapping.start);
    let mut remote = stub.remote()?;
    if protection_to_fill(mapping, filled) != mapping.protection {
        remote
            .must(
                libc::SYS_mprotect,
                [start, len, mapping.protection.into(), 0, 0, 0],
            )
            .context(name)?;
    }
    if let Some(label) = mapping
        .label
        .strip_prefix("[anon:")
        .and_then(|l| l.strip_suffix(']'))
    {
        const PR_SET_VMA: u64 = 0x5356_4d41;
        let text = remote.put(0, format!("{label}\0").as_bytes()).context(name)?;
        // Not every kernel has names (CONFIG_ANON_VMA_NAME); nothing depends on them.
        let _ = remote
            .call(libc::SYS_prctl, [PR_SET_VMA, 0, start, len, text, 0])
            .context(name)?;
    }
    for (flag, advice) in ADVICE {
        if has_flag(mapping, flag)
            && let Err(e) = remote
                .call(libc::SYS_madvise, [start, len, advice as u64, 0, 0, 0])
                .context(name)?
        {
            warnings.push(format!("madvise {flag} cannot be set again on {start:#x} ({e})"));
        }
    }
    if has_flag(mapping, "lo") {
        const MLOCK_ONFAULT: u64 = 1;
        let flags = if has_flag(mapping, "lf") { MLOCK_ONFAULT } else { 0 };
        if let Err(e) = remote
            .call(libc::SYS_mlock2, [start, len, flags, 0, 0, 0])
            .context(name)?
        {
            warnings.push(format!(
                "locked memory cannot be locked here ({e}); raise the limit (ulimit -l)"
            ));
        }
    }
    Ok(())
}

/// Advice that is visible in VmFlags.
const ADVICE: [(&str, i32); 6] = [
    ("dc", libc::MADV_DONTFORK),
    ("wf", libc::MADV_WIPEONFORK),
    ("dd", libc::MADV_DONTDUMP),
    ("mg", libc::MADV_MERGEABLE),
    ("sr", libc::MADV_SEQUENTIAL),
    ("rr", libc::MADV_RANDOM),
];

/// Boundaries, auxiliary vector and executable (PR_SET_MM_MAP, Linux 3.18; the executable needs
/// CAP_CHECKPOINT_RESTORE in the process's user namespace).
fn set_layout(stub: &mut Stub, record: &MemoryV1, plan: &Plan, warnings: &mut Vec<String>) -> Result<()> {
    const PR_SET_MM: u64 = 35;
    const PR_SET_MM_MAP: u64 = 14;
    let name = || "cannot set the boundaries of an address space".to_owned();
    let Some(layout) = &record.layout else {
        return Ok(());
    };
    let exe = plan.places.path(
        &record
            .exe
            .as_ref()
            .map(|exe| exe.path.clone())
            .unwrap_or_default(),
    );
    let exe_fd = match stub.open(&exe, libc::O_RDONLY) {
        Ok(fd) => fd as u32,
        Err(e) => {
            warnings.push(format!(
                "/proc/self/exe shows rethaw instead of {} ({e})",
                exe.display()
            ));
            u32::MAX
        }
    };
    let mut remote = stub.remote()?;
    let auxv = remote.put(1024, &record.auxv).context(name)?;
    let mut map = Vec::new();
    for word in [
        layout.start_code,
        layout.end_code,
        layout.start_data,
        layout.end_data,
        layout.start_brk,
        layout.brk,
        layout.start_stack,
        layout.arg_start,
        layout.arg_end,
        layout.env_start,
        layout.env_end,
        auxv,
    ] {
        map.extend_from_slice(&word.to_ne_bytes());
    }
    for word in [record.auxv.len() as u32, exe_fd] {
        map.extend_from_slice(&word.to_ne_bytes());
    }
    let address = remote.put(0, &map).context(name)?;
    remote
        .must(
            libc::SYS_prctl,
            [PR_SET_MM, PR_SET_MM_MAP, address, map.len() as u64, 0, 0],
        )
        .context(name)?;
    if exe_fd != u32::MAX {
        remote
            .must(libc::SYS_close, [exe_fd.into(), 0, 0, 0, 0, 0])
            .context(name)?;
    }
    Ok(())
}
