//! `rethaw verify`: checks every byte of images against their checksums.

use super::existing_folder;
use crate::failure::{Failure, Result, status};
use crate::message::{self, Meter};
use crate::options::VerifyArgs;
use crate::start::checkpoint_folder;
use rethaw_image::ImageReader;
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

#[derive(Serialize)]
struct Verdict {
    #[serde(serialize_with = "crate::state::path_as_text::serialize")]
    image: PathBuf,
    generation: Option<u64>,
    intact: bool,
    why: Option<String>,
}

/// See the module.
pub fn verify(args: &VerifyArgs) -> Result<ExitCode> {
    let default = [checkpoint_folder(None)];
    let paths = if args.images.is_empty() {
        &default[..]
    } else {
        &args.images[..]
    };
    let mut verdicts = Vec::new();
    for path in paths {
        verdicts.extend(judge(path)?);
    }
    if args.json {
        message::print_json(&verdicts);
    } else {
        message::print(&verdicts.iter().map(show).collect::<String>());
    }
    if verdicts.is_empty() {
        return Err(Failure::with_status(
            status::BAD,
            "there is no checkpoint to verify",
        ));
    }
    let intact = verdicts.iter().all(|verdict| verdict.intact);
    Ok(if intact {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(status::BAD)
    })
}

fn judge(path: &Path) -> Result<Vec<Verdict>> {
    if path.exists() && !path.is_dir() {
        return Ok(vec![judge_image(path, None)]);
    }
    let survey = existing_folder(path)?.survey()?;
    let images = survey.complete.iter().flat_map(|generation| {
        generation
            .images
            .iter()
            .map(|image| judge_image(&image.path, Some(generation.number)))
    });
    let damaged = survey.damaged.iter().map(|(generation, error)| Verdict {
        image: path.to_path_buf(),
        generation: Some(*generation),
        intact: false,
        why: Some(error.to_string()),
    });
    Ok(images.chain(damaged).collect())
}

fn judge_image(path: &Path, generation: Option<u64>) -> Verdict {
    let meter = Meter::new(format!("verifying {}", path.display()));
    let verified = ImageReader::open(path).and_then(|reader| {
        reader.verify(&|done, all| meter.set(done, all))?;
        Ok(reader.identity().generation)
    });
    Verdict {
        image: path.to_path_buf(),
        generation: verified.as_ref().ok().copied().or(generation),
        intact: verified.is_ok(),
        why: verified.err().map(|error| error.to_string()),
    }
}

fn show(verdict: &Verdict) -> String {
    match (&verdict.why, verdict.generation) {
        (Some(why), _) => format!("DAMAGED  {why}\n"),
        (None, Some(generation)) => {
            format!("intact   {} (checkpoint {generation})\n", verdict.image.display())
        }
        (None, None) => format!("intact   {}\n", verdict.image.display()),
    }
}
