//! The self-checking programs, each under every way of checkpoint and restart.

use crate::{Case, Failure, Job, Outcome, PATIENCE, Result, case, ensure, image_edit, programs, wait_for};
use std::fs;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Duration;

mod refused;

pub use refused::Refusal;

/// What happens to a program between its `ready` and its `go`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Variant {
    /// No rethaw at all: the program itself is right.
    Alone,
    /// No rethaw, and the program spoils its own state: its checks find that.
    Damaged,
    /// Checkpoint that ends the computation, restart.
    Stopped,
    /// The same twice in a row: a restarted program is checkpointed and restarted.
    Twice,
    /// Two checkpoints, and the program goes on without a restart.
    Continued,
    /// Checkpoint, the program runs on, SIGKILL to everything, restart.
    Killed,
    /// As `Stopped`, in namespaces from the start.
    Isolated,
    /// As `Stopped`, with a compressed image.
    Compressed,
    /// As `Killed`, with the program standing still until everything is written.
    Paused,
}

impl Variant {
    fn options(self) -> &'static [&'static str] {
        match self {
            Variant::Isolated => &["--isolate"],
            Variant::Compressed => &["--compress", "zstd"],
            Variant::Paused => &["--pause-method", "stop"],
            _ => &[],
        }
    }
}

/// Runs a self-checking program through a variant.
pub fn run(program: &str, variant: Variant) -> Outcome {
    // Two at once could take each other's ports between a kill and the restart.
    static PORTS: Mutex<()> = Mutex::new(());
    let uses_ports = program.starts_with("socket_tcp") || program.starts_with("socket_udp");
    let _alone = uses_ports.then(|| PORTS.lock());
    case(&format!("{program}-{variant:?}").to_lowercase(), |case| {
        let trial = Trial::new(case, program)?;
        match variant {
            Variant::Alone => trial.alone(),
            Variant::Damaged => trial.damaged(),
            _ => trial.protected(variant),
        }
    })
}

/// A program under test in its case.
struct Trial<'a> {
    case: &'a Case,
    program: &'a str,
    binary: PathBuf,
    base: PathBuf,
}

/// Restarts a program from an image that says it was taken under a kernel with another vdso.
pub fn under_another_kernel(program: &str) -> Outcome {
    case(&format!("{program}-vdso"), |case| {
        let trial = Trial::new(case, program)?;
        let Start::Ready(mut job) = trial.ready(trial.launch(Variant::Stopped)?)? else {
            return Ok(());
        };
        case.checkpoint(&["--stop"])?;
        job.wait(PATIENCE)?;
        image_edit::derive(&case.checkpoints(), |process| {
            // With a function of another name, the two are not interchangeable.
            let vdso = process.memory.iter_mut().map(|memory| &mut memory.vdso);
            for code in vdso {
                let name = code.windows(14).position(|text| text == b"__vdso_getcpu\0");
                if let Some(at) = name {
                    code[at + 12] = b'X';
                }
            }
        })?;
        job = case.restart(&[])?;
        trial.pass(job)?;
        let said = fs::read_to_string(case.path("restart.err"))?;
        ensure!(
            said.contains("__vdso_getcpX"),
            "the old vdso was not bridged: {said}"
        );
        Ok(())
    })
}

/// What a restart cannot bring back it says; the program runs on all the same.
pub fn told(program: &str, word: &str) -> Outcome {
    case(&format!("{program}-told"), |case| {
        let trial = Trial::new(case, program)?;
        let Start::Ready(mut job) = trial.ready(trial.launch(Variant::Stopped)?)? else {
            return Ok(());
        };
        case.checkpoint(&["--stop"])?;
        job.wait(PATIENCE)?;
        trial.pass(case.restart(&[])?)?;
        let said = fs::read_to_string(case.path("restart.err"))?;
        ensure!(said.contains(word), "{said}");
        Ok(())
    })
}

/// The program said early that it cannot run here.
enum Start {
    Ready(Job),
    Skipped,
}

