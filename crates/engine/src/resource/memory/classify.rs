//! What a mapping is: from a line of smaps to its record.

use crate::error::{Context, Error};
use crate::resource::object::Objects;
use crate::resource::thread::ContextProc;
use crate::resource::{aio, device, sysv, uring};
use crate::{Result, file_identity};
use rethaw_image::record::{Backing, MappingV1};
use rethaw_sys::proc::{self, Pid, Vma};
use rustix::fs::{Mode, OFlags};
use std::fs::{self, File};
use std::path::Path;

/// VmFlags that can be set again and are (Documentation/filesystems/proc.rst).
const KEPT_FLAGS: [&[u8; 2]; 13] = [
    b"gd", b"lo", b"lf", b"nr", b"ht", b"hg", b"nh", b"dc", b"wf", b"dd", b"mg", b"dp", b"sl",
];
/// Advice for reading ahead: also kept.
const KEPT_ADVICE: [&[u8; 2]; 2] = [b"sr", b"rr"];

pub(super) fn classify(pid: Pid, vma: &Vma, objects: &mut Objects) -> Result<MappingV1> {
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
    if vma.ino == 0 {
        mapping.label = String::from_utf8_lossy(&vma.name).into_owned();
    }
    if let Some(device) = device::known(&vma.name) {
        return Err(refused_until(pid, vma, device.what, device.remedy));
    }
    let backing = match vma.name.as_slice() {
        b"[vdso]" => Backing::Vdso,
        name if name.starts_with(b"[vvar") => Backing::Vvar,
        _ if vma.has(b"io") || vma.has(b"pf") => return Err(refused(pid, vma, "a mapping of a device")),
        _ if vma.has(b"ss") => return Err(refused(pid, vma, "a shadow stack")),
        _ if vma.has(b"um") || vma.has(b"uw") => return Err(refused(pid, vma, "a userfaultfd mapping")),
        _ if sysv::is_segment(vma) => {
            mapping.segment = vma.ino as i32;
            mapping.read_only = !vma.has(b"mw");
            mapping.offset = vma.offset;
            Backing::Segment
        }
        _ if aio::is_ring(vma) => {
            mapping.ring = aio::collect(pid, vma)?;
            Backing::AioRing
        }
        _ if uring::is_area(vma) => {
            mapping.io_ring = vma.ino;
            mapping.offset = vma.offset;
            Backing::IoRing
        }
        _ if vma.ino == 0 || is_reserved_anonymous(vma) => Backing::Anonymous,
        _ => classify_file(pid, vma, &mut mapping, objects)?,
    };
    mapping.set_backing(backing);
    Ok(mapping)
}

/// MAP_HUGETLB without a file; behind it the kernel has one of its own.
fn is_reserved_anonymous(vma: &Vma) -> bool {
    !vma.shared && vma.has(b"ht") && vma.name.starts_with(b"/anon_hugepage")
}

fn classify_file(pid: Pid, vma: &Vma, mapping: &mut MappingV1, objects: &mut Objects) -> Result<Backing> {
    if vma.name == b"/secretmem" {
        return Err(refused(pid, vma, "secret memory (memfd_secret)"));
    }
    mapping.offset = vma.offset;
    mapping.read_only = vma.shared && !vma.has(b"mw");
    let Some(path) = objects.names.find_mapped(vma) else {
        if vma.shared && !vma.deleted {
            let what = "a shared mapping of a file whose name leads to another file by now";
            return Err(refused(pid, vma, what));
        }
        let written = match vma.shared {
            true => Vec::new(),
            false => proc::pages_to_save(pid, vma.start, vma.end, true).context_proc()?,
        };
        mapping.object = objects.mapped(pid, vma, &written)?;
        return Ok(Backing::Object);
    };
    mapping.file = Some(file_identity(&path));
    mapping.object = collect_contents(pid, vma, &path, objects)?;
    Ok(Backing::File)
}

/// A file with a name whose contents go into the image. Gives the number of the object, 0 when there is none.
fn collect_contents(pid: Pid, vma: &Vma, path: &Path, objects: &mut Objects) -> Result<u32> {
    let writable = vma.shared && vma.has(b"mw");
    let flags = if writable { libc::O_RDWR } else { libc::O_RDONLY } as u32;
    let Ok(metadata) = fs::metadata(path) else {
        return Ok(0);
    };
    let travels = objects.names.travels(path, !vma.shared);
    let spare = objects.knows(&metadata) || vma.shared && objects.takes_spare(path, &metadata, flags);
    if !metadata.is_file() || !(travels || spare) {
        return Ok(0);
    }
    // Without waiting for somebody's lease on it.
    let without_waiting = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let Ok(file) = rustix::fs::open(path, without_waiting, Mode::empty()) else {
        return Ok(0);
    };
    let file = File::from(file);
    let number = objects
        .named(path, file, flags, !travels)
        .context(|| format!("cannot look at {}", path.display()))?;
    objects.mapped(pid, vma, &[])?;
    Ok(number)
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

fn refused(pid: Pid, vma: &Vma, what: &str) -> Error {
    refused_until(
        pid,
        vma,
        what,
        "take the checkpoint while the program does not use it, or run the program without it",
    )
}

fn refused_until(pid: Pid, vma: &Vma, what: &str, remedy: &str) -> Error {
    Error::Refused {
        what: format!("{what} ({})", String::from_utf8_lossy(&vma.name)),
        pid: pid.0,
        place: format!("address {:#x}", vma.start),
        remedy: remedy.to_owned(),
    }
}
