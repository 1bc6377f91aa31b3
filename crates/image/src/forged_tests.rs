//! Images whose checksums are right but whose contents are not: what only a forger or a bug makes.
#![allow(clippy::unwrap_used)]

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;

use proptest::prelude::*;

use crate::header::{HEADER_LEN, Header};
use crate::section::Section;
use crate::{Identity, ImageReader, PageRun, Result, checksum};

fn identity() -> Identity {
    Identity {
        computation: "0123456789abcdef".into(),
        generation: 1,
        agent: 0,
        agents: 1,
    }
}

fn header(table_offset: u64, table: &[u8]) -> Header {
    Header {
        identity: identity(),
        file_len: table_offset + table.len() as u64,
        table_offset,
        table_len: table.len() as u64,
        table_checksum: checksum::of(table),
    }
}

fn section_line(kind: u32, stream: u32, offset: u64, body: &[u8]) -> Vec<u8> {
    let mut line = Vec::new();
    for word in [kind, 1, stream, 0] {
        line.extend_from_slice(&word.to_le_bytes());
    }
    for number in [offset, body.len() as u64, checksum::of(body)] {
        line.extend_from_slice(&number.to_le_bytes());
    }
    line
}

/// An image of one section with `body`.
fn forge(path: &Path, kind: u32, body: &[u8]) {
    let table = section_line(kind, 0, HEADER_LEN as u64, body);
    let header = header((HEADER_LEN + body.len()) as u64, &table);
    fs::write(path, [&header.encode()[..], body, &table].concat()).unwrap();
}

/// Reads all that can be read.
fn read_all(path: &Path) -> Result<()> {
    let reader = ImageReader::open(path)?;
    let mut buffer = Vec::new();
    for stream in reader.streams() {
        for run in reader.runs(stream)? {
            let _ = reader.read_run(run, &mut buffer);
            assert!(buffer.len() <= crate::MAX_RUN);
        }
        for piece in reader.pieces(stream).unwrap_or_default() {
            let _ = reader.read_piece(&piece, &mut buffer);
        }
    }
    reader.sizes()?;
    reader.verify(&|_, _| ())
}

fn index_line(start: u64, pages: u32, codec: u32, frame: [u64; 3]) -> Vec<u8> {
    let mut line = start.to_le_bytes().to_vec();
    line.extend_from_slice(&pages.to_le_bytes());
    line.extend_from_slice(&codec.to_le_bytes());
    for number in frame {
        line.extend_from_slice(&number.to_le_bytes());
    }
    assert_eq!(line.len(), PageRun::ENCODED_LEN);
    line
}

#[test]
fn indexes_that_make_no_sense_are_refused() {
    let temporary = tempfile::tempdir().unwrap();
    let path = temporary.path().join("forged");
    let zero = [0; 3];
    let sound = index_line(0x1000, 2, 1, zero);
    forge(&path, 1, &sound);
    read_all(&path).unwrap();
    let cases: [(&str, Vec<u8>); 13] = [
        ("no pages", index_line(0, 0, 1, zero)),
        ("unaligned", index_line(8, 1, 1, zero)),
        (
            "past the end of the address space",
            index_line(u64::MAX - 4095, 2, 1, zero),
        ),
        ("unknown codec", index_line(0, 1, 9, zero)),
        ("a zero run with contents", index_line(0, 1, 1, [4096, 1, 0])),
        ("raw in the header", index_line(0, 1, 2, [0, 4096, 0])),
        ("raw outside of the file", index_line(0, 1, 2, [1 << 40, 4096, 0])),
        ("a frame of terabytes", index_line(0, u32::MAX, 3, [4096, 8, 0])),
        ("pages of its own stream", index_line(0, 1, 5, zero)),
        ("pages of a later stream", index_line(0, 1, 5, [7, 0, 0])),
        (
            "another stream's with contents",
            index_line(0, 1, 5, [0, 4096, 0]),
        ),
        ("overlap", [sound.clone(), sound.clone()].concat()),
        ("half a line", sound[..20].to_vec()),
    ];
    for (case, index) in cases {
        forge(&path, 1, &index);
        assert!(read_all(&path).is_err(), "{case}");
    }
}

#[test]
fn pages_that_the_other_stream_lacks_are_refused() {
    let temporary = tempfile::tempdir().unwrap();
    let path = temporary.path().join("forged");
    let zero = index_line(0x2000, 2, 1, [0; 3]);
    for (start, pages, sound) in [
        (0x2000, 2, true),
        (0x3000, 1, true),
        (0x1000, 2, false),
        (0x3000, 2, false),
    ] {
        let same = index_line(start, pages, 5, [3, 0, 0]);
        let offset = HEADER_LEN as u64;
        let second = offset + zero.len() as u64;
        let table = [
            section_line(1, 3, offset, &zero),
            section_line(1, 4, second, &same),
        ]
        .concat();
        let header = header(second + same.len() as u64, &table);
        fs::write(&path, [&header.encode()[..], &zero, &same, &table].concat()).unwrap();
        let reader = ImageReader::open(&path).unwrap();
        assert_eq!(reader.pieces(4).is_ok(), sound, "{start:#x}");
        assert_eq!(reader.verify(&|_, _| ()).is_ok(), sound, "{start:#x}");
    }
}

#[test]
fn unknown_state_is_refused() {
    let temporary = tempfile::tempdir().unwrap();
    let path = temporary.path().join("forged");
    forge(&path, 77, b"");
    let message = read_all(&path).unwrap_err().to_string();
    assert!(
        message.contains("kind 77") && message.contains("later one"),
        "{message}"
    );
}

