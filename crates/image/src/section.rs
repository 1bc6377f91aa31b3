//! The section table: where each record and each page index is, in the order in which they were written.

use std::path::Path;

use crate::header::{HEADER_LEN, u32_at, u64_at};
use crate::record::{ComputationV1, DescriptionV1, PipeV1, ProcessV1, SharedObjectV1, TerminalV1};
use crate::{Error, Result};

/// What a section's record is. The numbers are in files: never change or use one again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u32)]
pub enum SectionKind {
    /// [`ComputationV1`]
    Computation = 2,
    /// [`ProcessV1`]
    Process = 3,
    /// [`DescriptionV1`]
    Description = 4,
    /// [`SharedObjectV1`]
    SharedObject = 5,
    /// [`PipeV1`]
    Pipe = 6,
    /// [`TerminalV1`]
    Terminal = 25,
}

impl SectionKind {
    /// All kinds.
    pub const ALL: [SectionKind; 6] = [
        Self::Computation,
        Self::Process,
        Self::Description,
        Self::SharedObject,
        Self::Pipe,
        Self::Terminal,
    ];

    /// Version of the record that is written now.
    pub(crate) fn version(self) -> u32 {
        1
    }

    /// Name for people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Computation => "computation",
            Self::Process => "process",
            Self::Description => "open file description",
            Self::SharedObject => "shared object",
            Self::Pipe => "pipe",
            Self::Terminal => "pseudo-terminal",
        }
    }

    /// Whether `bytes` are a record of this kind.
    pub(crate) fn decodes(self, bytes: &[u8]) -> Result<(), prost::DecodeError> {
        fn check<M: prost::Message + Default>(bytes: &[u8]) -> Result<(), prost::DecodeError> {
            M::decode(bytes).map(|_| ())
        }
        match self {
            Self::Computation => check::<ComputationV1>(bytes),
            Self::Process => check::<ProcessV1>(bytes),
            Self::Description => check::<DescriptionV1>(bytes),
            Self::SharedObject => check::<SharedObjectV1>(bytes),
            Self::Pipe => check::<PipeV1>(bytes),
            Self::Terminal => check::<TerminalV1>(bytes),
        }
    }
}

/// Largest record. Far above the state of a process with a hundred thousand threads.
pub(crate) const MAX_RECORD: u64 = 1 << 30;
/// Largest section table: one and a half million sections.
pub(crate) const MAX_TABLE: u64 = 64 << 20;

const PAGE_INDEX: u32 = 1;
const PAGE_INDEX_VERSION: u32 = 1;

/// What a section holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Content {
    /// The runs of a page stream.
    PageIndex {
        stream: u32,
    },
    Record(SectionKind),
}

/// One line of the section table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Section {
    pub(crate) content: Content,
    pub(crate) offset: u64,
    pub(crate) len: u64,
    pub(crate) checksum: u64,
}

impl Section {
    pub(crate) const ENCODED_LEN: usize = 40;

    pub(crate) fn encode_into(&self, table: &mut Vec<u8>) {
        let (kind, version, stream) = match self.content {
            Content::PageIndex { stream } => (PAGE_INDEX, PAGE_INDEX_VERSION, stream),
            Content::Record(kind) => (kind as u32, kind.version(), 0),
        };
        for word in [kind, version, stream, 0] {
            table.extend_from_slice(&word.to_le_bytes());
        }
        for number in [self.offset, self.len, self.checksum] {
            table.extend_from_slice(&number.to_le_bytes());
        }
    }

    /// `bytes` is one line; `body_end` is where the table begins.
    pub(crate) fn decode(bytes: &[u8], path: &Path, body_end: u64) -> Result<Section> {
        let [kind, version, stream, reserved] = [0, 4, 8, 12].map(|at| u32_at(bytes, at));
        let content = content_of(kind, version, stream, path)?;
        let section = Section {
            content,
            offset: u64_at(bytes, 16),
            len: u64_at(bytes, 24),
            checksum: u64_at(bytes, 32),
        };
        let end = section.offset.checked_add(section.len);
        let inside = section.offset >= HEADER_LEN as u64 && end.is_some_and(|end| end <= body_end);
        let stray_stream = stream != 0 && matches!(content, Content::Record(_));
        if !inside || reserved != 0 || stray_stream {
            return Err(Error::damaged(
                path,
                "is damaged: its section table makes no sense",
            ));
        }
        Ok(section)
    }
}

/// Unknown state is refused: to leave it out would lose it.
fn content_of(kind: u32, version: u32, stream: u32, path: &Path) -> Result<Content> {
    let unknown = || {
        let what =
            format!("holds state that this rethaw does not know (section kind {kind} version {version})");
        Err(Error::newer(path, what))
    };
    if kind == PAGE_INDEX {
        return if version == PAGE_INDEX_VERSION {
            Ok(Content::PageIndex { stream })
        } else {
            unknown()
        };
    }
    match SectionKind::ALL.into_iter().find(|known| *known as u32 == kind) {
        Some(known) if known.version() == version => Ok(Content::Record(known)),
        _ => unknown(),
    }
}
