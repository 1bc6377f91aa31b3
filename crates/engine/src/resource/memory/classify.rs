//! What a mapping is: from a line of smaps to its record.

use crate::error::Error;
use crate::resource::object::Objects;
use crate::resource::{aio, sysv};
use crate::{Result, file_identity};
use rethaw_image::record::{Backing, FileIdentityV1, MappingV1};
use rethaw_sys::proc::{Pid, Vma};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
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
        _ if vma.ino == 0 || (!vma.shared && vma.has(b"ht")) => Backing::Anonymous,
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

fn refused(pid: Pid, vma: &Vma, what: &str) -> Error {
    Error::Refused {
        what: format!("{what} ({})", String::from_utf8_lossy(&vma.name)),
        pid: pid.0,
        place: format!("address {:#x}", vma.start),
        remedy: "take the checkpoint while the program does not use it, or run the program without it"
            .to_owned(),
    }
}
