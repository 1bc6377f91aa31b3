//! Files that were open for writing go back to their size at the checkpoint.

use super::Held;
use crate::Result;
use crate::error::{Context, Error};
use crate::restart::{Files, Places};
use rethaw_image::record::{DescriptionV1, RegularV1};
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Whether the program could write to it.
fn writable(record: &DescriptionV1) -> bool {
    record.flags & libc::O_ACCMODE as u32 != libc::O_RDONLY as u32 && record.flags & libc::O_PATH as u32 == 0
}

/// What is to be done with a file that was open for writing, found out before anything is changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rewind {
    path: PathBuf,
    size: u64,
}

/// Plans the rewinding of one file.
///
/// # Errors
/// When the file is gone or shorter than it was: then data is missing that the program has written.
pub(crate) fn plan_rewind(
    record: &DescriptionV1,
    regular: &RegularV1,
    files: Files,
    places: &Places,
    held: &mut Held,
    warnings: &mut Vec<String>,
) -> Result<Option<Rewind>> {
    let Some(saved) = &regular.file else {
        return Ok(None);
    };
    // What is in the image itself is decided elsewhere (object.rs), or simply made again.
    if regular.object != 0 || regular.deleted || !regular.folders.is_empty() {
        return Ok(None);
    }
    let path = places.path(&saved.path);
    // A link that is open itself (O_PATH) is opened by its name.
    let now = match regular.link_target.is_empty() {
        true => held.look(&path),
        false => fs::symlink_metadata(&path),
    };
    let Ok(now) = now else {
        return Err(Error::CannotRestart {
            what: format!("{} is gone, which the program had open", path.display()),
            remedy: "put it back, or tell where it is now with --map OLD=NEW".to_owned(),
        });
    };
    if !now.is_file() || !writable(record) || files == Files::Keep {
        return Ok(None);
    }
    if now.size() < saved.size {
        return Err(Error::CannotRestart {
            what: format!(
                "{} has {} bytes, but had {} at the checkpoint",
                path.display(),
                now.size(),
                saved.size
            ),
            remedy: "put the file back as it was, or take it as it is with --files keep".to_owned(),
        });
    }
    let touched = saved.mtime_ns != crate::mtime_ns(&now);
    if files == Files::Refuse && (now.size() != saved.size || touched) {
        return Err(Error::CannotRestart {
            what: format!("{} has changed since the checkpoint", path.display()),
            remedy: "put the file back as it was, or allow the change with --files rewind".to_owned(),
        });
    }
    let appends = record.flags & libc::O_APPEND as u32 != 0;
    if now.size() == saved.size && touched && !appends {
        warnings.push(format!(
            "{} was written to since the checkpoint, but has the same size: it is taken as it is",
            path.display()
        ));
    }
    Ok((now.size() > saved.size).then_some(Rewind {
        path,
        size: saved.size,
    }))
}

/// Puts a file back to its size, keeping what is cut off in a side file. Gives what was done.
pub(crate) fn rewind(rewind: &Rewind, held: &Held) -> Result<String> {
    let Rewind { path, size } = rewind;
    let kept = cut(path, *size, held)?;
    Ok(format!(
        "{} is back to its {size} bytes of the checkpoint{kept}",
        path.display()
    ))
}

/// Cuts a file, keeping what is cut off in a side file, unless somebody has removed the file meanwhile. Tells where.
pub(crate) fn cut(path: &Path, size: u64, held: &Held) -> Result<String> {
    let name = || format!("cannot put {} back to {size} bytes", path.display());
    let mut file = held.open_to_write(path).context(name)?;
    let mut kept = String::new();
    if file.metadata().context(name)?.nlink() > 0 {
        let (side_path, mut side) = side_file(path).context(name)?;
        file.seek(io::SeekFrom::Start(size)).context(name)?;
        io::copy(&mut Read::by_ref(&mut file), &mut side).context(name)?;
        side.flush().and_then(|()| side.sync_all()).context(name)?;
        kept = format!("; the bytes after them are kept in {}", side_path.display());
    }
    file.set_len(size).context(name)?;
    Ok(kept)
}

/// A new file `NAME.rethaw-cut.N` beside `path`.
fn side_file(path: &Path) -> io::Result<(PathBuf, File)> {
    for number in 1.. {
        let mut name: OsString = path.as_os_str().to_owned();
        name.push(format!(".rethaw-cut.{number}"));
        let side = PathBuf::from(name);
        match File::options().write(true).create_new(true).open(&side) {
            Ok(file) => return Ok((side, file)),
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
            Err(e) => return Err(e),
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::time::{Duration, SystemTime};

    /// What is planned, and the warnings, for a file that was changed in place after the checkpoint.
    fn plan_for_changed(flags: i32, files: Files) -> (Result<Option<Rewind>>, Vec<String>) {
        let path =
            std::env::temp_dir().join(format!("rethaw-rewind-{}-{flags}-{files:?}", std::process::id()));
        fs::write(&path, "text").unwrap();
        let regular = RegularV1 {
            file: Some(crate::file_identity(&path)),
            ..RegularV1::default()
        };
        let later = SystemTime::now() + Duration::from_secs(5);
        let file = File::options().write(true).open(&path).unwrap();
        file.set_modified(later).unwrap();
        let record = DescriptionV1 {
            flags: flags as u32,
            ..DescriptionV1::default()
        };
        let mut warnings = Vec::new();
        let planned = plan_rewind(
            &record,
            &regular,
            files,
            &Places::default(),
            &mut Held::default(),
            &mut warnings,
        );
        fs::remove_file(&path).unwrap();
        (planned, warnings)
    }

    #[test]
    fn a_file_that_was_changed_in_place_is_told_or_refused() {
        let (planned, warnings) = plan_for_changed(libc::O_RDWR, Files::Rewind);
        assert_eq!((planned.unwrap(), warnings.len()), (None, 1));
        let (planned, warnings) = plan_for_changed(libc::O_WRONLY | libc::O_APPEND, Files::Rewind);
        assert_eq!((planned.unwrap(), warnings.len()), (None, 0));
        assert!(plan_for_changed(libc::O_RDWR, Files::Refuse).0.is_err());
    }
}
