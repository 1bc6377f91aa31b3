//! Files that a computation has open or mapped, and what becomes of them between checkpoint and restart.
#![forbid(unsafe_code)]

use rethaw_harness::{Case, Outcome, PATIENCE, Result, STOPPED, case, ensure, ensure_equal, programs};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

const NEVER: &[&str] = &["-i", "never"];

/// The program `file_scratch`, stopped by a checkpoint, and where its files are.
struct Stopped<'a> {
    case: &'a Case,
    base: PathBuf,
    scratch: PathBuf,
}

impl<'a> Stopped<'a> {
    /// With its files in a volatile place.
    fn volatile(case: &'a Case) -> Result<Stopped<'a>> {
        Stopped::start(case, case.path("scratch"), &[], true, &[])
    }

    /// With its files beside the others, saved because it is asked for.
    fn saved(case: &'a Case) -> Result<Stopped<'a>> {
        Stopped::start(case, case.path("p.folder"), &["--save-open-files"], false, &[])
    }

    fn start(
        case: &'a Case,
        scratch: PathBuf,
        options: &[&str],
        volatile: bool,
        arguments: &[&str],
    ) -> Result<Stopped<'a>> {
        let base = case.path("p");
        let mut command = case.rethaw(["launch", "-i", "never", "--dir"])?;
        command.arg(case.checkpoints()).args(options).arg("--");
        command
            .arg(programs::binary("file_scratch")?)
            .arg(&base)
            .args(arguments);
        command.env_remove("TMPDIR");
        if volatile {
            fs::create_dir(&scratch)?;
            command.env("TMPDIR", &scratch);
        }
        let mut job = case.start("launch", command)?;
        case.wait_for_file(&base.with_extension("ready"), PATIENCE)?;
        case.checkpoint(&["--stop"])?;
        job.wait(PATIENCE)?.exited(STOPPED)?;
        let scratch = if volatile { scratch.join("folder") } else { scratch };
        Ok(Stopped { case, base, scratch })
    }

    fn file(&self, name: &str) -> PathBuf {
        self.scratch.join(name)
    }

    /// Restarts it and has it check its files. Gives what rethaw said.
    fn passes(&self, options: &[&str]) -> Result<String> {
        let mut job = self.case.restart(&[NEVER, options].concat())?;
        fs::write(self.base.with_extension("go"), "")?;
        let finished = job.wait(PATIENCE)?.success()?;
        ensure!(finished.out.contains("PASS"), "{}", finished.out);
        self.case.ensure_nothing_runs()?;
        Ok(finished.err)
    }
}

fn replace(path: &Path, text: &str) -> Result<()> {
    fs::remove_file(path)?;
    Ok(fs::write(path, text)?)
}

#[test]
fn scratch_that_is_gone_is_made_again() -> Outcome {
    case("scratch-gone", |case| {
        let stopped = Stopped::volatile(case)?;
        fs::remove_dir_all(case.path("scratch/folder"))?;
        stopped.passes(&[]).map(drop)
    })
}

#[test]
fn scratch_that_a_restart_made_is_known_to_the_next() -> Outcome {
    case("scratch-again", |case| {
        let stopped = Stopped::volatile(case)?;
        fs::remove_dir_all(&stopped.scratch)?;
        let mut job = case.restart(NEVER)?;
        case.wait_until_protected()?;
        case.kill_all()?;
        job.wait(PATIENCE)?;
        fs::write(stopped.file("data"), "the first restart went on")?;
        let said = stopped.passes(&[])?;
        ensure!(said.contains("back to its contents"), "{said}");
        Ok(())
    })
}

#[test]
fn scratch_that_was_written_to_gets_its_contents_back() -> Outcome {
    case("scratch-changed", |case| {
        let stopped = Stopped::volatile(case)?;
        let file = fs::File::options().write(true).open(stopped.file("data"))?;
        file.set_len(70 << 20)?;
        std::os::unix::fs::FileExt::write_all_at(&file, b"later", 10_000_000)?;
        let refused = case.restart(&["-i", "never", "--files", "refuse"])?;
        { refused }.wait(PATIENCE)?.refused(&["has changed"])?;
        stopped.passes(&[])?;
        let cut = fs::metadata(stopped.file("data.rethaw-cut.1"))?.len();
        ensure_equal!(cut, (6 << 20) - 3, "bytes that were cut off");
        Ok(())
    })
}

#[test]
fn another_file_in_its_place_is_not_touched() -> Outcome {
    case("scratch-other", |case| {
        let stopped = Stopped::volatile(case)?;
        replace(&stopped.file("data"), "somebody else's")?;
        let refused = case.restart(NEVER)?.wait(PATIENCE)?.refused(&["another file"])?;
        ensure_equal!(refused.out, "", "output of the program");
        ensure_equal!(
            fs::read_to_string(stopped.file("data"))?,
            "somebody else's",
            "text"
        );
        fs::remove_file(stopped.file("data"))?;
        stopped.passes(&[]).map(drop)
    })
}

#[test]
fn what_is_only_read_comes_from_the_image_when_it_has_changed() -> Outcome {
    case("scratch-read-only", |case| {
        let stopped = Stopped::volatile(case)?;
        replace(&stopped.file("input"), "new")?;
        let said = stopped.passes(&[])?;
        ensure!(said.contains("old contents"), "{said}");
        ensure_equal!(fs::read_to_string(stopped.file("input"))?, "new", "text");
        Ok(())
    })
}

#[test]
fn scratch_may_be_elsewhere() -> Outcome {
    case("scratch-moved", |case| {
        for gone in [false, true] {
            let stopped = Stopped::volatile(case)?;
            let moved = case.path("moved");
            fs::create_dir(&moved)?;
            if gone {
                fs::remove_dir_all(&stopped.scratch)?;
            } else {
                fs::rename(&stopped.scratch, moved.join("folder"))?;
            }
            let map = format!("{}={}", case.path("scratch").display(), moved.display());
            stopped.passes(&["--map", &map])?;
            ensure!(moved.join("folder/data").exists(), "nothing in the new place");
            ensure!(!stopped.scratch.exists(), "something in the old place");
            for folder in [case.path("scratch"), moved, case.checkpoints()] {
                fs::remove_dir_all(folder)?;
            }
            for suffix in ["go", "ready", "result"] {
                fs::remove_file(stopped.base.with_extension(suffix))?;
            }
        }
        Ok(())
    })
}

#[test]
fn a_failed_restart_leaves_no_files() -> Outcome {
    case("scratch-failed", |case| {
        let stopped = Stopped::volatile(case)?;
        fs::remove_dir_all(&stopped.scratch)?;
        fs::remove_dir_all(case.path("scratch"))?;
        fs::write(case.path("scratch"), "a file where the folder was")?;
        let said = stopped.passes(&[]);
        ensure!(said.is_err(), "files in a file: {said:?}");
        ensure_equal!(
            fs::read_to_string(case.path("scratch"))?,
            "a file where the folder was",
            "text"
        );
        case.ensure_nothing_runs()
    })
}

#[test]
fn open_files_are_saved_when_asked_for() -> Outcome {
    case("save-open-files", |case| {
        let stopped = Stopped::saved(case)?;
        fs::remove_dir_all(&stopped.scratch)?;
        stopped.passes(&[]).map(drop)
    })
}

#[test]
fn a_program_that_was_replaced_goes_on_when_it_is_saved() -> Outcome {
    case("save-program", |case| {
        let (base, copy) = (case.path("p"), case.path("program"));
        fs::copy(programs::binary("file_offset")?, &copy)?;
        let options = ["-i", "never", "--save-open-files"];
        let mut job = case.launch(&options, &[copy.as_os_str(), base.as_os_str()])?;
        case.wait_for_file(&base.with_extension("ready"), PATIENCE)?;
        case.checkpoint(&["--stop"])?;
        job.wait(PATIENCE)?.exited(STOPPED)?;
        replace(&copy, "another program")?;
        let mut job = case.restart(NEVER)?;
        fs::write(base.with_extension("go"), "")?;
        let finished = job.wait(PATIENCE)?.success()?;
        ensure!(finished.out.contains("PASS"), "{}", finished.out);
        Ok(())
    })
}

/// Somebody who removes what he can in a folder, again and again, until he is told to stop.
struct Remover {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Remover {
    fn start(folder: PathBuf, delay: Duration) -> Remover {
        let stop = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            std::thread::sleep(delay);
            while !told.load(Ordering::Relaxed) {
                for name in ["data", "input"] {
                    let _ = fs::remove_file(folder.join(name));
                }
                std::thread::yield_now();
            }
        });
        Remover {
            stop,
            thread: Some(thread),
        }
    }
}

