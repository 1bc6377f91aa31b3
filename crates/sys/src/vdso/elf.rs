//! The exported functions of an ELF image, read without trust: no byte is looked at before its place is checked.

/// Why bytes are no vdso.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ElfError {
    /// Not ELF, or not 64-bit little-endian.
    #[error("it is not a 64-bit little-endian ELF image")]
    Format,
    /// For another processor architecture.
    #[error("it is for machine {0}, not x86-64")]
    Machine(u16),
    /// A table that is missing, or lies outside of the image.
    #[error("its {0} is missing or out of bounds")]
    Table(&'static str),
}

/// An exported function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Function {
    /// Its name, such as `__vdso_clock_gettime`.
    pub name: String,
    /// Where it begins, in bytes from the start of the image.
    pub offset: u64,
    /// Its length in bytes; it lies inside of the image.
    pub size: u64,
}

const ELF_MAGIC: [u8; 6] = [0x7f, b'E', b'L', b'F', 2, 1]; // 64-bit, little-endian
const EM_X86_64: u16 = 62;
const PT_LOAD: u32 = 1;
const PT_DYNAMIC: u32 = 2;
const DT_HASH: u64 = 4;
const DT_STRTAB: u64 = 5;
const DT_SYMTAB: u64 = 6;
const STT_FUNC: u8 = 2;
const PROGRAM_HEADER_BYTES: u64 = 56;
const SYMBOL_BYTES: u64 = 24;
const DYNAMIC_BYTES: u64 = 16;
/// More of anything than a vdso has; bounds the work on damaged images.
const MOST_ENTRIES: u64 = 4096;
const LONGEST_NAME: usize = 256;

/// The functions that the image exports, under all their names, in the order of its symbol table.
pub fn functions(image: &[u8]) -> Result<Vec<Function>, ElfError> {
    let image = Image(image);
    let segments = image.segments()?;
    let dynamic = image.dynamic(&segments)?;
    let count = dynamic.symbol_count(&image)?;
    let mut functions = Vec::new();
    for index in 0..count {
        let at = dynamic
            .symbols
            .checked_add(index * SYMBOL_BYTES)
            .ok_or(ElfError::Table("symbol table"))?;
        if let Some(function) = image.function(at, dynamic.strings, segments.load_address)? {
            functions.push(function);
        }
    }
    Ok(functions)
}

struct Image<'a>(&'a [u8]);

struct Segments {
    /// The address that the image was linked for; 0 since Linux 3.16.
    load_address: u64,
    dynamic: u64,
    dynamic_bytes: u64,
}

/// Offsets in the image.
struct Dynamic {
    strings: u64,
    symbols: u64,
    hash: Option<u64>,
}

