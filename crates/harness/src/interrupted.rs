//! A computation that is killed again and again ends with the results of one that was left alone.

use crate::{Case, Outcome, PATIENCE, Random, Result, case, ensure, wait_for};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::Path;
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
}

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

    /// Log and time of an uninterrupted run.
    fn reference(&self, case: &Case) -> Result<(String, Duration)> {
        let words = self.words("log");
        let folder = case.path("reference-folder");
        fs::create_dir(&folder)?;
        let mut command = case.command(&words[0]);
        self.environment(&mut command);
        command.args(&words[1..]).current_dir(&folder);
        let begin = Instant::now();
        case.run_within("reference", command, Duration::from_secs(300))?
            .success()?;
        Ok((fs::read_to_string(folder.join("log"))?, begin.elapsed()))
    }

    fn start(&self, case: &Case, folder: &Path) -> Result<crate::Job> {
        let mut words: Vec<OsString> = ["run", "--dir", "ckpt", "-i", "0.5"].map(OsString::from).to_vec();
        words.extend(self.options.iter().map(OsString::from));
        words.push("--".into());
        words.extend(self.words("log"));
        let mut command = case.rethaw(&words)?;
        self.environment(&mut command);
        command.current_dir(folder);
        case.start("run", command)
    }

    /// Runs it under `rethaw run`, with this many SIGKILLs of everything at random moments.
    pub fn survives(&self, kills: usize) -> Outcome {
        case(&format!("kill-{}", self.name), |case| {
            let mut random = Random::from_environment();
            let (reference, alone) = self.reference(case)?;
            let limit = alone * 4 + Duration::from_secs(60);
            let mut done = 0;
            // A computation may end before it was killed often enough: then another one begins.
            for round in 0.. {
                let folder = case.path(format!("round{round}"));
                fs::create_dir(&folder)?;
                while !self.ends_before_kill(case, &folder, &reference, (&mut random, done < kills), limit)? {
                    done += 1;
                }
                let log = fs::read_to_string(folder.join("log"))?;
                ensure!(
                    log == reference,
                    "after {done} kills the log differs from that of the uninterrupted run"
                );
                if done >= kills {
                    break;
                }
            }
            println!(
                "{}: {done} kills, the log is that of the uninterrupted run",
                self.name
            );
            Ok(())
        })
    }

    /// One `rethaw run`; false when it was killed, true when it came to its end.
    fn ends_before_kill(
        &self,
        case: &Case,
        folder: &Path,
        reference: &str,
        (random, kill): (&mut Random, bool),
        limit: Duration,
    ) -> Result<bool> {
        let mut job = self.start(case, folder)?;
        if !kill {
            let finished = job.wait(limit)?.success()?;
            check_output(&finished.out, reference)?;
            return Ok(true);
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
        if let Some(status) = job.ended()? {
            ensure!(
                status.success(),
                "`{}` ended with {status} before it was killed",
                job.label()
            );
            check_output(&job.out(), reference)?;
            return Ok(true);
        }
        case.kill_all()?;
        job.wait(PATIENCE)?;
        if let Some(mut asked) = asked {
            asked.wait(PATIENCE)?;
        }
        check_output(&job.out(), reference)?;
        wait_for("the end of all processes", PATIENCE, || {
            Ok(case.processes().is_empty().then_some(()))
        })?;
        Ok(false)
    }
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
