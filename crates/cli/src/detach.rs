//! `--detach`: the same command line again in the background, in a session of its own.
//!
//! The background process gets the writing end of a pipe as its stdin; it writes a line once the
//! computation runs. Its end without a line is a failure.

use crate::failure::{Context, Failure, Result};
use crate::message;
use crate::options::ProtectArgs;
use crate::start::checkpoint_folder;
use std::ffi::OsString;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Mutex;

/// Hidden option that tells the background process what it is.
const MARK: &str = "--in-background";

static READY: Mutex<Option<File>> = Mutex::new(None);

/// Where the background process tells that the computation runs; none in the foreground.
pub fn ready() -> Option<File> {
    READY
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner())
        .take()
}

/// In the foreground with `--detach`: starts the background process and returns what to exit with.
/// In the background: makes it one and returns none.
pub fn detach(args: &ProtectArgs) -> Result<Option<ExitCode>> {
    if args.in_background {
        become_background()?;
        return Ok(None);
    }
    if !args.detach {
        return Ok(None);
    }
    start_background(&checkpoint_folder(args.dir.as_deref())).map(Some)
}

fn become_background() -> Result<()> {
    let pipe = rustix::io::fcntl_dupfd_cloexec(std::io::stdin().as_fd(), 3)
        .context(|| "keep the pipe to the foreground".to_string())?;
    let nothing = File::open("/dev/null").context(|| "open /dev/null".to_string())?;
    rustix::stdio::dup2_stdin(&nothing).context(|| "replace stdin".to_string())?;
    let _ = rustix::process::setsid();
    *READY.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = Some(File::from(pipe));
    Ok(())
}

fn start_background(folder: &Path) -> Result<ExitCode> {
    rethaw_image::Folder::create(folder)?;
    let mut log = open_log(folder)?;
    let log_start = log.seek(SeekFrom::End(0)).unwrap_or(0);
    let (read, write) = std::io::pipe().context(|| "make a pipe".to_string())?;
    let mut child = spawn(&log, OwnedFd::from(write))?;
    let mut line = String::new();
    BufReader::new(read)
        .read_line(&mut line)
        .context(|| "wait for the background process".to_string())?;
    match line.trim().split_once(' ') {
        Some((computation, pid)) => {
            message::note(format!(
                "computation {computation} runs in the background (process {pid})"
            ));
            Ok(ExitCode::SUCCESS)
        }
        None => Ok(report_early_end(&mut child, &mut log, log_start)),
    }
}

fn open_log(folder: &Path) -> Result<File> {
    let path = folder.join("output.log");
    let mut options = File::options();
    let options = options.read(true).append(true).create(true).mode(0o600);
    options.open(&path).context(|| format!("open {}", path.display()))
}

fn spawn(log: &File, pipe: OwnedFd) -> Result<Child> {
    let copy = |log: &File| log.try_clone().context(|| "copy a descriptor".to_string());
    let myself = std::env::current_exe().context(|| "find the rethaw binary".to_string())?;
    let mut command = Command::new(myself);
    if let Some(name) = std::env::args_os().next() {
        std::os::unix::process::CommandExt::arg0(&mut command, name);
    }
    command
        .args(marked(std::env::args_os().skip(1)))
        .stdin(Stdio::from(pipe));
    if !is_lasting(std::io::stdout()) {
        command.stdout(copy(log)?);
    }
    if !is_lasting(std::io::stderr()) {
        command.stderr(copy(log)?);
    }
    command.spawn().map_err(|source| Failure::Os {
        operation: "start in the background".to_string(),
        source,
    })
}

/// A file outlives the foreground; a terminal may be closed, and the reader of a pipe waits for its end.
fn is_lasting(output: impl AsFd) -> bool {
    use rustix::fs::FileType;
    let kind = rustix::fs::fstat(&output).map(|stat| FileType::from_raw_mode(stat.st_mode));
    match kind {
        Ok(FileType::RegularFile) => true,
        Ok(FileType::CharacterDevice) => !rustix::termios::isatty(&output),
        _ => false,
    }
}

/// The same words, with the mark after the subcommand; only options without values come before that.
fn marked(words: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut words: Vec<OsString> = words.collect();
    let subcommand = words
        .iter()
        .position(|word| !word.as_encoded_bytes().starts_with(b"-"));
    words.insert(subcommand.map_or(words.len(), |at| at + 1), MARK.into());
    words
}

fn report_early_end(child: &mut Child, log: &mut File, log_start: u64) -> ExitCode {
    let status = child.wait().ok().and_then(|status| status.code()).unwrap_or(125);
    let mut said = String::new();
    let _ = log
        .seek(SeekFrom::Start(log_start))
        .and_then(|_| log.read_to_string(&mut said));
    for line in said.lines() {
        eprintln!("{line}");
    }
    ExitCode::from(status as u8)
}

#[cfg(test)]
#[allow(clippy::expect_used)]
mod tests {
    use super::*;

    #[test]
    fn the_mark_goes_to_rethaw_and_not_to_the_program() {
        let words = ["-q", "run", "--detach", "--", "run", "x"].map(OsString::from);
        assert_eq!(
            marked(words.into_iter()),
            ["-q", "run", MARK, "--detach", "--", "run", "x"]
        );
    }
}
