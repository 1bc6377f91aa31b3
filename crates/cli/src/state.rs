//! What DIR/state.json remembers of a computation between two lives of rethaw.

use crate::failure::{Context, Result};
use crate::place::Seen;
use rethaw_engine::launcher::Inherited;
use serde::{Deserialize, Serialize};
use std::ffi::OsStr;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

/// Text that need not be UTF-8, such as an argument: a string where it can be, else its bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Text {
    /// UTF-8.
    Utf8(String),
    /// Anything else.
    Raw(Vec<u8>),
}

impl Text {
    /// From bytes.
    pub fn new(bytes: &[u8]) -> Text {
        match std::str::from_utf8(bytes) {
            Ok(text) => Text::Utf8(text.to_string()),
            Err(_) => Text::Raw(bytes.to_vec()),
        }
    }

    /// As bytes.
    pub fn bytes(&self) -> &[u8] {
        match self {
            Text::Utf8(text) => text.as_bytes(),
            Text::Raw(bytes) => bytes,
        }
    }
}

impl From<&OsStr> for Text {
    fn from(text: &OsStr) -> Text {
        Text::new(text.as_bytes())
    }
}

/// Paths in JSON, for `serde(with)`: as [`Text`], since they need not be UTF-8 either.
pub mod path_as_text {
    use super::Text;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};
    use std::ffi::OsString;
    use std::os::unix::ffi::OsStringExt;
    use std::path::{Path, PathBuf};

    /// Serializes a path.
    pub fn serialize<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
        Text::from(path.as_os_str()).serialize(serializer)
    }

    /// Deserializes a path.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<PathBuf, D::Error> {
        let text = Text::deserialize(deserializer)?;
        Ok(OsString::from_vec(text.bytes().to_vec()).into())
    }
}

/// A command line for people: on one line, and not for pages.
pub fn show_command(command: &[Text]) -> String {
    const LONGEST: usize = 300;
    let mut shown = String::new();
    for word in command {
        if !shown.is_empty() {
            shown.push(' ');
        }
        shown += &show_word(&String::from_utf8_lossy(word.bytes()));
        if let Some((cut, _)) = shown.char_indices().nth(LONGEST) {
            shown.truncate(cut);
            return shown + " …";
        }
    }
    shown
}

/// As the shell would read it; control characters as bash writes them.
fn show_word(word: &str) -> String {
    if !word.contains(char::is_control) {
        return quote(word);
    }
    let escape = |c: char| match c {
        '\'' | '\\' => format!("\\{c}"),
        c if c.is_control() => c.escape_default().to_string(),
        c => c.to_string(),
    };
    format!("$'{}'", word.chars().map(escape).collect::<String>())
}

/// Quotes a word for the shell where it needs it.
pub fn quote(word: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "_-+=:,./@%^".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_string();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// The batch job in which the computation was seen last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobSeen {
    /// SLURM_JOB_ID.
    pub id: String,
    /// SLURM_RESTART_COUNT.
    pub restarts: u32,
}

/// The newest durable checkpoint.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LastCheckpoint {
    /// Its number.
    pub generation: u64,
    /// When it was begun, in seconds since the epoch.
    pub unix_seconds: i64,
    /// How long the program stood still, in milliseconds.
    pub pause_ms: f64,
    /// Time until it was durable, in milliseconds.
    pub durable_ms: f64,
    /// Size of the image in bytes.
    pub bytes: u64,
    /// Memory saved in bytes before compression.
    pub memory: u64,
}

