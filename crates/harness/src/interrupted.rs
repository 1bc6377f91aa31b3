//! A computation that is killed again and again ends with the results of one that was left alone.

use crate::{Case, Job, Outcome, PATIENCE, Random, Result, STOPPED, case, ensure, wait_for};
use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// A program whose command line has the name of its log, and what it needs around it.
#[derive(Debug, Clone)]
pub struct Subject {
    /// Name of the case.
    pub name: String,
    /// Words before the log.
    pub before: Vec<OsString>,
    /// Words after the log.
    pub after: Vec<OsString>,
    /// Variables of its environment.
    pub environment: Vec<(&'static str, String)>,
    /// Options of `rethaw run`.
    pub options: Vec<&'static str>,
    /// How it is interrupted.
    pub interruption: Interruption,
    /// A command that is run before, in the same folder, without rethaw; may be empty.
    pub prepare: Vec<OsString>,
    /// A file that it makes once it can be restarted elsewhere (MPI_Init is over, say): before, no checkpoint is taken.
    pub sign: Option<&'static str>,
}

/// How a computation is interrupted, at a random moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Interruption {
    /// SIGKILL to the program and to rethaw, some time after the last checkpoint.
    #[default]
    Kill,
    /// The same, and what it had in /tmp and /dev/shm is removed, as where it goes on on another machine.
    Move,
    /// A checkpoint that ends it: for programs that do to files, after a checkpoint, what cannot be done twice.
    Stop,
}

/// Whether a run is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kill {
    /// It comes to its end.
    Never,
    /// At a random moment.
    AnyTime,
    /// At a random moment, once there is a checkpoint.
    WithCheckpoint,
}

/// How a run ended.
enum End {
    /// It came to its end by itself.
    Finished,
    /// It was killed, and goes on from a checkpoint.
    Killed,
    /// It was killed before it had a checkpoint.
    KilledTooSoon,
}

/// Kills before the first checkpoint that are taken for bad luck; then the first checkpoint is waited for.
const TOO_SOON: usize = 3;

