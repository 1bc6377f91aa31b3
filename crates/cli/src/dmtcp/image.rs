//! `ckpt_PROGRAM_ID.dmtcp`: one image per computation, overwritten atomically at each checkpoint, and the
//! `dmtcp_restart_script.sh` beside it.

use crate::failure::Result;
use crate::state::{quote, remove_leftovers, replace_file};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The image of a computation and its restart script.
#[derive(Debug, Clone)]
pub struct DmtcpImage {
    path: PathBuf,
    interval_seconds: f64,
}

/// Name of the restart script.
pub const SCRIPT: &str = "dmtcp_restart_script.sh";

impl DmtcpImage {
    /// The image of a new computation in `folder`.
    pub fn new(folder: &Path, program: &str, computation: &str, interval_seconds: f64) -> DmtcpImage {
        let plain = |c: char| {
            if c.is_ascii_alphanumeric() || "._+-".contains(c) {
                c
            } else {
                '_'
            }
        };
        let name = Path::new(program)
            .file_name()
            .unwrap_or_default()
            .to_string_lossy();
        let name: String = name.chars().map(plain).take(64).collect();
        DmtcpImage {
            path: folder.join(format!("ckpt_{name}_{computation}.dmtcp")),
            interval_seconds,
        }
    }

    /// An existing one goes on under its name, in `folder` if another one is given.
    pub fn existing(image: &Path, folder: Option<&Path>, interval_seconds: f64) -> DmtcpImage {
        let path = match (folder, image.file_name()) {
            (Some(folder), Some(name)) => folder.join(name),
            _ => image.to_path_buf(),
        };
        DmtcpImage {
            path,
            interval_seconds,
        }
    }

    /// The interval with which the restart script restarts.
    pub fn set_interval(&mut self, seconds: f64) {
        self.interval_seconds = seconds;
    }

    /// Its path, absolute.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The image, which is complete under its name already, gets its restart script.
    pub fn commit(&self, _generation: u64) -> Result<()> {
        let folder = self.path.parent().unwrap_or(Path::new("/"));
        let script = folder.join(SCRIPT);
        // Another computation of this folder may be writing one now.
        remove_leftovers(&script, Duration::from_secs(60));
        replace_file(&script, self.script().as_bytes(), 0o755)
    }

    /// Works from any folder, any number of times. It finds the image beside itself, so that the folder
    /// can be moved.
    fn script(&self) -> String {
        let name = quote(&self.path.file_name().unwrap_or_default().to_string_lossy());
        let folder = quote(&self.path.parent().unwrap_or(Path::new("/")).to_string_lossy());
        let program = std::env::current_exe().unwrap_or_default();
        let program = quote(&program.to_string_lossy());
        let interval = self.interval_seconds.ceil();
        format!(
            "#!/bin/sh\n\
             # Written by rethaw at each checkpoint. Restarts the computation of this folder:\n\
             #   dmtcp_restart_script.sh [options of dmtcp_restart]\n\
             interval=${{DMTCP_CHECKPOINT_INTERVAL:-{interval}}}\n\
             folder=${{DMTCP_RESTART_DIR:-$(CDPATH= cd -- \"$(dirname -- \"$0\")\" && pwd)}}\n\
             image={name}\n\
             [ -e \"$folder/$image\" ] || folder={folder}\n\
             rethaw={program}\n\
             if [ -x \"$rethaw\" ]; then\n\
             \x20 exec \"$rethaw\" dmtcp_restart -i \"$interval\" \"$@\" \"$folder/$image\"\n\
             fi\n\
             exec dmtcp_restart -i \"$interval\" \"$@\" \"$folder/$image\"\n"
        )
    }
}

#[cfg(test)]
#[allow(clippy::expect_used)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_that_scripts_look_for() {
        let image = DmtcpImage::new(Path::new("/w"), "/usr/bin/python3.11", "0123456789abcdef", 60.0);
        assert_eq!(
            image.path(),
            Path::new("/w/ckpt_python3.11_0123456789abcdef.dmtcp")
        );
        let odd = DmtcpImage::new(Path::new("/w"), "./a b\n", "0123456789abcdef", 0.0);
        assert_eq!(odd.path(), Path::new("/w/ckpt_a_b__0123456789abcdef.dmtcp"));
    }

    #[test]
    fn a_restarted_image_keeps_its_name() {
        let image = Path::new("/w/ckpt_a_1.dmtcp");
        assert_eq!(DmtcpImage::existing(image, None, 0.0).path(), image);
        let moved = DmtcpImage::existing(image, Some(Path::new("/v")), 0.0);
        assert_eq!(moved.path(), Path::new("/v/ckpt_a_1.dmtcp"));
    }
}
