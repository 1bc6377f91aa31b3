//! Reading an image, from any number of threads at once.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};

use crate::frame::Unpacker;
use crate::header::{HEADER_LEN, Header};
use crate::index::{self, Codec};
use crate::section::{Content, MAX_RECORD, MAX_TABLE, Section};
use crate::{Error, Identity, PAGE, PageRun, Result, RunKind, SectionKind, checksum};

/// An open image. Nothing is handed out before its checksum was compared.
pub struct ImageReader {
    path: PathBuf,
    file: File,
    pub(crate) header: Header,
    header_checksum: u64,
    pub(crate) sections: Vec<Section>,
    streams: BTreeMap<u32, Stream>,
    /// Idle decompressors, at most one per thread that ever read at the same time.
    unpackers: Mutex<Vec<Unpacker>>,
}

/// A page index, read when it is first asked for.
struct Stream {
    section: Section,
    runs: OnceLock<Vec<PageRun>>,
}

/// What an image's bytes are spent on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sizes {
    /// Size of the file.
    pub file: u64,
    /// Records by kind, in the order of [`SectionKind::ALL`]; kinds that do not occur are left out.
    pub sections: Vec<SectionSize>,
    /// Page streams by number.
    pub streams: Vec<StreamSize>,
}

/// The records of one kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SectionSize {
    /// Kind.
    pub kind: SectionKind,
    /// How many there are.
    pub count: usize,
    /// Bytes of them.
    pub bytes: u64,
}

/// One page stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamSize {
    /// Its number.
    pub stream: u32,
    /// Bytes of memory that are all-zero pages.
    pub zero_bytes: u64,
    /// Bytes of memory with contents.
    pub data_bytes: u64,
    /// Bytes of memory that another stream has, too.
    pub same_bytes: u64,
    /// Bytes that the contents take in the image.
    pub stored_bytes: u64,
    /// Bytes of the page index.
    pub index_bytes: u64,
}

impl std::fmt::Debug for ImageReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ImageReader")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

impl ImageReader {
    /// Opens an image and checks its header and its section table.
    pub fn open(path: &Path) -> Result<ImageReader> {
        let cannot = |e| Error::io("open", path, e);
        // Asked first, because to open a FIFO waits for its writer.
        if !fs::metadata(path).map_err(cannot)?.is_file() {
            return Err(Error::foreign(path, "image"));
        }
        let file = File::open(path).map_err(cannot)?;
        let file_len = file.metadata().map_err(cannot)?.len();
        let (header, header_checksum) = read_header(&file, path, file_len)?;
        let sections = read_table(&file, path, &header)?;
        let streams = streams_of(&sections, path)?;
        let path = path.to_owned();
        let unpackers = Mutex::default();
        Ok(ImageReader {
            path,
            file,
            header,
            header_checksum,
            sections,
            streams,
            unpackers,
        })
    }

    /// Path by which it was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Which checkpoint of which computation this is.
    pub fn identity(&self) -> &Identity {
        &self.header.identity
    }

    /// Size of the file.
    pub fn bytes(&self) -> u64 {
        self.header.file_len
    }

    /// Checksum of the header, which covers that of the section table, which covers all others: it stands
    /// for the whole image.
    pub fn header_checksum(&self) -> u64 {
        self.header_checksum
    }

    /// The file, to map raw runs of pages from it ([`PageRun::raw_offset`]).
    pub fn file(&self) -> &File {
        &self.file
    }

    /// All records of a kind, in the order in which they were written.
    pub fn records<M: prost::Message + Default>(&self, kind: SectionKind) -> Result<Vec<M>> {
        let of_kind = self
            .sections
            .iter()
            .filter(|section| section.content == Content::Record(kind));
        of_kind
            .map(|section| {
                let bytes = self.record(section, kind)?;
                M::decode(bytes.as_slice()).map_err(|e| self.undecodable(kind, &e))
            })
            .collect()
    }

    pub(crate) fn undecodable(&self, kind: SectionKind, error: &prost::DecodeError) -> Error {
        self.damaged(format!(
            "is damaged: a record ({}) cannot be decoded: {error}",
            kind.name()
        ))
    }

