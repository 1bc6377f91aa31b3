//! Address spaces: mappings, their pages, and the boundaries that the kernel knows.

use super::object::Objects;
use super::thread::ContextProc;
use crate::error::{Context, Error};
use crate::{Result, file_identity};
use rethaw_image::record::{Backing, FileIdentityV1, LayoutV1, MappingV1, MemoryV1};
use rethaw_sys::proc::{self, Maps, Pid, Vma};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

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

/// VmFlags that can be set again and are (Documentation/filesystems/proc.rst).
const KEPT_FLAGS: [&[u8; 2]; 11] = [b"gd", b"lo", b"lf", b"nr", b"ht", b"hg", b"nh", b"dc", b"wf", b"dd", b"mg"];
/// Advice for reading ahead: also kept.
const KEPT_ADVICE: [&[u8; 2]; 2] = [b"sr", b"rr"];

/// Collects the address space of a frozen process. Gives the record and the pages to be saved.
pub(crate) fn collect(pid: Pid, stream: u32, maps: &Maps, objects: &mut Objects) -> Result<(MemoryV1, Vec<PageRange>)> {
    let mut record = MemoryV1 { stream, ..MemoryV1::default() };
    let mut pages = Vec::new();
    for vma in maps.vmas.iter().filter(|vma| vma.name != b"[vsyscall]") {
        let mapping = classify(pid, vma, objects)?;
        pages.extend(pages_to_save(pid, stream, vma, &mapping)?);
        record.mappings.push(mapping);
    }
    if let Some(vdso) = maps.named(b"[vdso]") {
        record.vdso = vec![0; vdso.bytes() as usize];
        rethaw_sys::memory::read(pid, vdso.start, &mut record.vdso).context(|| format!("cannot read the vdso of process {pid}"))?;
    }
    record.auxv = fs::read(format!("/proc/{pid}/auxv")).context(|| format!("cannot read /proc/{pid}/auxv"))?;
    record.exe = Some(file_identity(&proc::exe(pid).context_proc()?));
    record.layout = Some(layout(pid)?);
    Ok((record, pages))
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
        _ if vma.has(b"ss") => return Err(refused(pid, vma, "a shadow stack")),
        _ if vma.has(b"um") || vma.has(b"uw") => return Err(refused(pid, vma, "a userfaultfd mapping")),
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
    if vma.name.starts_with(b"/SYSV") {
        return Err(refused(pid, vma, "System V shared memory"));
    }
    mapping.offset = vma.offset;
    let unchanged = if vma.deleted { None } else { same_file(vma) };
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
            mapping.file = Some(FileIdentityV1 { path: vma.name.clone(), ..FileIdentityV1::default() });
            Backing::SavedFile
        }
    })
}

/// The file that is mapped, if its name still leads to it.
fn same_file(vma: &Vma) -> Option<FileIdentityV1> {
    let path = Path::new(std::ffi::OsStr::new(std::str::from_utf8(&vma.name).ok()?));
    let metadata = fs::metadata(path).ok()?;
    // The device of a mapping is not that of stat(2) on btrfs and overlayfs; the inode is.
    (metadata.ino() == vma.ino).then(|| file_identity(path))
}

fn protection(vma: &Vma) -> u32 {
    let bits = [(vma.read, libc::PROT_READ), (vma.write, libc::PROT_WRITE), (vma.exec, libc::PROT_EXEC)];
    bits.iter().filter(|(set, _)| *set).map(|(_, bit)| *bit as u32).sum()
}

fn kept_flags(vma: &Vma) -> Vec<String> {
    let kept = KEPT_FLAGS.iter().chain(&KEPT_ADVICE);
    kept.filter(|flag| vma.has(flag)).map(|flag| String::from_utf8_lossy(*flag).into_owned()).collect()
}

fn pages_to_save(pid: Pid, stream: u32, vma: &Vma, mapping: &MappingV1) -> Result<Vec<PageRange>> {
    let in_pause = vma.has(b"dc") || vma.has(b"wf") || vma.has(b"ht");
    let range = |start, end, forced| PageRange { start, end, stream, at: start, forced, in_pause };
    Ok(match mapping.backing() {
        Backing::Anonymous | Backing::File if !vma.shared => {
            let ranges = proc::pages_to_save(pid, vma.start, vma.end, mapping.backing() == Backing::File).context_proc()?;
            ranges.into_iter().map(|r| range(r.start, r.end, !vma.read)).collect()
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
        remedy: "take the checkpoint while the program does not use it, or run the program without it".to_owned(),
    }
}