#[test]
fn two_indexes_of_one_stream_are_refused() {
    let temporary = tempfile::tempdir().unwrap();
    let path = temporary.path().join("forged");
    let line = section_line(1, 0, HEADER_LEN as u64, b"");
    let table = [line.clone(), line].concat();
    let header = header(HEADER_LEN as u64, &table);
    fs::write(&path, [&header.encode()[..], &table].concat()).unwrap();
    assert!(ImageReader::open(&path).is_err());
}

#[test]
fn a_terabyte_that_is_not_there_is_not_allocated() {
    let temporary = tempfile::tempdir().unwrap();
    let path = temporary.path().join("sparse");
    let terabyte = 1 << 40;
    let file = File::create(&path).unwrap();
    file.set_len(terabyte).unwrap();
    // The whole file is the section table.
    let mut header = header(HEADER_LEN as u64, b"");
    header.file_len = terabyte;
    header.table_len = terabyte - HEADER_LEN as u64;
    file.write_all_at(&header.encode(), 0).unwrap();
    assert!(ImageReader::open(&path).is_err());
    // The whole file is a record.
    let mut table = section_line(2, 0, HEADER_LEN as u64, b"");
    let len = terabyte - (HEADER_LEN + Section::ENCODED_LEN) as u64;
    table[24..32].copy_from_slice(&len.to_le_bytes());
    let header = super::forged_tests::header(terabyte - Section::ENCODED_LEN as u64, &table);
    file.write_all_at(&header.encode(), 0).unwrap();
    file.write_all_at(&table, header.table_offset).unwrap();
    let reader = ImageReader::open(&path).unwrap();
    assert!(reader.verify(&|_, _| ()).is_err());
}

fn few_words() -> impl Strategy<Value = u64> {
    let near = [
        0,
        1,
        2,
        3,
        40,
        4095,
        4096,
        4136,
        8192,
        1 << 20,
        1 << 40,
        u64::MAX - 4095,
        u64::MAX,
    ];
    prop_oneof![4 => proptest::sample::select(near.to_vec()), 1 => any::<u64>()]
}

proptest! {
    #[test]
    fn no_index_makes_the_reader_panic(words in proptest::collection::vec(few_words(), 0..30)) {
        let temporary = tempfile::tempdir().unwrap();
        let path = temporary.path().join("forged");
        let body: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        forge(&path, 1, &body);
        let _ = read_all(&path);
    }

    #[test]
    fn no_table_makes_the_reader_panic(words in proptest::collection::vec(few_words(), 0..30), kinds in any::<bool>()) {
        let temporary = tempfile::tempdir().unwrap();
        let path = temporary.path().join("forged");
        let mut table: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        if kinds {
            // Known kinds and versions, so that the rest is looked at.
            for line in table.chunks_mut(Section::ENCODED_LEN).filter(|line| line.len() > 16) {
                let kind = u32::from(line[0]) % 7;
                line[..16].fill(0);
                line[..4].copy_from_slice(&kind.to_le_bytes());
                line[4] = 1;
            }
        }
        let header = header(HEADER_LEN as u64, &table);
        fs::write(&path, [&header.encode()[..], &table].concat()).unwrap();
        let _ = read_all(&path);
    }

    #[test]
    fn no_header_makes_the_reader_panic(sizes in proptest::array::uniform4(few_words()), len in 0_usize..10_000) {
        let temporary = tempfile::tempdir().unwrap();
        let path = temporary.path().join("forged");
        let [file_len, table_offset, table_len, table_checksum] = sizes;
        let header = Header { identity: identity(), file_len, table_offset, table_len, table_checksum };
        let mut bytes = header.encode().to_vec();
        bytes.resize(len, 0);
        fs::write(&path, bytes).unwrap();
        let _ = read_all(&path);
    }

    #[test]
    fn no_record_makes_the_reader_panic(kind in 2_u32..7, body in proptest::collection::vec(any::<u8>(), 0..300)) {
        let temporary = tempfile::tempdir().unwrap();
        let path = temporary.path().join("forged");
        forge(&path, kind, &body);
        let _ = read_all(&path);
    }

    #[test]
    fn no_frame_makes_the_reader_panic(pages in 1_u32..300, frame in proptest::collection::vec(any::<u8>(), 1..300)) {
        // A zstd frame that is none, or (from a real one) unpacks to another size.
        let temporary = tempfile::tempdir().unwrap();
        let path = temporary.path().join("forged");
        let real = zstd::bulk::compress(&vec![1; 2 << 20], 1).unwrap();
        for stored in [&frame, &real] {
            let line = index_line(0, pages, 3, [HEADER_LEN as u64, stored.len() as u64, checksum::of(stored)]);
            let body = [stored.as_slice(), &line].concat();
            let table = section_line(1, 0, (HEADER_LEN + stored.len()) as u64, &line);
            let header = header((HEADER_LEN + body.len()) as u64, &table);
            fs::write(&path, [&header.encode()[..], &body, &table].concat()).unwrap();
            prop_assert!(read_all(&path).is_err());
        }
    }

    #[test]
    fn no_manifest_makes_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let path = Path::new("manifest");
        prop_assert!(crate::manifest::decode(&bytes, path).is_err());
        let mut sealed = b"\x89RTHM\r\n\x1a\x01\0\0\0".to_vec();
        sealed.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
        sealed.extend_from_slice(&bytes);
        sealed.extend_from_slice(&checksum::of(&sealed).to_le_bytes());
        let _ = crate::manifest::decode(&sealed, path);
    }
}
