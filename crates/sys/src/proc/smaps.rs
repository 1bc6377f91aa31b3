//! `/proc/PID/maps` and `/proc/PID/smaps`: what is mapped where, and how.

use super::parse::{Parsed, decimal, device, hex, key_value, lines, unexpected, words};
use super::{Pid, Result};

/// A mapping, as proc_pid_maps(5) and proc_pid_smaps(5) describe it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Vma {
    /// First address.
    pub start: u64,
    /// First address after it.
    pub end: u64,
    /// May be read (PROT_READ).
    pub read: bool,
    /// May be written (PROT_WRITE).
    pub write: bool,
    /// May be executed (PROT_EXEC).
    pub exec: bool,
    /// MAP_SHARED; else MAP_PRIVATE. A shared mapping that never may be written shows as shared, too.
    pub shared: bool,
    /// Where in the file it begins, in bytes.
    pub offset: u64,
    /// The file's device as makedev(3) makes it. Btrfs and overlayfs show another one here than in stat(2).
    pub dev: u64,
    /// The file's inode; 0 means that no file is mapped.
    pub ino: u64,
    /// Path of the file, or a name in brackets, such as `[heap]` or `[anon:NAME]`, or nothing.
    pub name: Vec<u8>,
    /// The path ended in ` (deleted)`, which is cut off from `name`. A file may truly be called so: only a
    /// comparison of its device and inode tells.
    pub deleted: bool,
    /// The two-letter marks of the line VmFlags, see [`Vma::has`]. Empty if read from `maps`.
    pub flags: Vec<[u8; 2]>,
    /// Memory protection key, see pkeys(7).
    pub protection_key: Option<u32>,
    /// Page size in bytes: 4096 but for MAP_HUGETLB and hugetlbfs (transparent huge pages show as 4096). 0 if
    /// read from `maps`.
    pub page_bytes: u64,
    /// Bytes in swap space; for shared memory of the whole range, whoever has touched it. 0 if read from `maps`.
    pub swap_bytes: u64,
}

impl Vma {
    /// Whether the kernel shows the mark, such as `gd` (grows down) or `lo` (locked).
    pub fn has(&self, flag: &[u8; 2]) -> bool {
        self.flags.contains(flag)
    }

    /// Whether a file is behind it (memfd, shared anonymous and hugetlb memory count: the kernel makes a file).
    pub fn is_file(&self) -> bool {
        self.ino != 0
    }

    /// Length in bytes.
    pub fn bytes(&self) -> u64 {
        self.end.saturating_sub(self.start)
    }
}

/// All mappings of a process in ascending order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Maps {
    /// The mappings.
    pub vmas: Vec<Vma>,
}

impl Maps {
    /// Parses `/proc/PID/smaps`, or `/proc/PID/maps`, which has the same first line per mapping.
    pub fn parse(text: &[u8]) -> Parsed<Maps> {
        let mut vmas: Vec<Vma> = Vec::new();
        for line in lines(text) {
            if is_header(line) {
                vmas.push(header(line)?);
            } else {
                let vma = vmas.last_mut().ok_or_else(|| unexpected("mapping", line))?;
                detail(vma, line)?;
            }
        }
        Ok(Maps { vmas })
    }

    /// Reads `/proc/PID/smaps`. The kernel walks all page tables for it: 12 to 20 ms per GiB in pages of 4 KiB, 0.8 ms
    /// in huge pages (measured on Linux 6.18). A running process may change its mappings meanwhile.
    ///
    /// A process that has exited, or a kernel thread, has no mappings.
    pub fn read(pid: Pid) -> Result<Maps> {
        super::parsed(pid, "smaps", Maps::parse)
    }

    /// Reads `/proc/PID/maps`: quick at any size (0.2 ms), but without flags, protection keys and page sizes.
    pub fn read_brief(pid: Pid) -> Result<Maps> {
        super::parsed(pid, "maps", Maps::parse)
    }

    /// The mapping that holds this address.
    pub fn at(&self, address: u64) -> Option<&Vma> {
        let after = self.vmas.partition_point(|vma| vma.start <= address);
        let vma = self.vmas.get(after.checked_sub(1)?)?;
        (address < vma.end).then_some(vma)
    }

    /// The first mapping of that name, such as `[vdso]`.
    pub fn named(&self, name: &[u8]) -> Option<&Vma> {
        self.vmas.iter().find(|vma| vma.name == name)
    }
}

/// Details begin with a capital letter and a colon after one word; a mapping begins with a hexadecimal number.
fn is_header(line: &[u8]) -> bool {
    words(line)
        .next()
        .is_some_and(|word| word.contains(&b'-') && !word.ends_with(b":"))
}

/// `START-END rwxp OFFSET MAJOR:MINOR INODE      NAME`. The name is padded to column 73 with blanks and may hold
/// blanks itself; one space precedes it at least.
fn header(line: &[u8]) -> Parsed<Vma> {
    let missing = || unexpected("mapping", line);
    let mut fields = line.splitn(6, |&byte| byte == b' ');
    let mut field = || fields.next().ok_or_else(missing);
    let (range, permissions, offset, dev, ino) = (field()?, field()?, field()?, field()?, field()?);
    let dash = range.iter().position(|&byte| byte == b'-').ok_or_else(missing)?;
    let &[read, write, exec, shared, ..] = permissions else {
        return Err(missing());
    };
    let mut vma = Vma {
        start: hex("start address", &range[..dash])?,
        end: hex("end address", &range[dash + 1..])?,
        read: read == b'r',
        write: write == b'w',
        exec: exec == b'x',
        shared: shared == b's',
        offset: hex("file offset", offset)?,
        dev: device("device", dev)?,
        ino: decimal("inode", ino)?,
        ..Vma::default()
    };
    let padded = fields.next().unwrap_or_default();
    let blanks = padded.iter().take_while(|&&byte| byte == b' ').count();
    set_name(&mut vma, &padded[blanks..]);
    if vma.start > vma.end {
        Err(missing())
    } else {
        Ok(vma)
    }
}

