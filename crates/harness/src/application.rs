//! Programs that we did not write: what is run, what it needs, and what is told of it in docs/compatibility.md.

use crate::interrupted::{Interruption, Subject};
use crate::{Failure, Outcome, Result, places};
use std::ffi::{OsStr, OsString};
use std::fs::OpenOptions;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// An application of the table in `tests/applications.rs`.
///
/// It writes a log, whose name is a word of its command line, and which is the same in every run that is not interrupted.
#[derive(Debug, Clone)]
pub struct Application {
    /// Short name, also of the case.
    pub name: &'static str,
    /// What it is, in the page.
    pub title: &'static str,
    /// Words before the log; the first is the program.
    pub before: Vec<OsString>,
    /// Words after the log.
    pub after: Vec<&'static str>,
    /// A command that must succeed, else the test is skipped; the first line of its output tells the version.
    pub version: Vec<OsString>,
    /// Options of `rethaw run`.
    pub options: Vec<&'static str>,
    /// Variables of its environment.
    pub environment: Vec<(&'static str, String)>,
    /// How it is interrupted.
    pub interruption: Interruption,
    /// A command that is run before, without rethaw.
    pub prepare: Vec<OsString>,
    /// A file that it makes once it can be restarted elsewhere.
    pub sign: Option<&'static str>,
    /// What else is to be said in the page.
    pub note: &'static str,
}

/// Folder of the inputs.
pub fn folder() -> PathBuf {
    places::source().join("tests/applications")
}

impl Application {
    /// A script of tests/applications under this interpreter; the version is asked for by `--version`.
    pub fn script(name: &'static str, title: &'static str, words: &[&str]) -> Application {
        let before = words.iter().enumerate().map(|(at, word)| {
            if at + 1 == words.len() {
                folder().join(word).into()
            } else {
                OsString::from(word)
            }
        });
        Application {
            name,
            title,
            before: before.collect(),
            after: vec![],
            version: vec![words[0].into(), "--version".into()],
            options: vec![],
            environment: vec![],
            interruption: Interruption::Kill,
            prepare: vec![],
            sign: None,
            note: "",
        }
    }

    /// With another command for the version.
    pub fn version<W: AsRef<OsStr>>(mut self, words: &[W]) -> Application {
        self.version = words.iter().map(|word| word.as_ref().into()).collect();
        self
    }

    /// Run by another program.
    pub fn under(mut self, words: &[&str]) -> Application {
        let words = words.iter().map(OsString::from);
        self.before = words.chain(self.before).collect();
        self
    }

    /// With words after the log.
    pub fn after(mut self, words: &[&'static str]) -> Application {
        self.after = words.to_vec();
        self
    }

    /// With options of `rethaw run`.
    pub fn options(mut self, options: &[&'static str]) -> Application {
        self.options = options.to_vec();
        self
    }

    /// Prepared by the same words with another one in the place of the log.
    pub fn prepare(mut self, word: &str) -> Application {
        self.prepare = [self.before.clone(), vec![word.into()]].concat();
        self
    }

    /// With a variable of its environment.
    pub fn variable(mut self, name: &'static str, value: &str) -> Application {
        self.environment.push((name, value.to_string()));
        self
    }

    /// Ended by checkpoints instead of by SIGKILL some time after one.
    pub fn stopped(mut self) -> Application {
        self.interruption = Interruption::Stop;
        self
    }

    /// Killed, and its files in /tmp and /dev/shm removed.
    pub fn moved(mut self) -> Application {
        self.interruption = Interruption::Move;
        self
    }

    /// With no checkpoint before it makes this file.
    pub fn sign(mut self, file: &'static str) -> Application {
        self.sign = Some(file);
        self
    }

    /// With something to be said in the page.
    pub fn note(mut self, note: &'static str) -> Application {
        self.note = note;
        self
    }

    /// Version of the installed program; nothing where it is missing.
    pub fn installed(&self) -> Result<Option<String>> {
        let output = Command::new(&self.version[0])
            .args(&self.version[1..])
            .stdin(Stdio::null())
            .output();
        let Ok(output) = output else {
            return Ok(None);
        };
        if !output.status.success() {
            return Ok(None);
        }
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8_lossy(&text);
        Ok(text
            .split([' ', '\n', ',', '"', '=', '/', '-'])
            .find_map(version_in))
    }

    /// Runs it with this many kills, and records what came out.
    pub fn survives(&self, kills: usize) -> Outcome {
        let Some(version) = self.installed()? else {
            println!(
                "SKIP: {} is missing: {:?} fails (scripts/install-test-deps.sh installs it)",
                self.name, self.version
            );
            return Ok(());
        };
        let subject = Subject {
            name: self.name.to_string(),
            before: self.before.clone(),
            after: self.after.iter().map(OsString::from).collect(),
            environment: self.environment.clone(),
            options: self.options.clone(),
            interruption: self.interruption,
            prepare: self.prepare.clone(),
            sign: self.sign,
        };
        let outcome = subject.survives(kills);
        let result = match &outcome {
            Err(_) => "fails".to_string(),
            Ok(()) => match self.interruption {
                Interruption::Stop => format!("same result, stopped {kills} times"),
                Interruption::Kill => format!("same result, killed {kills} times"),
                Interruption::Move => {
                    format!("same result, killed {kills} times, its files in /tmp and /dev/shm removed")
                }
            },
        };
        record(&[self.title, &version, &result, self.note])?;
        outcome
    }
}

/// The version in a word such as `go1.19.8`, `v5.36.0` or `12.2.0-14)`: digits and points, or a date.
fn version_in(word: &str) -> Option<String> {
    let word = word.trim_start_matches(|c: char| c.is_ascii_alphabetic());
    let is_version =
        word.starts_with(|c: char| c.is_ascii_digit()) && (word.contains('.') || word.len() == 8);
    let end = word.find(|c: char| !c.is_ascii_alphanumeric() && c != '.');
    is_version.then(|| word[..end.unwrap_or(word.len())].to_string())
}

/// Appends a line to the file `RETHAW_TEST_RESULTS`, from which docs/compatibility.md is made.
pub fn record(fields: &[&str]) -> Result<()> {
    let path = std::env::var_os("RETHAW_TEST_RESULTS").filter(|path| !path.is_empty());
    let Some(path) = path else {
        return Ok(());
    };
    let mut file = OpenOptions::new()
        .append(true)
        .create(true)
        .open(&path)
        .map_err(|e| Failure::from(e).within(path.to_string_lossy()))?;
    Ok(file.write_all((fields.join("\t") + "\n").as_bytes())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_found() {
        let of = |word| version_in(word);
        assert_eq!(of("5.2.15(1)-release").as_deref(), Some("5.2.15"));
        assert_eq!(of("go1.19.8").as_deref(), Some("1.19.8"));
        assert_eq!(of("20221122").as_deref(), Some("20221122"));
        assert_eq!(of("(Debian").as_deref(), None);
    }
}