/// Kills wanted: `RETHAW_TEST_KILLS`, else 50.
pub fn kills() -> usize {
    std::env::var("RETHAW_TEST_KILLS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(50)
}

impl Subject {
    fn words(&self, log: &str) -> Vec<OsString> {
        [self.before.clone(), vec![log.into()], self.after.clone()].concat()
    }

    fn environment(&self, command: &mut Command) {
        for (name, value) in &self.environment {
            command.env(name, value);
        }
    }

    /// Makes a folder to run in.
    fn new_folder(&self, case: &Case, folder: &Path) -> Result<()> {
        fs::create_dir(folder)?;
        if let Some((program, arguments)) = self.prepare.split_first() {
            let mut command = case.command(program);
            self.environment(&mut command);
            command.args(arguments).current_dir(folder);
            case.run("prepare", command)?.success()?;
        }
        Ok(())
    }

    /// Log and time of an uninterrupted run.
    fn reference(&self, case: &Case) -> Result<(String, Duration)> {
        let words = self.words("log");
        let folder = case.path("reference-folder");
        self.new_folder(case, &folder)?;
        let mut command = case.command(&words[0]);
        self.environment(&mut command);
        command.args(&words[1..]).current_dir(&folder);
        let begin = Instant::now();
        case.run_within("reference", command, Duration::from_secs(300))?
            .success()?;
        Ok((fs::read_to_string(folder.join("log"))?, begin.elapsed()))
    }

    fn start(&self, case: &Case, folder: &Path) -> Result<Job> {
        self.start_with(case, folder, "0.5")
    }

    /// Starts it, and takes the first checkpoint when it has given its sign.
    fn start_at_sign(&self, case: &Case, folder: &Path, sign: &str, limit: Duration) -> Result<Job> {
        let mut job = self.start_with(case, folder, "never")?;
        wait_for("the sign of the program", limit, || {
            let there = folder.join(sign).exists() || job.ended()?.is_some();
            Ok(there.then_some(()))
        })?;
        let mut command = case.rethaw(["checkpoint", "ckpt"])?;
        command.current_dir(folder);
        // One that has come to its end meanwhile needs none.
        let taken = case.run("checkpoint", command)?.status.success();
        ensure!(
            taken || job.ended()?.is_some(),
            "no first checkpoint: {}",
            job.err()
        );
        Ok(job)
    }

    fn start_with(&self, case: &Case, folder: &Path, interval: &str) -> Result<Job> {
        let mut words: Vec<OsString> = ["run", "--dir", "ckpt", "-i", interval]
            .map(OsString::from)
            .to_vec();
        words.extend(self.options.iter().map(OsString::from));
        words.push("--".into());
        words.extend(self.words("log"));
        let mut command = case.rethaw(&words)?;
        self.environment(&mut command);
        command.current_dir(folder);
        case.start("run", command)
    }

    /// Runs it under `rethaw run`, with this many SIGKILLs of everything at random moments.
    ///
    /// Only kills after which it goes on from a checkpoint count.
    pub fn survives(&self, kills: usize) -> Outcome {
        case(&format!("kill-{}", self.name), |case| {
            let mut random = Random::from_environment();
            let (reference, alone) = self.reference(case)?;
            // The kernel remembers addresses of killed connections for a minute.
            let limit = alone * 4 + Duration::from_secs(150);
            let mut done = 0;
            // A computation may end before it was killed often enough: then another one begins.
            for round in 0.. {
                let folder = case.path(format!("round{round}"));
                self.new_folder(case, &folder)?;
                self.round(case, &folder, &reference, (&mut random, &mut done, kills), limit)?;
                let log = fs::read_to_string(folder.join("log"))?;
                ensure!(
                    log == reference,
                    "after {done} kills the log differs from that of the uninterrupted run:\n{}",
                    first_difference(&log, &reference)
                );
                if done >= kills {
                    break;
                }
            }
            println!(
                "{}: {done} kills, the log is that of the uninterrupted run",
                self.name
            );
            ensure_seldom_refused(case)
        })
    }

    /// Runs and kills one computation until it comes to its end.
    fn round(
        &self,
        case: &Case,
        folder: &Path,
        reference: &str,
        (random, done, kills): (&mut Random, &mut usize, usize),
        limit: Duration,
    ) -> Result<()> {
        let mut too_soon = 0;
        loop {
            let kill = match *done < kills {
                false => Kill::Never,
                true if too_soon < TOO_SOON => Kill::AnyTime,
                true => Kill::WithCheckpoint,
            };
            match self.run_once(case, folder, reference, (random, kill), limit)? {
                End::Finished => return Ok(()),
                End::Killed => *done += 1,
                End::KilledTooSoon => too_soon += 1,
            }
        }
    }

    /// One `rethaw run`, to its end or until it is killed.
    fn run_once(
        &self,
        case: &Case,
        folder: &Path,
        reference: &str,
        (random, kill): (&mut Random, Kill),
        limit: Duration,
    ) -> Result<End> {
        let mut job = match self.sign {
            Some(sign) if kill != Kill::Never && !has_checkpoint(folder)? => {
                self.start_at_sign(case, folder, sign, limit)?
            }
            _ => self.start(case, folder)?,
        };
        if kill == Kill::Never {
            let finished = job.wait(limit)?.success()?;
            check_output(&finished.out, reference)?;
            return Ok(End::Finished);
        }
        if self.interruption == Interruption::Stop {
            std::thread::sleep(random.moment(Duration::from_millis(2000)));
            return self.stop(case, folder, job, reference);
        }
        let asked = self.wait_for_moment(case, folder, &mut job, (random, kill), limit)?;
        if ended_before(&mut job, reference)? {
            return Ok(End::Finished);
        }
        let volatile = match self.interruption {
            Interruption::Move => volatile_files(case),
            _ => BTreeSet::new(),
        };
        case.kill_all()?;
        job.wait(PATIENCE)?;
        if let Some(mut asked) = asked {
            asked.wait(PATIENCE)?;
        }
        for path in volatile {
            let removed = fs::remove_dir_all(&path).or_else(|_| fs::remove_file(&path));
            ensure!(
                removed.is_ok() || !path.exists(),
                "cannot remove {}",
                path.display()
            );
        }
        check_output(&job.out(), reference)?;
        wait_for("the end of all processes", PATIENCE, || {
            Ok(case.processes().is_empty().then_some(()))
        })?;
        Ok(if has_checkpoint(folder)? {
            End::Killed
        } else {
            End::KilledTooSoon
        })
    }

    /// Waits for the moment to strike. Gives the checkpoint that was asked for.
    fn wait_for_moment(
        &self,
        case: &Case,
        folder: &Path,
        job: &mut Job,
        (random, kill): (&mut Random, Kill),
        limit: Duration,
    ) -> Result<Option<Job>> {
        if kill == Kill::WithCheckpoint {
            wait_for("the first checkpoint", limit, || {
                let there = has_checkpoint(folder)? || job.ended()?.is_some();
                Ok(there.then_some(()))
            })?;
        }
        let mut asked = None;
        if random.below(3) == 0 {
            // In the middle of a checkpoint: ask for one, then strike.
            std::thread::sleep(random.moment(Duration::from_millis(1500)));
            let mut command = case.rethaw(["checkpoint", "ckpt"])?;
            command.current_dir(folder);
            asked = Some(case.start("checkpoint", command)?);
            std::thread::sleep(random.moment(Duration::from_millis(150)));
        } else {
            // Soon after the start it is in the middle of a restart.
            let longest = if random.below(2) == 0 { 300 } else { 3000 };
            std::thread::sleep(random.moment(Duration::from_millis(longest)));
        }
        Ok(asked)
    }

    /// Ends it by a checkpoint. Where that is refused, tries again soon.
    fn stop(&self, case: &Case, folder: &Path, mut job: Job, reference: &str) -> Result<End> {
        loop {
            let mut command = case.rethaw(["checkpoint", "--stop", "ckpt"])?;
            command.current_dir(folder);
            if case.run("checkpoint", command)?.status.success() {
                job.wait(PATIENCE)?.exited(STOPPED)?;
                return Ok(End::Killed);
            }
            std::thread::sleep(Duration::from_millis(50));
            if ended_before(&mut job, reference)? {
                return Ok(End::Finished);
            }
        }
    }
}

/// What is open or mapped below /tmp and /dev/shm. Not the case's own folder, nor what rethaw has there.
fn volatile_files(case: &Case) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    for process in case.processes() {
        let maps = fs::read_to_string(format!("/proc/{}/maps", process.pid)).unwrap_or_default();
        let mapped = maps
            .lines()
            .filter_map(|line| line.find('/').map(|at| PathBuf::from(&line[at..])));
        let links = fs::read_dir(format!("/proc/{}/fd", process.pid));
        let open = links
            .into_iter()
            .flatten()
            .filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
        found.extend(mapped.chain(open).filter_map(|path| below_volatile(&path)));
    }
    let own = |path: &PathBuf| case.folder.starts_with(path) || path.starts_with(&case.folder);
    found.retain(|path| path.exists() && !own(path) && !path.to_string_lossy().contains("/rtest-"));
    found
}