/// DIR/state.json.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// Random identity of the computation.
    pub computation: String,
    /// Command line.
    pub command: Vec<Text>,
    /// Folder in which it was started.
    pub start_folder: Text,
    /// Main process, while it runs.
    pub main: Option<Seen>,
    /// The rethaw that supervises it.
    pub supervisor: Option<Seen>,
    /// (device, inode) of the launcher's stdin, stdout, stderr.
    pub launcher: Vec<(i32, u64, u64)>,
    /// The batch job it runs in.
    pub job: Option<JobSeen>,
    /// Seconds between checkpoints; 0 for never.
    pub interval_seconds: f64,
    /// Newest durable checkpoint.
    pub last: Option<LastCheckpoint>,
    /// Longest measured time until a checkpoint was durable, in milliseconds.
    pub longest_durable_ms: f64,
    /// How it ended, for people; absent while it runs.
    pub ended: Option<String>,
}

const NAME: &str = "state.json";
/// A damaged or foreign file must not fill memory.
const LARGEST: u64 = 16 << 20;

impl State {
    /// A computation that starts now.
    pub fn new(command: Vec<Text>, start_folder: Text) -> Result<State> {
        let empty = State::of_record(&rethaw_image::record::ComputationV1::default());
        Ok(State {
            computation: random_id()?,
            command,
            start_folder,
            ..empty
        })
    }

    /// The computation that an image is of.
    pub fn of_record(record: &rethaw_image::record::ComputationV1) -> State {
        State {
            computation: record.id.clone(),
            command: record.command.iter().map(|word| Text::new(word)).collect(),
            start_folder: Text::new(&record.start_folder),
            main: None,
            supervisor: None,
            launcher: Vec::new(),
            job: None,
            interval_seconds: 0.0,
            last: None,
            longest_durable_ms: 0.0,
            ended: None,
        }
    }

    /// What was measured in an earlier life of the same computation still holds.
    pub fn take_measurements(&mut self, earlier: Option<State>) {
        if let Some(earlier) = earlier.filter(|earlier| earlier.computation == self.computation) {
            self.longest_durable_ms = earlier.longest_durable_ms;
        }
    }

    /// What `folder` remembers; a damaged file is reported and counts as none.
    pub fn load(folder: &Path) -> Option<State> {
        let path = folder.join(NAME);
        match read_json(&path) {
            Ok(state) => state,
            Err(error) => {
                crate::message::warn(format!("ignoring damaged {}: {error}", path.display()));
                None
            }
        }
    }

    /// Removes what killed writers left. To be called by the owner of the folder's lock, beside whom nobody
    /// writes.
    pub fn clear_up(folder: &Path) {
        remove_leftovers(&folder.join(NAME), Duration::ZERO);
    }

    /// Replaces DIR/state.json atomically.
    pub fn save(&self, folder: &Path) -> Result<()> {
        write_json(&folder.join(NAME), self)
    }
}

/// Reads a small JSON file; `None` when there is none.
pub fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> std::io::Result<Option<T>> {
    use std::io::Read;
    let file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut text = Vec::new();
    file.take(LARGEST).read_to_end(&mut text)?;
    Ok(Some(serde_json::from_slice(&text)?))
}

/// Writes `value` under a temporary name, mode 0600, makes it durable and renames it.
pub fn write_json(path: &Path, value: &impl Serialize) -> Result<()> {
    let text = serde_json::to_vec_pretty(value).context(|| format!("encode {}", path.display()))?;
    replace_file(path, &text, 0o600)
}

/// Removes what writers of `path` left that were killed: temporary files that are older than `age`.
pub fn remove_leftovers(path: &Path, age: Duration) {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        return;
    };
    let is_old = |file: &std::fs::DirEntry| {
        let written = file.metadata().and_then(|meta| meta.modified()).ok();
        age.is_zero() || written.is_some_and(|time| time.elapsed().is_ok_and(|passed| passed > age))
    };
    for file in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        if is_temporary(&file.file_name(), name) && is_old(&file) {
            let _ = std::fs::remove_file(file.path());
        }
    }
}

/// Whether `name` is NAME.PID.tmp.
fn is_temporary(name: &OsStr, of: &OsStr) -> bool {
    let middle = name.as_bytes().strip_prefix(of.as_bytes());
    let pid = middle.and_then(|rest| rest.strip_prefix(b".")?.strip_suffix(b".tmp"));
    pid.is_some_and(|pid| !pid.is_empty() && pid.iter().all(u8::is_ascii_digit))
}