    /// The bytes of a record, checked.
    pub(crate) fn record(&self, section: &Section, kind: SectionKind) -> Result<Vec<u8>> {
        if section.len > MAX_RECORD {
            return Err(self.damaged(format!("is damaged: a record ({}) is too large", kind.name())));
        }
        let mut bytes = Vec::new();
        self.read_section(section, "record", |piece| {
            bytes.extend_from_slice(piece);
            Ok(())
        })?;
        Ok(bytes)
    }

    fn read_section(
        &self,
        section: &Section,
        what: &'static str,
        take: impl FnMut(&[u8]) -> Result<()>,
    ) -> Result<()> {
        let Section {
            offset,
            len,
            checksum,
            ..
        } = *section;
        read_checked(
            &self.file,
            &self.path,
            &Checked {
                offset,
                len,
                checksum,
                what,
            },
            take,
        )
    }

    /// Numbers of the page streams that have pages.
    pub fn streams(&self) -> impl Iterator<Item = u32> + '_ {
        self.streams.keys().copied()
    }

    /// The runs of a page stream, by address, without overlap; none for a stream without pages.
    pub fn runs(&self, stream: u32) -> Result<&[PageRun]> {
        let Some(Stream { section, runs }) = self.streams.get(&stream) else {
            return Ok(&[]);
        };
        if let Some(runs) = runs.get() {
            return Ok(runs);
        }
        let mut index = index::Decoder::new(&self.path, stream, self.header.table_offset);
        self.read_section(section, "page index", |piece| index.decode(piece))?;
        let decoded = index.into_runs();
        Ok(runs.get_or_init(|| decoded))
    }

    /// Puts the pages of a data run into `buffer`, which then has exactly their bytes. A zero run, which
    /// may be as long as an address space, leaves it empty, and so does one that is the same elsewhere.
    pub fn read_run(&self, run: &PageRun, buffer: &mut Vec<u8>) -> Result<()> {
        if run.kind != RunKind::Data {
            buffer.clear();
            return Ok(());
        }
        // Not cleared first: a buffer that is used again is not filled with zeros for nothing.
        buffer.resize(run.pages as usize * PAGE, 0);
        match run.frame.codec {
            Codec::Zstd => self.read_packed(run, buffer),
            _ => self.read_stored(run, buffer),
        }
    }

    fn read_stored(&self, run: &PageRun, stored: &mut [u8]) -> Result<()> {
        self.read_at(stored, run.frame.offset)?;
        if checksum::of(stored) != run.frame.checksum {
            return Err(self.damaged_page(run));
        }
        Ok(())
    }

    fn read_packed(&self, run: &PageRun, pages: &mut [u8]) -> Result<()> {
        let idle = self
            .unpackers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop();
        let mut unpacker = match idle {
            Some(unpacker) => unpacker,
            None => Unpacker::new().map_err(|e| Error::io("decompress", &self.path, e))?,
        };
        unpacker.packed.resize(run.frame.len as usize, 0);
        self.read_stored(run, &mut unpacker.packed)?;
        if !unpacker.unpack(pages) {
            return Err(self.damaged_page(run));
        }
        self.unpackers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(unpacker);
        Ok(())
    }

    fn damaged_page(&self, run: &PageRun) -> Error {
        self.damaged(format!(
            "is damaged: the contents of the pages at {:#x} have changed",
            run.start
        ))
    }

    pub(crate) fn damaged(&self, what: impl Into<String>) -> Error {
        Error::damaged(&self.path, what)
    }

    pub(crate) fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<()> {
        read_exact(&self.file, &self.path, buffer, offset)
    }

    /// What the image's bytes are spent on; reads the page indexes.
    pub fn sizes(&self) -> Result<Sizes> {
        let streams: Result<Vec<StreamSize>> = self
            .streams
            .keys()
            .map(|stream| self.stream_size(*stream))
            .collect();
        let sections = SectionKind::ALL
            .into_iter()
            .filter_map(|kind| self.section_size(kind))
            .collect();
        Ok(Sizes {
            file: self.header.file_len,
            sections,
            streams: streams?,
        })
    }

    fn section_size(&self, kind: SectionKind) -> Option<SectionSize> {
        let of_kind = || {
            self.sections
                .iter()
                .filter(|section| section.content == Content::Record(kind))
        };
        let bytes = of_kind().map(|section| section.len).sum();
        Some(SectionSize {
            kind,
            count: of_kind().count(),
            bytes,
        })
        .filter(|size| size.count > 0)
    }

    fn stream_size(&self, stream: u32) -> Result<StreamSize> {
        let runs = self.runs(stream)?;
        let mut size = StreamSize {
            stream,
            zero_bytes: 0,
            data_bytes: 0,
            same_bytes: 0,
            stored_bytes: runs.iter().map(PageRun::stored_bytes).sum(),
            index_bytes: (runs.len() * PageRun::ENCODED_LEN) as u64,
        };
        for run in runs {
            let bytes = match run.kind {
                RunKind::Zero => &mut size.zero_bytes,
                RunKind::Data => &mut size.data_bytes,
                RunKind::Same { .. } => &mut size.same_bytes,
            };
            *bytes = bytes.saturating_add(run.bytes());
        }
        Ok(size)
    }
}