impl Drop for Remover {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

#[test]
fn files_may_be_removed_at_any_moment_of_a_restart() -> Outcome {
    case("removed-meanwhile", |case| {
        let stopped = Stopped::start(case, case.path("scratch"), &[], true, &["removed"])?;
        let kept = case.path("kept.rethaw");
        fs::copy(case.images()?.pop().unwrap_or_default(), &kept)?;
        let names = ["data", "input"].map(|name| stopped.file(name));
        for name in &names {
            fs::hard_link(name, name.with_extension("kept"))?;
        }
        fs::write(stopped.base.with_extension("go"), "")?;
        for round in 0..16 {
            for name in &names {
                let _ = fs::remove_file(name);
                fs::hard_link(name.with_extension("kept"), name)?;
            }
            let remover = Remover::start(stopped.scratch.clone(), Duration::from_millis(round * 8));
            let mut command = case.rethaw(["restart", "-i", "never"])?;
            command.arg(&kept);
            let finished = case.run("restart", command)?.success()?;
            drop(remover);
            ensure!(finished.out.contains("PASS"), "{}", finished.out);
        }
        Ok(())
    })
}

/// As programs save their state: written under another name, then renamed. It also reads a file that is gone later.
const RENAMES: &str = "exec 3>state.tmp 4<input; echo one >&3; echo >ready
until [ -e go ]; do sleep 0.05; done; echo two >&3; cat <&4 >&3; exec 3>&-; mv state.tmp state";

#[test]
fn a_file_that_was_renamed_after_the_checkpoint_is_made_again() -> Outcome {
    case("renamed", |case| {
        fs::write(case.path("input"), "input\n")?;
        let words = ["sh", "-c", RENAMES].map(std::ffi::OsStr::new);
        let mut job = case.launch(NEVER, &words)?;
        case.wait_for_file(&case.path("ready"), PATIENCE)?;
        case.checkpoint(&[])?;
        let image = case.images()?.pop().unwrap_or_default();
        let kept = case.path("kept.rethaw");
        fs::copy(image, &kept)?;
        fs::write(case.path("go"), "")?;
        job.wait(PATIENCE)?.success()?;
        let text = fs::read_to_string(case.path("state"))?;
        ensure_equal!(text, "one\ntwo\ninput\n", "text");
        fs::remove_file(case.path("state"))?;
        fs::remove_file(case.path("input"))?;
        let mut command = case.rethaw(["restart", "-i", "never"])?;
        command.arg(&kept);
        case.run("restart", command)?.success()?;
        ensure_equal!(fs::read_to_string(case.path("state"))?, text, "text");
        ensure!(!case.path("input").exists(), "the input is back");
        Ok(())
    })
}

#[test]
fn a_small_file_that_was_overwritten_gets_its_contents_back() -> Outcome {
    case("overwritten", |case| {
        let script =
            "exec 3<>state; echo one >&3; echo >ready; until [ -e go ]; do sleep 0.05; done; cat state";
        let mut job = case.launch(NEVER, &["sh", "-c", script].map(std::ffi::OsStr::new))?;
        case.wait_for_file(&case.path("ready"), PATIENCE)?;
        case.checkpoint(&["--stop"])?;
        job.wait(PATIENCE)?.exited(STOPPED)?;
        fs::write(case.path("state"), "x")?;
        fs::write(case.path("go"), "")?;
        let finished = case.restart(NEVER)?.wait(PATIENCE)?.success()?;
        ensure_equal!(finished.out, "one\n", "text");
        Ok(())
    })
}

/// Both ends of a named pipe with bytes in it, the way that Open MPI's launcher has one, and a folder beside it that the program
/// knows by its name.
#[test]
fn a_named_pipe_that_is_gone_is_made_again() -> Outcome {
    case("named-pipe", |case| {
        let folder = case.path("scratch/inner");
        fs::create_dir_all(folder.join("beside/below"))?;
        let script = "mkfifo scratch/inner/pipe; chmod 640 scratch/inner/pipe; exec 3<>scratch/inner/pipe; echo one >&3
echo >ready; until [ -e go ]; do sleep 0.05; done; echo two >scratch/inner/pipe; head -n 2 <&3; echo three >scratch/inner/beside/below/file";
        let mut command = case.rethaw(["launch", "-i", "never", "--dir"])?;
        command.arg(case.checkpoints()).args(["--", "sh", "-c", script]);
        command.env("TMPDIR", case.path("scratch"));
        let mut job = case.start("launch", command)?;
        case.wait_for_file(&case.path("ready"), PATIENCE)?;
        case.checkpoint(&["--stop"])?;
        job.wait(PATIENCE)?.exited(STOPPED)?;
        fs::remove_dir_all(&folder)?;
        fs::write(case.path("go"), "")?;
        let finished = case.restart(NEVER)?.wait(PATIENCE)?.success()?;
        ensure_equal!(finished.out, "one\ntwo\n", "text");
        let text = fs::read_to_string(folder.join("beside/below/file"))?;
        ensure_equal!(text, "three\n", "text of the file beside");
        let mode = fs::metadata(folder.join("pipe"))?.permissions().mode();
        ensure_equal!(mode & 0o7777, 0o640, "permissions");
        Ok(())
    })
}