/// The entry of /tmp or /dev/shm that has this path.
fn below_volatile(path: &Path) -> Option<PathBuf> {
    ["/tmp", "/dev/shm"].iter().find_map(|folder| {
        let entry = path.strip_prefix(folder).ok()?.iter().next()?;
        Some(Path::new(folder).join(entry))
    })
}

/// Whether it has come to its end, as it should, before it was interrupted.
fn ended_before(job: &mut Job, reference: &str) -> Result<bool> {
    let Some(status) = job.ended()? else {
        return Ok(false);
    };
    ensure!(
        status.success(),
        "`{}` ended with {status} before it was interrupted",
        job.label()
    );
    check_output(&job.out(), reference)?;
    Ok(true)
}

/// Whether the computation of this folder has a complete checkpoint.
fn has_checkpoint(folder: &Path) -> Result<bool> {
    let Ok(entries) = fs::read_dir(folder.join("ckpt")) else {
        return Ok(false);
    };
    let names: std::io::Result<Vec<_>> = entries.map(|entry| Ok(entry?.path())).collect();
    Ok(names?
        .iter()
        .any(|path| path.extension().is_some_and(|extension| extension == "manifest")))
}

/// Fails when more checkpoints were refused than taken: then it went on from the few before the refused state.
fn ensure_seldom_refused(case: &Case) -> Result<()> {
    let (mut taken, mut refused) = (0, vec![]);
    for entry in fs::read_dir(&case.folder)? {
        let path = entry?.path();
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        if name.starts_with("run") && name.ends_with(".err") {
            let text = String::from_utf8_lossy(&fs::read(&path)?).into_owned();
            taken += text.lines().filter(|line| line.contains(" taken: ")).count();
            let lines = text.lines().filter(|line| line.contains("cannot checkpoint: "));
            refused.extend(lines.map(str::to_string));
        }
    }
    ensure!(
        refused.len() <= taken,
        "{taken} checkpoints were taken and {} refused, the last one: {}",
        refused.len(),
        refused.last().map_or("", String::as_str)
    );
    Ok(())
}

/// The first line in which two logs differ.
fn first_difference(log: &str, reference: &str) -> String {
    let (mut got, mut wanted) = (log.lines(), reference.lines());
    for number in 1.. {
        match (got.next(), wanted.next()) {
            (None, None) => break,
            (got, wanted) if got != wanted => {
                return format!("line {number} is {got:?} and should be {wanted:?}");
            }
            _ => {}
        }
    }
    "they differ in the end of the last line".to_string()
}

/// Every whole line of an output is the line of the reference with the same number.
fn check_output(out: &str, reference: &str) -> Result<()> {
    let whole = out.rfind('\n').map_or("", |end| &out[..end]);
    let mut expected: Option<std::str::Lines<'_>> = None;
    for line in whole.lines() {
        let wanted = match &mut expected {
            Some(lines) => lines.next(),
            None => {
                // An output begins where its checkpoint was.
                let start = reference.lines().position(|other| other == line);
                ensure!(
                    start.is_some(),
                    "`{line}` was never printed by the uninterrupted run"
                );
                let mut lines = reference.lines();
                let first = lines.nth(start.unwrap_or(0));
                expected = Some(lines);
                first
            }
        };
        ensure!(wanted == Some(line), "printed `{line}` instead of {wanted:?}");
    }
    Ok(())
}

/// Words of a command line.
pub fn words<const N: usize>(words: [&OsStr; N]) -> Vec<OsString> {
    words.map(OsString::from).to_vec()
}