/// Replaces a file atomically.
pub fn replace_file(path: &Path, contents: &[u8], mode: u32) -> Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(format!(".{}.tmp", std::process::id()));
    let temporary = path.with_file_name(name);
    let written = write_durable(&temporary, contents, mode).and_then(|()| std::fs::rename(&temporary, path));
    if written.is_err() {
        let _ = std::fs::remove_file(&temporary);
    }
    written.context(|| format!("write {}", path.display()))
}

fn write_durable(path: &Path, contents: &[u8], mode: u32) -> std::io::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    let mut file = options
        .write(true)
        .create(true)
        .truncate(true)
        .mode(mode)
        .open(path)?;
    file.write_all(contents)?;
    file.sync_all()
}

/// 16 random lower-case hex digits.
pub fn random_id() -> Result<String> {
    let mut bytes = [0u8; 8];
    let mut filled = 0;
    while filled < bytes.len() {
        filled += rustix::rand::getrandom(&mut bytes[filled..], rustix::rand::GetRandomFlags::empty())
            .context(|| "get random bytes".to_string())?;
    }
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Descriptors that a program has from its launcher, as they are recorded: (number, device, inode).
pub fn recorded(inherited: Vec<Inherited>) -> Vec<(i32, u64, u64)> {
    inherited
        .into_iter()
        .map(|file| (file.fd, file.dev, file.ino))
        .collect()
}

#[cfg(test)]
#[allow(clippy::expect_used)]
mod tests {
    use super::*;

    #[test]
    fn state_survives_its_file() {
        let folder = tempfile::tempdir().expect("a folder");
        assert_eq!(State::load(folder.path()), None);
        let command = vec![Text::new(b"a"), Text::new(b"\xff\xfe")];
        let state = State::new(command, Text::new(b"/")).expect("a state");
        assert_eq!(state.computation.len(), 16);
        state.save(folder.path()).expect("saved");
        assert_eq!(State::load(folder.path()), Some(state));
        assert_eq!(std::fs::read_dir(folder.path()).expect("list").count(), 1);
    }

    #[test]
    fn a_damaged_state_counts_as_none() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join(NAME), b"{\"computation\": 1").expect("written");
        assert_eq!(State::load(folder.path()), None);
    }

    #[test]
    fn what_killed_writers_left_is_removed() {
        let folder = tempfile::tempdir().expect("a folder");
        let all = [
            "state.json",
            "state.json.12.tmp",
            "state.json.x.tmp",
            "state.json..tmp",
            "other.12.tmp",
        ];
        for name in all {
            std::fs::write(folder.path().join(name), b"").expect("written");
        }
        remove_leftovers(&folder.path().join(NAME), Duration::from_secs(60));
        assert!(folder.path().join("state.json.12.tmp").exists(), "it is young");
        State::clear_up(folder.path());
        for name in all {
            let stays = name != "state.json.12.tmp";
            assert_eq!(folder.path().join(name).exists(), stays, "{name}");
        }
    }

    #[test]
    fn words_are_quoted_for_the_shell() {
        assert_eq!(
            show_command(&[
                Text::new(b"echo"),
                Text::new(b"a b"),
                Text::new(b"it's"),
                Text::new(b"")
            ]),
            r"echo 'a b' 'it'\''s' ''"
        );
        assert_eq!(
            show_command(&[Text::new(b"it's\n\x1b[2J")]),
            r"$'it\'s\n\u{1b}[2J'"
        );
    }

    #[test]
    fn a_long_command_is_cut() {
        let words = vec![Text::new("ü".as_bytes()); 100_000];
        let shown = show_command(&words);
        assert_eq!(shown.chars().count(), 302);
        assert!(shown.ends_with(" …"));
    }
}
