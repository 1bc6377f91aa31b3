//! The program `counter`: writes numbered lines to a log and to stdout.

use crate::{Case, Failure, PATIENCE, Result, ensure, programs};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::PathBuf;

/// A counter in a test.
#[derive(Debug)]
pub struct Counter {
    /// Its log.
    pub log: PathBuf,
    lines: usize,
    words: Vec<OsString>,
}

impl Counter {
    /// A counter to so many lines, 5 ms each, that holds so many MiB.
    pub fn new(case: &Case, lines: usize, mib: usize) -> Result<Counter> {
        let log = case.path("log");
        let words = vec![
            programs::binary("counter")?.into(),
            log.clone().into(),
            lines.to_string().into(),
            mib.to_string().into(),
        ];
        Ok(Counter { log, lines, words })
    }

    /// Its command line.
    pub fn command(&self) -> Vec<&OsStr> {
        self.words.iter().map(OsString::as_os_str).collect()
    }

    /// Waits until it counts.
    pub fn wait_until_ready(&self, case: &Case) -> Result<()> {
        case.wait_for_file(&self.log.with_extension("ready"), PATIENCE)
            .map(|_| ())
    }

    /// Lines in the log so far.
    pub fn counted(&self) -> usize {
        fs::read_to_string(&self.log).map_or(0, |text| text.lines().count())
    }

    /// Fails unless the log goes on within a second or two.
    pub fn ensure_counting(&self) -> Result<()> {
        let before = self.counted();
        crate::wait_for("the counter to go on", PATIENCE, || {
            Ok((self.counted() > before + 3).then_some(()))
        })
    }

    /// Fails unless the log has every line once, and the end.
    pub fn ensure_complete(&self) -> Result<()> {
        let text = fs::read_to_string(&self.log)?;
        for (number, line) in text.lines().enumerate() {
            let wanted = self.line(number);
            ensure!(
                line == wanted,
                "the log's line {number} is `{line}` and should be `{wanted}`"
            );
        }
        let lines = text.lines().count();
        ensure!(
            lines == self.lines + 1,
            "the log has {lines} lines and should have {}",
            self.lines + 1
        );
        Ok(())
    }

    fn line(&self, number: usize) -> String {
        if number < self.lines {
            format!("line {number}")
        } else {
            format!("final {number}")
        }
    }

    /// Number in the first counted line of an output.
    pub fn first_line(out: &str) -> Result<usize> {
        out.lines()
            .find_map(|line| line.strip_prefix("line ")?.parse().ok())
            .ok_or_else(|| Failure::new("the output has no counted line"))
    }
}