impl<'a> Trial<'a> {
    fn new(case: &'a Case, program: &'a str) -> Result<Trial<'a>> {
        Ok(Trial {
            case,
            program,
            binary: programs::binary(program)?,
            base: case.path("p"),
        })
    }

    fn file(&self, suffix: &str) -> PathBuf {
        self.base.with_extension(suffix)
    }

    fn alone(&self) -> Result<()> {
        let mut command = self.case.command(&self.binary);
        command.arg(&self.base);
        let Start::Ready(job) = self.ready(self.case.start("program", command)?)? else {
            return Ok(());
        };
        self.pass(job)
    }

    fn damaged(&self) -> Result<()> {
        let source = fs::read_to_string(programs::sources().join(format!("{}.c", self.program)));
        if source.is_ok_and(|text| !text.contains("DAMAGE(") && !text.contains("timed_wait_all")) {
            println!("SKIP: {} has no DAMAGE()", self.program);
            return Ok(());
        }
        let mut command = self.case.command(&self.binary);
        command.arg(&self.base).env("CHECK_BREAK", "1");
        let Start::Ready(mut job) = self.ready(self.case.start("program", command)?)? else {
            return Ok(());
        };
        fs::write(self.file("go"), "")?;
        let finished = job.wait(PATIENCE)?.exited(1)?;
        ensure!(
            finished.out.contains("FAIL"),
            "the program did not notice the damage"
        );
        Ok(())
    }

    fn protected(&self, variant: Variant) -> Result<()> {
        let Start::Ready(mut job) = self.ready(self.launch(variant)?)? else {
            return Ok(());
        };
        match variant {
            Variant::Continued => {
                self.case.checkpoint(&[])?;
                self.case.checkpoint(&[])?;
            }
            Variant::Killed | Variant::Paused => {
                self.case.checkpoint(&[])?;
                std::thread::sleep(Duration::from_millis(100));
                self.case.kill_all()?;
                job.wait(PATIENCE)?;
                job = self.case.restart(&[])?;
            }
            _ => {
                for _ in 0..if variant == Variant::Twice { 2 } else { 1 } {
                    self.case.checkpoint(&["--stop"])?;
                    job.wait(PATIENCE)?;
                    self.case.ensure_nothing_runs()?;
                    job = self.case.restart(&[])?;
                }
            }
        }
        self.pass(job)
    }

    fn launch(&self, variant: Variant) -> Result<Job> {
        self.case.launch(
            variant.options(),
            &[self.binary.as_os_str(), self.base.as_os_str()],
        )
    }

    /// Waits until the program says that it is set up.
    fn ready(&self, mut job: Job) -> Result<Start> {
        let ready = self.file("ready");
        let there = wait_for("the program to be ready", PATIENCE, || {
            Ok(if ready.exists() {
                Some(true)
            } else {
                job.ended()?.map(|_| false)
            })
        })?;
        if there {
            return Ok(Start::Ready(job));
        }
        let result = fs::read_to_string(self.file("result")).unwrap_or_default();
        ensure!(
            result.starts_with("SKIP"),
            "the program ended before it was ready: {}",
            result.trim_end()
        );
        println!("{}: {}", self.program, result.trim_end());
        Ok(Start::Skipped)
    }

    /// Tells the program to go on, and waits for its verdict.
    fn pass(&self, mut job: Job) -> Result<()> {
        fs::write(self.file("go"), "")?;
        let finished = job.wait(PATIENCE)?;
        let result = fs::read_to_string(self.file("result")).unwrap_or_default();
        if !result.starts_with("PASS") {
            return Err(Failure::new(format!(
                "verdict `{}`, {}",
                result.trim_end(),
                finished.status
            )));
        }
        let finished = finished.success()?;
        ensure!(
            finished.out.contains("PASS"),
            "the program's output did not get through: {:?}",
            finished.out
        );
        self.case.ensure_nothing_runs()
    }
}
