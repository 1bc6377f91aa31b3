//! The checkpoint folder of one computation.
//!
//! ```text
//! ckpt-00000007.rethaw     image of generation 7 (ckpt-00000007-0003.rethaw: of agent 3 of several)
//! ckpt-00000007.manifest   commits generation 7: written last, removed first
//! finished                 the program has ended by itself; how, for people
//! .NAME.PID-N.partial      being written, or left by a writer that died
//! ```
//!
//! A generation exists from the rename of its manifest to the manifest's removal; an image without a
//! manifest does not exist. Hence a reader at the same time, or after a crash at any step, sees each
//! generation whole or not at all.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use crate::partial::{self, Partial, Unlocked};
use crate::record::{ManifestImageV1, ManifestV1};
use crate::{Error, ImageReader, Result, fault, manifest};

const FINISHED: &str = "finished";
/// Most of a `finished` file that is read.
const MAX_FINISHED: u64 = 64 << 10;

/// The checkpoint folder of one computation.
#[derive(Debug, Clone)]
pub struct Folder {
    path: PathBuf,
}

/// A complete checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Generation {
    /// Its number.
    pub number: u64,
    /// Identity of the computation.
    pub computation: String,
    /// Its images, by agent number.
    pub images: Vec<ImageFile>,
}

/// An image of a complete checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageFile {
    /// Where it is.
    pub path: PathBuf,
    /// Size in bytes.
    pub bytes: u64,
    /// Checksum of its header.
    pub header_checksum: u64,
}

impl Generation {
    /// Size of all its images.
    pub fn bytes(&self) -> u64 {
        self.images.iter().map(|image| image.bytes).sum()
    }
}

impl ImageFile {
    /// Opens it, and checks that it is the very image that was committed.
    pub fn open(&self) -> Result<ImageReader> {
        let reader = ImageReader::open(&self.path)?;
        if reader.header_checksum() != self.header_checksum {
            return Err(Error::damaged(
                &self.path,
                "is not the image that its manifest was written for",
            ));
        }
        Ok(reader)
    }
}

/// What a folder holds.
#[derive(Debug, Default)]
pub struct Survey {
    /// Complete checkpoints, newest first.
    pub complete: Vec<Generation>,
    /// Checkpoints that were complete once and are not any more, newest first, and why.
    pub damaged: Vec<(u64, Error)>,
}

impl Folder {
    /// An existing folder.
    pub fn open(path: &Path) -> Result<Folder> {
        let is_folder = fs::metadata(path)
            .map_err(|e| Error::io("open", path, e))?
            .is_dir();
        if !is_folder {
            return Err(Error::foreign(path, "checkpoint folder"));
        }
        Ok(Folder {
            path: path.to_owned(),
        })
    }

