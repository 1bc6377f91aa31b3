//! Changes an image as if it had been taken elsewhere.

use crate::{Failure, Result};
use rethaw_image::record::{ComputationV1, DescriptionV1, PipeV1, ProcessV1, SharedObjectV1};
use rethaw_image::{
    Compression, Folder, Identity, ImageReader, ImageWriter, MAX_RUN, PageRun, RunKind, SectionKind,
};
use std::path::Path;

fn failure(error: impl std::fmt::Display) -> Failure {
    Failure::new(error.to_string())
}

/// Adds a checkpoint to `folder`: the newest one with every process changed by `change`.
pub fn derive(folder: &Path, change: impl Fn(&mut ProcessV1)) -> Result<()> {
    let folder = Folder::open(folder).map_err(failure)?;
    let newest = folder.generations().map_err(failure)?.into_iter().next();
    let newest = newest.ok_or_else(|| Failure::new("no checkpoint"))?;
    let reader = newest.images[0].open().map_err(failure)?;
    let generation = folder.next_generation().map_err(failure)?;
    let path = folder.image_path(generation);
    let identity = Identity {
        generation,
        ..reader.identity().clone()
    };
    let mut writer = ImageWriter::create(&path, &identity, Compression::None).map_err(failure)?;
    for stream in reader.streams().collect::<Vec<_>>() {
        for run in reader.runs(stream).map_err(failure)? {
            copy_run(&reader, &mut writer, stream, run)?;
        }
    }
    copy::<ComputationV1>(&reader, &mut writer, SectionKind::Computation, |_| {})?;
    copy::<ProcessV1>(&reader, &mut writer, SectionKind::Process, change)?;
    copy::<DescriptionV1>(&reader, &mut writer, SectionKind::Description, |_| {})?;
    copy::<SharedObjectV1>(&reader, &mut writer, SectionKind::SharedObject, |_| {})?;
    copy::<PipeV1>(&reader, &mut writer, SectionKind::Pipe, |_| {})?;
    writer.finish().map_err(failure)?;
    folder.commit(generation, &[path]).map_err(failure)
}

fn copy_run(reader: &ImageReader, writer: &mut ImageWriter, stream: u32, run: &PageRun) -> Result<()> {
    let mut buffer = Vec::new();
    match run.kind {
        RunKind::Data => {
            reader.read_run(run, &mut buffer).map_err(failure)?;
            return writer.pages(stream, run.start, &buffer).map_err(failure);
        }
        RunKind::Same { stream: other } => {
            return writer
                .same_pages(stream, run.start, run.bytes(), other)
                .map_err(failure);
        }
        RunKind::Zero => {}
    }
    let zeros = vec![0; MAX_RUN];
    let mut start = run.start;
    while start < run.end() {
        let len = (run.end() - start).min(MAX_RUN as u64);
        writer
            .pages(stream, start, &zeros[..len as usize])
            .map_err(failure)?;
        start += len;
    }
    Ok(())
}

fn copy<M: prost::Message + Default>(
    reader: &ImageReader,
    writer: &mut ImageWriter,
    kind: SectionKind,
    change: impl Fn(&mut M),
) -> Result<()> {
    for mut record in reader.records::<M>(kind).map_err(failure)? {
        change(&mut record);
        writer.record(kind, &record).map_err(failure)?;
    }
    Ok(())
}
