//! `rethaw list`: the checkpoints of a folder.

use super::existing_folder;
use crate::duration::show_bytes;
use crate::failure::Result;
use crate::message;
use crate::options::ListArgs;
use crate::start::{Saved, checkpoint_folder};
use crate::state::{State, Text, show_command};
use rethaw_image::{Folder, Generation};
use serde::Serialize;
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Serialize)]
struct Listing {
    #[serde(serialize_with = "crate::state::path_as_text::serialize")]
    folder: PathBuf,
    computation: Option<String>,
    command: Vec<Text>,
    finished: Option<String>,
    checkpoints: Vec<Line>,
    damaged: Vec<Damaged>,
}

#[derive(Serialize)]
struct Line {
    generation: u64,
    bytes: u64,
    images: Vec<Text>,
    unix_seconds: Option<i64>,
    host: Option<String>,
}

#[derive(Serialize)]
struct Damaged {
    generation: u64,
    why: String,
}

/// See the module.
pub fn list(args: &ListArgs) -> Result<ExitCode> {
    let listing = look(&existing_folder(&checkpoint_folder(args.dir.as_deref()))?)?;
    if args.json {
        message::print_json(&listing);
    } else {
        message::print(&show(&listing));
    }
    Ok(ExitCode::SUCCESS)
}

fn look(folder: &Folder) -> Result<Listing> {
    let survey = folder.survey()?;
    let newest = survey.complete.first();
    let record = newest.and_then(|newest| Saved::read(&newest.images.first()?.path).ok());
    let state = record.map(|saved| State::of_record(&saved.computation));
    let state = state.or_else(|| State::load(folder.path()));
    Ok(Listing {
        folder: std::path::absolute(folder.path()).unwrap_or_default(),
        computation: newest.map(|newest| newest.computation.clone()),
        command: state.map(|state| state.command).unwrap_or_default(),
        finished: folder.finished()?,
        checkpoints: survey.complete.iter().map(line).collect(),
        damaged: survey
            .damaged
            .iter()
            .map(|(generation, error)| Damaged {
                generation: *generation,
                why: error.to_string(),
            })
            .collect(),
    })
}

fn line(generation: &Generation) -> Line {
    let saved = generation
        .images
        .first()
        .and_then(|image| Saved::read(&image.path).ok());
    let taken = saved.and_then(|saved| saved.computation.taken);
    Line {
        generation: generation.number,
        bytes: generation.bytes(),
        images: generation
            .images
            .iter()
            .map(|image| image.path.as_os_str().into())
            .collect(),
        unix_seconds: taken.as_ref().map(|taken| taken.unix_seconds),
        host: taken.map(|taken| taken.host),
    }
}

fn show(listing: &Listing) -> String {
    let mut text = format!(
        "{}: {}\n",
        listing.folder.display(),
        show_command(&listing.command)
    );
    if let Some(how) = &listing.finished {
        text += &format!("finished: {}\n", how.trim());
    }
    for line in &listing.checkpoints {
        let time = line
            .unix_seconds
            .map_or("at an unknown time".to_string(), message::show_time);
        let host = line.host.as_deref().unwrap_or("an unknown host");
        text += &format!(
            "{:>6}  {time}  {:>10}  on {host}\n",
            line.generation,
            show_bytes(line.bytes)
        );
    }
    for damaged in &listing.damaged {
        text += &format!("{:>6}  damaged: {}\n", damaged.generation, damaged.why);
    }
    if listing.checkpoints.is_empty() && listing.damaged.is_empty() {
        text += "no checkpoints\n";
    }
    text
}