fn set_name(vma: &mut Vma, shown: &[u8]) {
    let mut name = shown;
    if vma.ino != 0
        && let Some(path) = shown.strip_suffix(b" (deleted)")
    {
        (name, vma.deleted) = (path, true);
    }
    vma.name = unescape(name);
}

/// The kernel writes a line feed in a path as `\012` and, unfortunately, a backslash as itself (`show_vma_header_prefix`
/// and `seq_path` with "\n" in fs/proc/task_mmu.c): a path with the five characters `\012` cannot be told apart.
fn unescape(shown: &[u8]) -> Vec<u8> {
    let mut name = Vec::with_capacity(shown.len());
    let mut rest = shown;
    while let Some((&first, tail)) = rest.split_first() {
        match rest.strip_prefix(b"\\012") {
            Some(after) => {
                name.push(b'\n');
                rest = after;
            }
            None => {
                name.push(first);
                rest = tail;
            }
        }
    }
    name
}

fn detail(vma: &mut Vma, line: &[u8]) -> Parsed<()> {
    let (key, value) = key_value(line).ok_or_else(|| unexpected("detail", line))?;
    match key {
        b"VmFlags" => vma.flags = words(value).filter_map(|word| word.try_into().ok()).collect(),
        b"ProtectionKey" => vma.protection_key = Some(decimal("protection key", value)?),
        b"KernelPageSize" => vma.page_bytes = kilobytes("page size", value)?,
        b"Swap" => vma.swap_bytes = kilobytes("swapped memory", value)?,
        _ => {}
    }
    Ok(())
}

/// `NUMBER kB`, in bytes.
fn kilobytes(what: &'static str, value: &[u8]) -> Parsed<u64> {
    let number: u64 = decimal(what, value.strip_suffix(b"kB").unwrap_or(value))?;
    number.checked_mul(1024).ok_or_else(|| unexpected(what, value))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TEXT: &[u8] = b"\
5634-5636 r-xp 00001000 fe:00 247282                     /usr/bin/my prog (x)
Size:                  8 kB
KernelPageSize:        4 kB
Swap:                  8 kB
VmFlags: rd ex mr mw me sd 
ProtectionKey:         3
7000-9000 rw-s 00000000 00:01 5                          /memfd:a\\012b (deleted)
KernelPageSize:     2048 kB
a000-b000 ---p 00000000 00:00 0 
c000-d000 rw-p 00000000 00:00 0                          [anon:x (deleted)]
";

    #[test]
    fn lines_become_mappings() {
        let maps = Maps::parse(TEXT).unwrap();
        let [program, memfd, guard, named] = &maps.vmas[..] else {
            panic!("{maps:?}")
        };
        assert_eq!(program.name, b"/usr/bin/my prog (x)");
        assert_eq!((program.swap_bytes, memfd.swap_bytes), (8192, 0));
        assert!(program.read && !program.write && program.exec && !program.shared);
        assert_eq!(
            (program.offset, program.dev, program.ino),
            (0x1000, 0xfe00, 247_282)
        );
        assert!(program.has(b"ex") && program.has(b"sd") && !program.has(b"wr"));
        assert_eq!((program.protection_key, program.page_bytes), (Some(3), 4096));
        assert_eq!(
            (memfd.name.as_slice(), memfd.deleted),
            (&b"/memfd:a\nb"[..], true)
        );
        assert_eq!(memfd.page_bytes, 2 << 20);
        assert!(memfd.shared && !guard.read && guard.name.is_empty());
        assert_eq!(
            (named.name.as_slice(), named.deleted),
            (&b"[anon:x (deleted)]"[..], false)
        );
        assert_eq!(maps.at(0x8fff), Some(memfd));
        assert_eq!((maps.at(0x9000), maps.at(0)), (None, None));
    }

    #[test]
    fn own_mappings_agree_in_both_files() {
        let full = Maps::read(Pid::own()).unwrap();
        assert!(
            full.named(b"[stack]")
                .is_some_and(|vma| vma.has(b"gd") && vma.page_bytes == 4096)
        );
        let local = 0u8;
        assert!(full.at(&raw const local as u64).is_some_and(|vma| vma.write));
        let brief = Maps::read_brief(Pid::own()).unwrap();
        let vdso = brief.named(b"[vdso]").unwrap();
        assert_eq!(full.named(b"[vdso]").unwrap().start, vdso.start);
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes: Vec<u8>) {
            let _ = Maps::parse(&bytes);
        }

        #[test]
        fn no_damage_panics(at in 0..TEXT.len(), byte: u8, cut in 0..TEXT.len()) {
            let mut text = TEXT.to_vec();
            text[at] = byte;
            let _ = Maps::parse(&text);
            let _ = Maps::parse(&text[..cut]);
        }
    }
}
