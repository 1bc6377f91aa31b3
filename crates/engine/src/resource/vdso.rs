//! The vdso: the kernel's code that programs call, which has to be where the program knows it.

use crate::Result;
use crate::error::{Context, Error};
use crate::init::FOOTHOLD_SIZE;
use crate::restart::Stub;
use rethaw_image::record::{Backing, MappingV1, MemoryV1, ProcessV1};
use rethaw_sys::arch::Registers;
use rethaw_sys::proc::{Maps, Pid, Vma};
use rethaw_sys::remote::GADGET_SIZE;
use rethaw_sys::vdso;

/// Room for a vdso with its data pages behind the foothold.
pub(crate) const RESERVE: u64 = 1 << 20;

/// Maps the vdso of this kernel where the program had its own. If it is another one, the old one stays, as
/// ordinary memory, and its entry points jump to the new one, which is mapped elsewhere.
pub(crate) fn rebuild(stub: &mut Stub, process: &ProcessV1, warnings: &mut Vec<String>) -> Result<()> {
    let Some(record) = &process.memory else {
        return Ok(());
    };
    let special: Vec<&MappingV1> = record
        .mappings
        .iter()
        .filter(|m| matches!(m.backing(), Backing::Vdso | Backing::Vvar))
        .collect();
    let (Some(first), Some(last)) = (special.first(), special.last()) else {
        return Ok(());
    };
    let as_made = last.backing() == Backing::Vdso && special.windows(2).all(|two| two[0].end == two[1].start);
    if !as_made {
        return rebuild_apart(stub, process, record, &special, warnings);
    }
    let new = map_at(stub, first.start)?;
    let code = code(stub.pid, &new)?;
    if new.start == last.start && same_code(&code, &record.vdso) {
        return Ok(());
    }
    refuse_if_inside(process, last)?;
    if new.start == last.start && vdso::interchangeable(&record.vdso, &code) {
        return Ok(());
    }
    unmap_special(stub, &[])?;
    let elsewhere = map_at(stub, stub.start() + FOOTHOLD_SIZE + PAGE)?;
    bridge(stub, record, last, &elsewhere, warnings)
}

/// The program has moved (mremap(2)) or unmapped some of the parts: what it still had goes to where that was.
fn rebuild_apart(
    stub: &mut Stub,
    process: &ProcessV1,
    record: &MemoryV1,
    special: &[&MappingV1],
    warnings: &mut Vec<String>,
) -> Result<()> {
    let new = map_at(stub, stub.start() + FOOTHOLD_SIZE + PAGE)?;
    if let Some(old) = special.iter().find(|m| m.backing() == Backing::Vdso) {
        let code = code(stub.pid, &new)?;
        if !same_code(&code, &record.vdso) {
            refuse_if_inside(process, old)?;
            if !vdso::interchangeable(&record.vdso, &code) {
                return bridge(stub, record, old, &new, warnings);
            }
        }
    }
    let parts = maps(stub.pid)?;
    for old in special {
        let part = parts
            .named(old.label.as_bytes())
            .filter(|part| part.bytes() == old.end - old.start);
        let part = part.ok_or_else(|| Error::CannotRestart {
            what: format!(
                "this kernel has no {} like the one that the program has moved",
                old.label
            ),
            remedy: "restart on a node with the same kernel".to_owned(),
        })?;
        let how = (libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED) as u64;
        let arguments = [part.start, part.bytes(), part.bytes(), how, old.start, 0];
        stub.remote()?
            .must(libc::SYS_mremap, arguments)
            .context(|| format!("cannot move {}", old.label))?;
    }
    unmap_special(stub, special)
}

/// Whether two vdsos are the same but for the last bytes, which a foothold may have used.
fn same_code(a: &[u8], b: &[u8]) -> bool {
    let used = |code: &[u8]| code.len().saturating_sub(GADGET_SIZE as usize);
    a.len() == b.len() && a[..used(a)] == b[..used(b)]
}

const PAGE: u64 = rethaw_image::PAGE as u64;