    /// The folder, made if need be (mode 0700, with what is above it).
    pub fn create(path: &Path) -> Result<Folder> {
        let missing: Vec<&Path> = path.ancestors().take_while(|folder| !folder.exists()).collect();
        fault::point()
            .and_then(|()| DirBuilder::new().recursive(true).mode(0o700).create(path))
            .map_err(|e| Error::io("create folder", path, e))?;
        // A new folder is as durable as its name in the one above.
        for folder in missing
            .into_iter()
            .filter(|folder| !folder.as_os_str().is_empty())
        {
            partial::sync_folder(partial::folder_of(folder))?;
        }
        Folder::open(path)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where the image of a generation goes when there is one agent.
    pub fn image_path(&self, generation: u64) -> PathBuf {
        self.path.join(format!("ckpt-{generation:08}.rethaw"))
    }

    /// Where agent `agent`'s image of a generation goes when there are several agents.
    pub fn agent_image_path(&self, generation: u64, agent: u32) -> PathBuf {
        self.path.join(format!("ckpt-{generation:08}-{agent:04}.rethaw"))
    }

    fn manifest_path(&self, generation: u64) -> PathBuf {
        self.path.join(format!("ckpt-{generation:08}.manifest"))
    }

    /// The complete checkpoints, newest first.
    pub fn generations(&self) -> Result<Vec<Generation>> {
        Ok(self.survey()?.complete)
    }

    /// Number for the next checkpoint: higher than any that left a trace here, so that nothing is
    /// overwritten, not even what is damaged.
    pub fn next_generation(&self) -> Result<u64> {
        let names = self.names()?;
        let highest = names.images.keys().chain(&names.manifests).max();
        Ok(highest.map_or(1, |number| number.saturating_add(1)))
    }

    /// The complete checkpoints, and those that are damaged.
    pub fn survey(&self) -> Result<Survey> {
        let mut survey = Survey::default();
        for number in self.names()?.manifests.into_iter().rev() {
            match self.generation(number) {
                Ok(generation) => survey.complete.push(generation),
                // Pruned while we looked, which removes the manifest first.
                Err(_) if !self.manifest_path(number).exists() => {}
                Err(error) => survey.damaged.push((number, error)),
            }
        }
        Ok(survey)
    }

    /// Reads a manifest and checks that its images are there, with the right size.
    fn generation(&self, number: u64) -> Result<Generation> {
        let path = self.manifest_path(number);
        let record = manifest::read(&path)?;
        if record.generation != number || record.images.is_empty() {
            return Err(Error::damaged(&path, "is damaged: it is not of this generation"));
        }
        let images = record
            .images
            .into_iter()
            .map(|image| self.image_file(number, image, &path));
        Ok(Generation {
            number,
            computation: record.computation,
            images: images.collect::<Result<_>>()?,
        })
    }

    fn image_file(&self, number: u64, image: ManifestImageV1, manifest: &Path) -> Result<ImageFile> {
        // The name comes from a file: it must not lead elsewhere.
        if Name::parse(image.name.as_ref()) != Some(Name::Image(number)) {
            return Err(Error::damaged(
                manifest,
                "is damaged: it names a file that is not an image of it",
            ));
        }
        let path = self.path.join(&image.name);
        let found = fs::metadata(&path)
            .map_err(|e| Error::io("open", &path, e))?
            .len();
        if found != image.size {
            let what = format!("is damaged: it has {found} bytes instead of {}", image.size);
            return Err(Error::damaged(&path, what));
        }
        Ok(ImageFile {
            path,
            bytes: image.size,
            header_checksum: image.header_checksum,
        })
    }

    /// Makes a checkpoint of images that are finished in this folder, one of each agent. On error the
    /// checkpoint does not exist and older ones are as they were.
    pub fn commit(&self, generation: u64, images: &[impl AsRef<Path>]) -> Result<()> {
        let target = self.manifest_path(generation);
        let open = |path: &_| self.open_image(generation, AsRef::<Path>::as_ref(path));
        let mut readers = images.iter().map(open).collect::<Result<Vec<_>>>()?;
        readers.sort_by_key(|reader| reader.identity().agent);
        let Some(computation) = readers.first().map(|first| first.identity().computation.clone()) else {
            return Err(Error::refused(&target, "a checkpoint has at least one image"));
        };
        for (agent, reader) in readers.iter().enumerate() {
            let identity = reader.identity();
            let belongs = identity.generation == generation
                && identity.computation == computation
                && identity.agent as usize == agent
                && identity.agents as usize == readers.len();
            if !belongs {
                let what = format!("{} is of another checkpoint", reader.path().display());
                return Err(Error::refused(&target, what));
            }
        }
        let images = readers.iter().map(manifest_line).collect();
        manifest::write(
            &target,
            &ManifestV1 {
                computation,
                generation,
                images,
            },
        )
    }

    /// Opens an image of this folder that is about to be committed.
    fn open_image(&self, generation: u64, path: &Path) -> Result<ImageReader> {
        let name = path.file_name().unwrap_or_default();
        if Name::parse(name) != Some(Name::Image(generation)) {
            let what = format!("its name is not that of an image of generation {generation}");
            return Err(Error::refused(path, what));
        }
        ImageReader::open(&self.path.join(name))
    }

    /// Removes all but the newest `keep` (at least one) complete checkpoints, what is older than those,
    /// and what dead writers have left. A damaged checkpoint does not count, but stays while it is newer
    /// than the oldest that is kept.
    pub fn prune(&self, keep: usize) -> Result<()> {
        let survey = self.survey()?;
        if let Some(newest) = survey.complete.first() {
            let oldest_kept = survey
                .complete
                .iter()
                .take(keep.max(1))
                .next_back()
                .unwrap_or(newest);
            // An image without manifest that is newer than all may be on its way to be committed.
            self.remove_generations(|n| n < oldest_kept.number, newest.number)?;
        }
        let newest = survey.complete.first().map_or(0, |generation| generation.number);
        let of_ours = |name: &OsStr| Name::parse(name).is_some();
        let superseded = |name: &OsStr| Name::parse(name).is_some_and(|name| name.number() <= Some(newest));
        partial::remove_stale(&self.path, of_ours, Unlocked::Keep)?;
        partial::remove_stale(&self.path, superseded, Unlocked::Remove)
    }

    /// Removes the generations for which `unwanted` holds, and images below `uncommitted_below` that have
    /// no manifest. Manifests go first and durably: an image never vanishes from under its manifest.
    fn remove_generations(&self, unwanted: impl Fn(u64) -> bool, uncommitted_below: u64) -> Result<()> {
        let names = self.names()?;
        let mut removed = false;
        for number in names.manifests.iter().filter(|number| unwanted(**number)) {
            partial::remove(&self.manifest_path(*number))?;
            removed = true;
        }
        if removed {
            partial::sync_folder(&self.path)?;
        }
        for (number, images) in &names.images {
            let uncommitted = !names.manifests.contains(number) && *number < uncommitted_below;
            if unwanted(*number) || uncommitted {
                images.iter().try_for_each(|path| partial::remove(path))?;
            }
        }
        Ok(())
    }

    /// Notes that the program has ended by itself; `text` says how.
    pub fn mark_finished(&self, text: &str) -> Result<()> {
        let file = Partial::create(&self.path.join(FINISHED))?;
        file.write_at(text.as_bytes(), 0)?;
        file.publish()
    }

    /// How the program ended, if it has.
    pub fn finished(&self) -> Result<Option<String>> {
        let path = self.path.join(FINISHED);
        match manifest::read_bounded(&path, MAX_FINISHED) {
            Ok(text) => Ok(Some(String::from_utf8_lossy(&text).into_owned())),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(Error::io("read", &path, e)),
        }
    }

    /// Removes everything of ours, to start afresh. The finished mark goes last: a finished computation
    /// that was cleared in part must not come back to life.
    pub fn clear(&self) -> Result<()> {
        self.remove_generations(|_| true, u64::MAX)?;
        let of_ours = |name: &OsStr| Name::parse(name).is_some();
        partial::remove_stale(&self.path, of_ours, Unlocked::Remove)?;
        partial::sync_folder(&self.path)?;
        partial::remove(&self.path.join(FINISHED))?;
        partial::sync_folder(&self.path)
    }

    fn names(&self) -> Result<Names> {
        let cannot = |e| Error::io("read folder", &self.path, e);
        let mut names = Names::default();
        for entry in fs::read_dir(&self.path).map_err(cannot)? {
            let entry = entry.map_err(cannot)?;
            match Name::parse(&entry.file_name()) {
                Some(Name::Image(number)) => names.images.entry(number).or_default().push(entry.path()),
                Some(Name::Manifest(number)) => _ = names.manifests.insert(number),
                Some(Name::Finished) | None => {}
            }
        }
        Ok(names)
    }
}

fn manifest_line(reader: &ImageReader) -> ManifestImageV1 {
    ManifestImageV1 {
        name: reader
            .path()
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned(),
        size: reader.bytes(),
        header_checksum: reader.header_checksum(),
    }
}

/// The files of a folder by generation.
#[derive(Default)]
struct Names {
    manifests: BTreeSet<u64>,
    images: BTreeMap<u64, Vec<PathBuf>>,
}

/// What a file name of a checkpoint folder says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Name {
    Image(u64),
    Manifest(u64),
    Finished,
}

