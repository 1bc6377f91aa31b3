//! What the user reads: time-stamped lines on stderr, output on stdout, progress bars.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::{IsTerminal, Write};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

static QUIET: AtomicBool = AtomicBool::new(false);
static BAR: Mutex<Option<ProgressBar>> = Mutex::new(None);

/// Silences [`note`].
pub fn set_quiet(quiet: bool) {
    QUIET.store(quiet, Ordering::Relaxed);
}

/// One time-stamped line, unless the user wants quiet, or has a program that fills the screen.
pub fn note(text: impl std::fmt::Display) {
    if !QUIET.load(Ordering::Relaxed) && !on_somebodys_screen() {
        line(&format!("rethaw: {} {text}", now()));
    }
}

/// Whether stderr is a terminal whose screen a program draws itself, so that a line would spoil it.
fn on_somebodys_screen() -> bool {
    let modes = rustix::termios::tcgetattr(std::io::stderr());
    modes.is_ok_and(|modes| !modes.local_modes.contains(rustix::termios::LocalModes::ICANON))
}

/// One time-stamped line that the user must read.
pub fn warn(text: impl std::fmt::Display) {
    line(&format!("rethaw: {} {text}", now()));
}

/// The sentence with which a command ends in failure.
pub fn fail(text: impl std::fmt::Display) {
    line(&format!("rethaw: {text}"));
}

/// Local time to the second, as 2026-11-22T23:04:12.
fn now() -> String {
    jiff::Zoned::now().strftime("%Y-%m-%dT%H:%M:%S").to_string()
}

/// Local time of a moment in seconds since the epoch.
pub fn show_time(unix_seconds: i64) -> String {
    match jiff::Timestamp::from_second(unix_seconds) {
        Ok(moment) => moment
            .to_zoned(jiff::tz::TimeZone::system())
            .strftime("%Y-%m-%dT%H:%M:%S%:z")
            .to_string(),
        Err(_) => "an unknown time".to_string(),
    }
}

/// Seconds since the epoch.
pub fn unix_seconds() -> i64 {
    jiff::Timestamp::now().as_second()
}

/// From now on lines go to this file, where nobody reads stderr.
pub fn keep_in(path: &std::path::Path) {
    let file = std::fs::File::options().append(true).create(true).open(path);
    if let Ok(file) = file {
        let _ = rustix::stdio::dup2_stderr(&file);
    }
}

/// One write, so that lines of several writers do not mix; a closed stderr is no reason to fail.
fn line(text: &str) {
    let text = printable(text, &[]);
    let write = || {
        let _ = std::io::stderr().write_all(format!("{text}\n").as_bytes());
    };
    match &*lock_bar() {
        Some(bar) => bar.suspend(write),
        None => write(),
    }
}

/// Text without control characters, such as names of files may have: they could break lines or command the terminal.
fn printable(text: &str, allowed: &[char]) -> String {
    let show = |c: char| match c {
        c if c.is_control() && !allowed.contains(&c) => c.escape_default().to_string(),
        c => c.to_string(),
    };
    text.chars().map(show).collect()
}

/// Output on stdout. A reader that has gone is no error.
pub fn print(text: &str) {
    let text = printable(text, &['\n', '\t']);
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// JSON on stdout.
pub fn print_json(value: &impl serde::Serialize) {
    match serde_json::to_string_pretty(value) {
        Ok(text) => print(&(text + "\n")),
        Err(error) => fail(format!("cannot write JSON: {error}")),
    }
}

/// Shows the progress of one long write or read once it has taken a second, when stderr is a terminal.
pub struct Meter {
    what: String,
    started: Instant,
    wanted: bool,
}

impl Meter {
    /// `what` is a short label.
    pub fn new(what: impl Into<String>) -> Meter {
        let wanted = std::io::stderr().is_terminal() && !QUIET.load(Ordering::Relaxed);
        Meter {
            what: what.into(),
            started: Instant::now(),
            wanted,
        }
    }

    /// Bytes done and bytes in all. From any thread.
    pub fn set(&self, done: u64, all: u64) {
        if !self.wanted || self.started.elapsed() < Duration::from_secs(1) {
            return;
        }
        let mut bar = lock_bar();
        let bar = bar.get_or_insert_with(|| new_bar(&self.what));
        bar.set_length(all);
        bar.set_position(done);
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        if self.wanted
            && let Some(bar) = lock_bar().take()
        {
            bar.finish_and_clear();
        }
    }
}

fn new_bar(what: &str) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    let template = "{msg} [{bar:30}] {bytes}/{total_bytes} {binary_bytes_per_sec} {eta}";
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style.progress_chars("=> "));
    }
    bar.set_message(what.to_string());
    bar
}

fn lock_bar() -> std::sync::MutexGuard<'static, Option<ProgressBar>> {
    BAR.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

#[cfg(test)]
mod tests {
    use super::printable;

    #[test]
    fn no_name_breaks_a_line_or_commands_the_terminal() {
        assert_eq!(printable("a\n\x1b[2J\u{9b}ü", &[]), r"a\n\u{1b}[2J\u{9b}ü");
        assert_eq!(printable("a\tb\nc\r", &['\n', '\t']), "a\tb\nc\\r");
    }
}
