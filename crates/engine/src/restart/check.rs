//! What has to hold before anything is started or changed.

use super::plan::Plan;
use super::{Files, Options};
use crate::resource::file::Held;
use crate::resource::file::rewind::{self, Rewind};
use crate::resource::object::{self, Placement};
use crate::resource::process::in_nameless_folder;
use crate::{Error, Result};
use rethaw_image::ImageReader;
use rethaw_image::record::{Backing, DescriptionKind, FileIdentityV1, MappingV1};
use rethaw_sys::proc;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt;

/// The processor, the user. Gives warnings.
pub(crate) fn machine(plan: &Plan) -> Result<Vec<String>> {
    let here: BTreeSet<String> = proc::cpuinfo()
        .map(|cpu| cpu.flags.into_iter().collect())
        .unwrap_or_default();
    let missing: Vec<&str> = plan
        .computation
        .cpu_flags
        .iter()
        .filter(|f| matters(f) && !here.contains(*f))
        .map(String::as_str)
        .collect();
    if !missing.is_empty() {
        return Err(Error::CannotRestart {
            what: format!(
                "this processor lacks {} of the one where the checkpoint was taken",
                missing.join(", ")
            ),
            remedy: "restart on a node of the same or a newer kind".to_owned(),
        });
    }
    let (uid, gid) = (
        rustix::process::geteuid().as_raw(),
        rustix::process::getegid().as_raw(),
    );
    same_ids("user", [plan.computation.uid], uid)?;
    same_ids("group", [plan.computation.gid], gid)?;
    let threads = plan.processes.iter().flat_map(|process| &process.threads);
    for credentials in threads.filter_map(|thread| thread.credentials.as_ref()) {
        same_ids("user", credentials.uids.iter().copied(), uid)?;
        same_ids("group", credentials.gids.iter().copied(), gid)?;
    }
    Ok(Vec::new())
}

/// Everything comes back with the ids of who restarts it; even root is not asked to make others.
fn same_ids(what: &str, saved: impl IntoIterator<Item = u32>, ours: u32) -> Result<()> {
    match saved.into_iter().find(|id| *id != ours) {
        None => Ok(()),
        Some(other) => Err(Error::CannotRestart {
            what: format!("the checkpoint is of {what} {other}, and you are {what} {ours}"),
            remedy: format!("restart it as that {what}"),
        }),
    }
}

/// Instruction sets that programs choose at run time. Other flags (of the kernel, of virtualisation, of power
/// management) do not matter to a program.
fn matters(flag: &str) -> bool {
    const PREFIXES: [&str; 6] = ["avx", "sse", "amx", "vaes", "vpclmul", "sha"];
    const NAMES: [&str; 16] = [
        "fma",
        "f16c",
        "bmi1",
        "bmi2",
        "popcnt",
        "movbe",
        "aes",
        "pclmulqdq",
        "adx",
        "gfni",
        "ssse3",
        "abm",
        "rdrand",
        "rdseed",
        "fsgsbase",
        "xsave",
    ];
    NAMES.contains(&flag) || PREFIXES.iter().any(|prefix| flag.starts_with(prefix))
}

/// Decides where the objects of the image come from.
pub(crate) fn objects(
    plan: &Plan,
    reader: &ImageReader,
    files: Files,
    held: &mut Held,
    warnings: &mut Vec<String>,
) -> Result<BTreeMap<u32, Placement>> {
    let id = &plan.computation.id;
    plan.objects
        .iter()
        .map(|(number, record)| {
            Ok((
                *number,
                object::place(record, id, files, &plan.places, Some(reader), held, warnings)?,
            ))
        })
        .collect()
}

/// The files that the program has open or mapped, its folder, its executable. Gives what is to be rewound.
pub(crate) fn files(
    plan: &Plan,
    options: &Options,
    held: &mut Held,
    warnings: &mut Vec<String>,
) -> Result<Vec<Rewind>> {
    for process in &plan.processes {
        let mappings = process.memory.iter().flat_map(|memory| &memory.mappings);
        for mapping in mappings.filter(|m| m.backing() == Backing::File && m.object == 0) {
            mapped_file(plan, mapping, held)?;
        }
        let made = in_nameless_folder(process) || !process.volatile_folders.is_empty();
        if let Some(folders) = process.folders.as_ref().filter(|_| !made) {
            let path = plan.places.path(&folders.cwd);
            if !path.is_dir() {
                return Err(Error::CannotRestart {
                    what: format!(
                        "{} is gone, the current folder of process {}",
                        path.display(),
                        process.pid
                    ),
                    remedy: "make it again, or tell where it is now with --map OLD=NEW".to_owned(),
                });
            }
        }
    }
    rewinds(plan, options.files, held, warnings)
}

fn rewinds(plan: &Plan, files: Files, held: &mut Held, warnings: &mut Vec<String>) -> Result<Vec<Rewind>> {
    let mut rewinds = Vec::new();
    for description in plan.descriptions.values() {
        if let Some(DescriptionKind::Regular(regular)) = &description.kind {
            let planned = rewind::plan_rewind(description, regular, files, &plan.places, held, warnings)?;
            rewinds.extend(planned.filter(|new| !rewinds.contains(new)));
        }
    }
    Ok(rewinds)
}

/// Clean pages of a private mapping are not in the image, so the file has to be the same; a shared one is
/// written by the program itself and may have changed since.
fn mapped_file(plan: &Plan, mapping: &MappingV1, held: &mut Held) -> Result<()> {
    let Some(saved) = &mapping.file else { return Ok(()) };
    let path = plan.places.path(&saved.path);
    let Ok(now) = held.look(&path) else {
        return Err(Error::CannotRestart {
            what: format!("{} is gone, which the program has mapped", path.display()),
            remedy: "put it back, or tell where it is now with --map OLD=NEW".to_owned(),
        });
    };
    if mapping.shared && now.is_file() && now.size() < saved.size {
        return Err(Error::CannotRestart {
            what: format!(
                "{} has {} bytes, but had {} at the checkpoint, and the program has it mapped",
                path.display(),
                now.size(),
                saved.size
            ),
            remedy: "put the file back as it was, or tell where it is with --map OLD=NEW".to_owned(),
        });
    }
    if !mapping.shared && differs(saved, &now) {
        return Err(Error::CannotRestart {
            what: format!("{} has changed since the checkpoint, and the program runs its old contents", path.display()),
            remedy: "put the old file back (same size and modification time), or tell where it is with --map OLD=NEW"
                .to_owned(),
        });
    }
    Ok(())
}

fn differs(saved: &FileIdentityV1, now: &fs::Metadata) -> bool {
    let regular = now.is_file();
    regular && (saved.size != now.size() || saved.mtime_ns != crate::mtime_ns(now))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_id_has_to_be_ours() {
        assert!(same_ids("user", [1000; 4], 1000).is_ok());
        assert!(same_ids("user", [1000, 1000, 0, 1000], 1000).is_err());
    }
}