fn code(pid: Pid, vma: &Vma) -> Result<Vec<u8>> {
    let mut code = vec![0; vma.bytes() as usize];
    rethaw_sys::memory::read(pid, vma.start, &mut code).context(|| "cannot read the vdso".to_owned())?;
    Ok(code)
}

/// Maps the vdso with its data pages from `address` on (ARCH_MAP_VDSO_64, Linux 4.9, needs
/// CONFIG_CHECKPOINT_RESTORE). Gives where its code is.
fn map_at(stub: &mut Stub, address: u64) -> Result<Vma> {
    const ARCH_MAP_VDSO_64: u64 = 0x2003;
    let name = || "cannot map the vdso".to_owned();
    stub.remote()?
        .must(libc::SYS_arch_prctl, [ARCH_MAP_VDSO_64, address, 0, 0, 0, 0])
        .context(name)?;
    maps(stub.pid)?
        .named(b"[vdso]")
        .cloned()
        .ok_or_else(|| Error::CannotRestart {
            what: "this kernel has no vdso".to_owned(),
            remedy: "start it without the option vdso=0".to_owned(),
        })
}

fn maps(pid: Pid) -> Result<Maps> {
    Maps::read_brief(pid)
        .map_err(std::io::Error::other)
        .context(|| "cannot read a memory map".to_owned())
}

/// Unmaps what the kernel has mapped with the vdso, but for `kept`. It maps only one vdso at a time.
fn unmap_special(stub: &mut Stub, kept: &[&MappingV1]) -> Result<()> {
    let special: Vec<Vma> = maps(stub.pid)?
        .vmas
        .into_iter()
        .filter(|v| v.name.starts_with(b"[vdso]") || v.name.starts_with(b"[vvar"))
        .filter(|v| !kept.iter().any(|old| old.start == v.start))
        .collect();
    let mut remote = stub.remote()?;
    for vma in special {
        let arguments = [vma.start, vma.bytes(), 0, 0, 0, 0];
        remote
            .must(libc::SYS_munmap, arguments)
            .context(|| "cannot move the vdso".to_owned())?;
    }
    Ok(())
}

/// The program's old vdso as ordinary memory with jumps to this kernel's.
fn bridge(
    stub: &mut Stub,
    record: &MemoryV1,
    old: &MappingV1,
    new: &Vma,
    warnings: &mut Vec<String>,
) -> Result<()> {
    let name = || "cannot keep the program's old vdso".to_owned();
    let new_code = code(stub.pid, new)?;
    let redirection = vdso::redirect(&record.vdso, old.start, &new_code, new.start)
        .map_err(std::io::Error::other)
        .context(|| "cannot redirect the program's old vdso to this kernel's".to_owned())?;
    if !redirection.left.is_empty() {
        warnings.push(format!(
            "functions of the old vdso without a counterpart here: {}",
            redirection.left.join(", ")
        ));
    }
    let (readable, flags) = (
        libc::PROT_READ as u64,
        libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED_NOREPLACE,
    );
    let protection = readable | libc::PROT_EXEC as u64;
    let arguments = [
        old.start,
        old.end - old.start,
        protection,
        flags as u64,
        u64::MAX,
        0,
    ];
    stub.remote()?.must(libc::SYS_mmap, arguments).context(name)?;
    let memory = stub.foothold.memory();
    memory.write(old.start, &record.vdso).context(name)?;
    redirection
        .patches
        .iter()
        .try_for_each(|patch| memory.write(patch.address, &patch.bytes))
        .context(name)
}

/// A thread that was stopped inside of the old vdso would run on in code that is being replaced.
fn refuse_if_inside(process: &ProcessV1, old: &MappingV1) -> Result<()> {
    let registers = process
        .threads
        .iter()
        .filter_map(|thread| Registers::from_bytes(&thread.registers));
    if registers
        .map(|r| r.ip())
        .any(|ip| (old.start..old.end).contains(&ip))
    {
        return Err(Error::CannotRestart {
            what: "this kernel has another vdso, and a thread was in the middle of the old one's code"
                .to_owned(),
            remedy: "take the checkpoint before this one, or restart on a node with the same kernel"
                .to_owned(),
        });
    }
    Ok(())
}