/// Tables and indexes are read in pieces of this size, so that what a bad length can make us allocate is
/// bounded by what is really there: the first line that makes no sense ends the growth.
const PIECE: usize = 25_600 * Section::ENCODED_LEN;
const _: () = assert!(PIECE.is_multiple_of(PageRun::ENCODED_LEN));

/// A part of the file with its checksum.
struct Checked {
    offset: u64,
    len: u64,
    checksum: u64,
    what: &'static str,
}

fn read_header(file: &File, path: &Path, file_len: u64) -> Result<(Header, u64)> {
    let mut page = [0; HEADER_LEN];
    if file_len < HEADER_LEN as u64 {
        // Too short to be one; say "truncated" only of what began as an image.
        let start = &mut page[..file_len as usize];
        read_exact(file, path, start, 0)?;
        return Err(Header::too_short(start, path));
    }
    read_exact(file, path, &mut page, 0)?;
    let header = Header::decode(&page, path, file_len)?;
    Ok((header, Header::checksum(&page)))
}

fn read_table(file: &File, path: &Path, header: &Header) -> Result<Vec<Section>> {
    let table = Checked {
        offset: header.table_offset,
        len: header.table_len,
        checksum: header.table_checksum,
        what: "section table",
    };
    if table.len > MAX_TABLE || !table.len.is_multiple_of(Section::ENCODED_LEN as u64) {
        return Err(Error::damaged(
            path,
            "is damaged: its section table has an impossible size",
        ));
    }
    let mut sections = Vec::new();
    read_checked(file, path, &table, |piece| {
        for line in piece.chunks_exact(Section::ENCODED_LEN) {
            sections.push(Section::decode(line, path, table.offset)?);
        }
        Ok(())
    })?;
    Ok(sections)
}

fn streams_of(sections: &[Section], path: &Path) -> Result<BTreeMap<u32, Stream>> {
    let mut streams = BTreeMap::new();
    for section in sections {
        let Content::PageIndex { stream } = section.content else {
            continue;
        };
        let entry = Stream {
            section: *section,
            runs: OnceLock::new(),
        };
        if streams.insert(stream, entry).is_some() {
            let what = format!("is damaged: page stream {stream} has two indexes");
            return Err(Error::damaged(path, what));
        }
    }
    Ok(streams)
}

/// Reads a part in pieces of whole table lines and compares its checksum. `take` may refuse what it gets,
/// but damage is told first. What is made of the pieces is not to be used unless this succeeds.
fn read_checked(
    file: &File,
    path: &Path,
    part: &Checked,
    mut take: impl FnMut(&[u8]) -> Result<()>,
) -> Result<()> {
    let mut piece = vec![0; part.len.min(PIECE as u64) as usize];
    let mut running = checksum::Running::new();
    let mut taken = Ok(());
    let mut at = 0;
    while at < part.len {
        piece.truncate((part.len - at).min(PIECE as u64) as usize);
        read_exact(file, path, &mut piece, part.offset + at)?;
        running.update(&piece);
        taken = taken.and_then(|()| take(&piece));
        at += piece.len() as u64;
    }
    if running.finish() != part.checksum {
        let what = format!("is damaged: the checksum of a {} does not match", part.what);
        return Err(Error::damaged(path, what));
    }
    taken
}

fn read_exact(file: &File, path: &Path, buffer: &mut [u8], offset: u64) -> Result<()> {
    file.read_exact_at(buffer, offset).map_err(|e| match e.kind() {
        io::ErrorKind::UnexpectedEof => Error::damaged(path, "became shorter while it was read"),
        _ => Error::io("read", path, e),
    })
}