impl Name {
    fn parse(name: &OsStr) -> Option<Name> {
        let name = name.to_str()?;
        if name == FINISHED {
            return Some(Name::Finished);
        }
        let (stem, suffix) = name.strip_prefix("ckpt-")?.split_once('.')?;
        match suffix {
            "manifest" => number(stem, 8).map(Name::Manifest),
            "rethaw" => match stem.split_once('-') {
                None => number(stem, 8).map(Name::Image),
                Some((generation, agent)) => {
                    number(agent, 4)?;
                    number(generation, 8).map(Name::Image)
                }
            },
            _ => None,
        }
    }

    fn number(self) -> Option<u64> {
        match self {
            Name::Image(number) | Name::Manifest(number) => Some(number),
            Name::Finished => None,
        }
    }
}

/// A decimal number exactly as it is printed with at least `width` digits, so that no two names mean the
/// same number.
fn number(digits: &str, width: usize) -> Option<u64> {
    let number: u64 = digits.parse().ok()?;
    (format!("{number:0width$}") == digits).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::Name;

    #[test]
    fn only_our_names_mean_something() {
        let parse = |name: &str| Name::parse(name.as_ref());
        assert_eq!(parse("ckpt-00000012.rethaw"), Some(Name::Image(12)));
        assert_eq!(parse("ckpt-00000012-0003.rethaw"), Some(Name::Image(12)));
        assert_eq!(
            parse("ckpt-123456789.manifest"),
            Some(Name::Manifest(123_456_789))
        );
        assert_eq!(parse("finished"), Some(Name::Finished));
        for stranger in [
            "ckpt-12.rethaw",
            "ckpt-000000012.rethaw",
            "ckpt-+0000012.rethaw",
            "ckpt-00000012.rethaw.old",
            "ckpt-00000012-3.rethaw",
            "ckpt-00000012-0003.manifest",
            "ckpt-99999999999999999999.rethaw",
            "../ckpt-00000012.rethaw",
            "notes.txt",
        ] {
            assert_eq!(parse(stranger), None, "{stranger}");
        }
    }
}
