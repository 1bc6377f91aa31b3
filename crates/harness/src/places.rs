//! Where things are.

use crate::{Failure, Result};
use std::env;
use std::path::{Path, PathBuf};

/// The source tree that this crate was compiled from.
pub fn source() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.ancestors().nth(2).unwrap_or(manifest).to_path_buf()
}

/// `target/PROFILE`, found from the running binary (`target/PROFILE/deps/…` or `target/PROFILE/…`).
fn profile_folder() -> Result<PathBuf> {
    let binary = env::current_exe()?;
    let folder = binary
        .parent()
        .ok_or_else(|| Failure::new("the test binary has no folder"))?;
    let folder = if folder.ends_with("deps") {
        folder.parent().unwrap_or(folder)
    } else {
        folder
    };
    Ok(folder.to_path_buf())
}

fn from_environment(variable: &str, below_target: &str) -> Result<PathBuf> {
    match env::var_os(variable) {
        Some(path) => Ok(PathBuf::from(path)),
        None => Ok(profile_folder()?.join("..").join(below_target)),
    }
}

/// The `rethaw` to test.
pub fn rethaw() -> Result<PathBuf> {
    let path = match env::var_os("RETHAW_TEST_BIN") {
        Some(path) => PathBuf::from(path),
        None => profile_folder()?.join("rethaw"),
    };
    if !path.exists() {
        return Err(Failure::new(format!(
            "{} is not there: build it (cargo build -p rethaw) or set RETHAW_TEST_BIN",
            path.display()
        )));
    }
    Ok(path.canonicalize()?)
}

/// Folder of the compiled test programs.
pub fn programs() -> Result<PathBuf> {
    from_environment("RETHAW_TEST_PROGRAMS", "test-programs")
}

/// A Python environment with the NumPy of pip.
pub fn venv() -> Result<PathBuf> {
    from_environment("RETHAW_TEST_VENV", "test-venv")
}

/// Folder under which every test has one of its own.
pub fn work() -> Result<PathBuf> {
    let path = from_environment("RETHAW_TEST_WORK", "test-work")?;
    std::fs::create_dir_all(&path)?;
    Ok(path.canonicalize()?)
}