impl Image<'_> {
    fn bytes<const N: usize>(&self, at: u64) -> Option<[u8; N]> {
        let start = usize::try_from(at).ok()?;
        self.0.get(start..start.checked_add(N)?)?.try_into().ok()
    }

    fn u16(&self, at: u64) -> Option<u16> {
        self.bytes(at).map(u16::from_le_bytes)
    }

    fn u32(&self, at: u64) -> Option<u32> {
        self.bytes(at).map(u32::from_le_bytes)
    }

    fn u64(&self, at: u64) -> Option<u64> {
        self.bytes(at).map(u64::from_le_bytes)
    }

    fn segments(&self) -> Result<Segments, ElfError> {
        if self.bytes(0) != Some(ELF_MAGIC) {
            return Err(ElfError::Format);
        }
        let machine = self.u16(18).ok_or(ElfError::Format)?;
        if machine != EM_X86_64 {
            return Err(ElfError::Machine(machine));
        }
        let missing = ElfError::Table("program header");
        let (mut load, mut dynamic) = (None, None);
        let first = self.u64(32).ok_or(missing)?;
        for index in 0..u64::from(self.u16(56).ok_or(missing)?) {
            let header = first.checked_add(index * PROGRAM_HEADER_BYTES).ok_or(missing)?;
            let field = |offset| {
                header
                    .checked_add(offset)
                    .and_then(|at| self.u64(at))
                    .ok_or(missing)
            };
            match self.u32(header).ok_or(missing)? {
                PT_LOAD if load.is_none() => load = Some(field(16)?.wrapping_sub(field(8)?)),
                PT_DYNAMIC => dynamic = Some((field(8)?, field(32)?)),
                _ => {}
            }
        }
        let (dynamic, dynamic_bytes) = dynamic.ok_or(ElfError::Table("dynamic section"))?;
        Ok(Segments {
            load_address: load.ok_or(missing)?,
            dynamic,
            dynamic_bytes,
        })
    }

    fn dynamic(&self, segments: &Segments) -> Result<Dynamic, ElfError> {
        let missing = ElfError::Table("dynamic section");
        let (mut strings, mut symbols, mut hash) = (None, None, None);
        for index in 0..(segments.dynamic_bytes / DYNAMIC_BYTES).min(MOST_ENTRIES) {
            let at = segments
                .dynamic
                .checked_add(index * DYNAMIC_BYTES)
                .ok_or(missing)?;
            let tag = self.u64(at).ok_or(missing)?;
            let address = at.checked_add(8).and_then(|at| self.u64(at)).ok_or(missing)?;
            let offset = address.wrapping_sub(segments.load_address);
            match tag {
                0 => break,
                DT_STRTAB => strings = Some(offset),
                DT_SYMTAB => symbols = Some(offset),
                DT_HASH => hash = Some(offset),
                _ => {}
            }
        }
        let strings = strings.ok_or(ElfError::Table("string table"))?;
        let symbols = symbols.ok_or(ElfError::Table("symbol table"))?;
        Ok(Dynamic {
            strings,
            symbols,
            hash,
        })
    }

    /// The symbol at this offset, if it is a function of this image.
    fn function(&self, at: u64, strings: u64, load_address: u64) -> Result<Option<Function>, ElfError> {
        let missing = ElfError::Table("symbol table");
        let entry: [u8; SYMBOL_BYTES as usize] = self.bytes(at).ok_or(missing)?;
        let [n0, n1, n2, n3, info, _, s0, s1, ..] = entry;
        let value = self.u64(at + 8).ok_or(missing)?;
        let size = self.u64(at + 16).ok_or(missing)?;
        if info & 0xf != STT_FUNC || u16::from_le_bytes([s0, s1]) == 0 {
            return Ok(None);
        }
        let offset = value.wrapping_sub(load_address);
        if offset
            .checked_add(size)
            .is_none_or(|end| end > self.0.len() as u64)
        {
            return Err(missing);
        }
        let name = strings.checked_add(u64::from(u32::from_le_bytes([n0, n1, n2, n3])));
        let name = name
            .and_then(|at| self.name(at))
            .ok_or(ElfError::Table("string table"))?;
        Ok(Some(Function { name, offset, size }))
    }

    fn name(&self, at: u64) -> Option<String> {
        let rest = self.0.get(usize::try_from(at).ok()?..)?;
        let end = rest.iter().take(LONGEST_NAME).position(|&byte| byte == 0)?;
        Some(String::from_utf8_lossy(&rest[..end]).into_owned())
    }
}

impl Dynamic {
    /// From the hash table, which has a link per symbol; else the symbol table ends where the string table begins
    /// (so do all link editors lay them out).
    fn symbol_count(&self, image: &Image<'_>) -> Result<u64, ElfError> {
        let missing = ElfError::Table("symbol table");
        let count = match self.hash {
            Some(hash) => {
                let at = hash.checked_add(4).ok_or(missing)?;
                u64::from(image.u32(at).ok_or(missing)?)
            }
            None => self.strings.checked_sub(self.symbols).ok_or(missing)? / SYMBOL_BYTES,
        };
        if count > MOST_ENTRIES {
            Err(missing)
        } else {
            Ok(count)
        }
    }
}
