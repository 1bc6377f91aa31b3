//! `dmtcp_restart`.

use super::image::DmtcpImage;
use super::launch::{environment_path, existing_folder, interval, quiet_by_environment, settings};
use super::note_ignored;
use super::options::Restart;
use super::port::{Record, of_computation};
use crate::failure::{Context, Failure, Result};
use crate::message;
use crate::options::{ComeBackArgs, Files};
use crate::sink::Sink;
use crate::start::{Saved, Stage};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// See the module.
pub fn restart(args: &Restart) -> Result<ExitCode> {
    message::set_quiet(args.quiet > 0 || quiet_by_environment());
    note_ignored(&args.ignored());
    let image = choose(&images(args)?)?;
    let port = of_computation(&args.coordinator)?;
    let interval = interval(args.interval, Record::of(port).as_ref())?;
    let folder = args
        .ckptdir
        .clone()
        .or_else(|| environment_path("DMTCP_CHECKPOINT_DIR"));
    let folder = folder.map(|folder| existing_folder(&folder)).transpose()?;
    let path = std::fs::canonicalize(&image.path).context(|| format!("open {}", image.path.display()))?;
    let sink = DmtcpImage::existing(&path, folder.as_deref(), interval.seconds());
    let stage = Stage::set(settings(interval, port))?;
    let come_back = ComeBackArgs {
        files: Files::Rewind,
        map: vec![],
        hosts: Vec::new(),
    };
    Ok(stage.restart(&image, &come_back, Sink::Dmtcp(sink))?.exit())
}

fn images(args: &Restart) -> Result<Vec<PathBuf>> {
    match &args.restartdir {
        Some(folder) => images_in(folder),
        None if args.images.is_empty() => Err(Failure::said("no image is given")),
        None => Ok(args.images.clone()),
    }
}

fn images_in(folder: &Path) -> Result<Vec<PathBuf>> {
    let files = std::fs::read_dir(folder).context(|| format!("read {}", folder.display()))?;
    let is_image = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with("ckpt_") && name.ends_with(".dmtcp")
    };
    let images: Vec<PathBuf> = files.flatten().map(|file| file.path()).filter(is_image).collect();
    if images.is_empty() {
        return Err(Failure::said(format!(
            "there is no ckpt_*.dmtcp in {}",
            folder.display()
        )));
    }
    Ok(images)
}

/// DMTCP has an image per process and restarts many at once; here, all of a computation is in one image.
fn choose(paths: &[PathBuf]) -> Result<Saved> {
    let mut images = paths
        .iter()
        .map(|path| Saved::read(path))
        .collect::<Result<Vec<_>>>()?;
    let several = images
        .windows(2)
        .any(|pair| pair[0].identity.computation != pair[1].identity.computation);
    if several {
        let names: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
        return Err(Failure::said(format!(
            "these are images of different computations, each whole in itself: {}; restart one of them (the newest: \
             `ls -t ckpt*dmtcp | head -n1`)",
            names.join(" ")
        )));
    }
    images.sort_by_key(|image| image.identity.generation);
    images.pop().ok_or_else(|| Failure::said("no image is given"))
}
