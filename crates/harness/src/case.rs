//! One test: its folder, its processes, its report.

use crate::{Failure, Finished, Job, Outcome, PATIENCE, Result, places, processes, wait_for};
use std::cell::RefCell;
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// A running test.
#[derive(Debug)]
pub struct Case {
    /// Folder of this test alone; the current folder of what it starts.
    pub folder: PathBuf,
    /// Where rethaw registers the computations of this test: a short path, for its sockets.
    runtime: PathBuf,
    tag: String,
    labels: RefCell<Vec<String>>,
}

/// Runs a test. On failure everything that its commands wrote is in the error, and its folder stays.
pub fn case(name: &str, body: impl FnOnce(&Case) -> Result<()>) -> Outcome {
    let case = Case::new(name)?;
    let result = body(&case);
    let report = if result.is_err() {
        case.report()
    } else {
        String::new()
    };
    let clean = processes::kill_tagged(&case.tag);
    let _ = fs::remove_dir_all(&case.runtime);
    match result {
        Ok(()) if !clean => Err(Failure::new("some processes of the test could not be ended")),
        Ok(()) => {
            if std::env::var_os("RETHAW_TEST_KEEP").is_none() {
                case.remove();
            }
            Ok(())
        }
        Err(failure) => Err(Failure::new(format!("{failure}\n{report}"))),
    }
}

impl Case {
    fn new(name: &str) -> Result<Case> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let short = format!(
            "rtest-{}-{}",
            std::process::id(),
            NUMBER.fetch_add(1, Ordering::Relaxed)
        );
        let case = Case {
            tag: format!("{name}.{}", std::process::id()),
            folder: places::work()?.join(name),
            runtime: std::env::temp_dir().join(short),
            labels: RefCell::default(),
        };
        case.remove();
        fs::create_dir_all(&case.folder)?;
        fs::DirBuilder::new().mode(0o700).create(&case.runtime)?;
        Ok(case)
    }

    fn remove(&self) {
        let _ = fs::remove_dir_all(&self.folder);
    }

    /// A path in the folder of this test.
    pub fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.folder.join(name)
    }

    /// Folder of the checkpoints.
    pub fn checkpoints(&self) -> PathBuf {
        self.path("ckpt")
    }

    /// A command in the folder of this test, marked as its own. It sees nothing of a surrounding batch job.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            if ["SLURM_", "SBATCH_", "DMTCP_", "RETHAW_"]
                .iter()
                .any(|prefix| text.starts_with(prefix))
            {
                command.env_remove(&name);
            }
        }
        command
            .current_dir(&self.folder)
            .env(processes::TAG, &self.tag)
            .env("XDG_RUNTIME_DIR", &self.runtime)
            .stdin(Stdio::null());
        command
    }

    /// `rethaw` with these arguments.
    pub fn rethaw<I: IntoIterator<Item: AsRef<OsStr>>>(&self, arguments: I) -> Result<Command> {
        let mut command = self.command(places::rethaw()?);
        command.args(arguments);
        Ok(command)
    }

    /// Starts a command; its output goes to `LABEL.out` and `LABEL.err` in the test's folder.
    pub fn start(&self, label: &str, mut command: Command) -> Result<Job> {
        let label = self.new_label(label);
        command.stdout(File::create(self.path(format!("{label}.out")))?);
        command.stderr(File::create(self.path(format!("{label}.err")))?);
        let child = command
            .spawn()
            .map_err(|e| Failure::from(e).within(format!("{command:?}")))?;
        Ok(Job {
            child,
            label,
            folder: self.folder.clone(),
            status: None,
        })
    }

    /// The second command of a name is called `NAME.2`.
    fn new_label(&self, label: &str) -> String {
        let mut labels = self.labels.borrow_mut();
        let before = labels
            .iter()
            .filter(|other| other.split('.').next() == Some(label))
            .count();
        let label = if before == 0 {
            label.to_string()
        } else {
            format!("{label}.{}", before + 1)
        };
        labels.push(label.clone());
        label
    }

    /// Runs a command to its end.
    pub fn run(&self, label: &str, command: Command) -> Result<Finished> {
        self.run_within(label, command, PATIENCE)
    }

    /// Runs a command to its end, which must come within this time.
    pub fn run_within(&self, label: &str, command: Command, limit: Duration) -> Result<Finished> {
        self.start(label, command)?.wait(limit)
    }

    /// Waits until this file is there, and returns its text.
    pub fn wait_for_file(&self, path: &Path, limit: Duration) -> Result<String> {
        wait_for(&format!("{} to appear", path.display()), limit, || {
            Ok(fs::read_to_string(path).ok())
        })
    }

    /// Living processes of this test.
    pub fn processes(&self) -> Vec<processes::Process> {
        processes::tagged(&self.tag)
    }

    /// SIGKILL to every process of this test.
    pub fn kill_all(&self) -> Result<()> {
        if processes::kill_tagged(&self.tag) {
            return Ok(());
        }
        Err(Failure::new(format!(
            "cannot end these processes: {:?}",
            self.processes()
        )))
    }

    /// Fails unless no process of this test is left soon.
    pub fn ensure_nothing_runs(&self) -> Result<()> {
        let gone = wait_for("end of all processes", Duration::from_secs(10), || {
            Ok(self.processes().is_empty().then_some(()))
        });
        gone.map_err(|failure| failure.within(format!("{:?}", self.processes())))
    }

    /// What the commands of this test wrote, what ran at the end, and where its folder is.
    fn report(&self) -> String {
        let mut text = String::new();
        for label in self.labels.borrow().iter() {
            for suffix in ["out", "err"] {
                let name = format!("{label}.{suffix}");
                let bytes = fs::read(self.path(&name)).unwrap_or_default();
                if !bytes.is_empty() {
                    let _ = writeln!(text, "--- {name}\n{}", tail(&String::from_utf8_lossy(&bytes)));
                }
            }
        }
        for process in self.processes() {
            let _ = writeln!(
                text,
                "--- still running: {} {} ({})",
                process.pid, process.name, process.state
            );
        }
        let _ = write!(text, "--- folder: {}", self.folder.display());
        text
    }
}

/// The last lines of a text.
fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(40)..].join("\n")
}
