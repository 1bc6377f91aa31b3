//! The manifest.

use crate::machine::ms;
use rethaw_image::{Compression, Folder, Identity, ImageWriter};
use std::path::PathBuf;
use std::time::Instant;

pub fn measure(count: usize) {
    // Beside the program: a temporary folder may be in memory.
    let program = std::env::current_exe().unwrap();
    let temporary = tempfile::tempdir_in(program.parent().unwrap()).unwrap();
    let folder = Folder::create(temporary.path()).unwrap();
    let write = |agent: usize| -> PathBuf {
        let identity = Identity {
            computation: "0123456789abcdef".to_string(),
            generation: 1,
            agent: agent as u32,
            agents: count as u32,
        };
        let path = folder.agent_image_path(1, agent as u32);
        let writer = ImageWriter::create(&path, &identity, Compression::None).unwrap();
        writer.finish().unwrap();
        path
    };
    let images: Vec<PathBuf> = (0..count).map(write).collect();
    let began = Instant::now();
    folder.commit(1, &images).unwrap();
    let took = began.elapsed();
    let manifest = std::fs::read_dir(temporary.path()).unwrap().flatten();
    let manifest = manifest
        .map(|file| file.path())
        .find(|path| path.extension().is_some_and(|end| end == "manifest"));
    let bytes = manifest.unwrap().metadata().unwrap().len();
    println!(
        "manifest: {bytes} bytes, commit (reads each image's header): {}",
        ms(took)
    );
}
