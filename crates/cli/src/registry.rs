//! The user's running computations: a folder with a small JSON file and a control socket of each.

use crate::failure::{Context, Failure, Result};
use crate::place::{Life, Seen};
use crate::state::{Text, read_json, remove_leftovers, write_json};
use serde::{Deserialize, Serialize};
use std::ffi::OsStr;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// A computation as the registry knows it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Identity of the computation.
    pub computation: String,
    /// Name of its files here: the identity, with a suffix when it runs twice.
    pub name: String,
    /// Folder (or DMTCP image) to which its checkpoints go.
    #[serde(with = "crate::state::path_as_text")]
    pub checkpoints: PathBuf,
    /// Command line.
    pub command: Vec<Text>,
    /// The rethaw that supervises it.
    pub supervisor: Seen,
    /// Main process.
    pub main: Seen,
    /// When it was started or restarted, in seconds since the epoch.
    pub since: i64,
    /// Seconds between checkpoints; 0 for never.
    pub interval_seconds: f64,
    /// Port that the DMTCP names know it by.
    pub dmtcp_port: Option<u16>,
}

/// A computation with the folder of the registry in which it was found.
#[derive(Debug, Clone)]
pub struct Found {
    /// What is known.
    pub entry: Entry,
    folder: PathBuf,
}

impl Found {
    /// Its control socket.
    pub fn socket(&self) -> PathBuf {
        self.folder.join(format!("{}.sock", self.entry.name))
    }

    /// Whether a living rethaw supervises it.
    pub fn is_protected(&self) -> bool {
        match self.entry.supervisor.life() {
            Life::Runs => true,
            Life::Over => false,
            Life::Unknown => self.is_listened_to(),
        }
    }

    /// Whether somebody listens on the control socket. The kernel closes it with the process.
    fn is_listened_to(&self) -> bool {
        UnixStream::connect(self.socket()).is_ok()
    }

    /// Whether nothing of it runs any more, for certain.
    fn is_over(&self) -> bool {
        let over = |seen: &Seen| seen.life() == Life::Over;
        over(&self.entry.supervisor) && over(&self.entry.main) && !self.is_listened_to()
    }
}

/// Keeps a computation registered; dropped, it is forgotten.
#[derive(Debug)]
pub struct Registration {
    /// Answers on the control socket.
    pub listener: UnixListener,
    entry: Entry,
    folder: PathBuf,
}

impl Registration {
    /// Registers a computation of this process. `entry.name` is chosen here.
    pub fn new(mut entry: Entry) -> Result<Registration> {
        let folder = own_folder()?;
        entry.name = free_name(&folder, &entry.computation);
        // Names are used again by the same computation only.
        remove_leftovers(&json_path(&folder, &entry.name), Duration::from_secs(60));
        let socket = folder.join(format!("{}.sock", entry.name));
        let _ = std::fs::remove_file(&socket);
        let listener = UnixListener::bind(&socket).context(|| format!("listen on {}", socket.display()))?;
        listener
            .set_nonblocking(true)
            .context(|| format!("listen on {}", socket.display()))?;
        write_json(&json_path(&folder, &entry.name), &entry)?;
        Ok(Registration {
            listener,
            entry,
            folder,
        })
    }

    /// Changes the interval that others see.
    pub fn set_interval(&mut self, seconds: f64) -> Result<()> {
        self.entry.interval_seconds = seconds;
        write_json(&json_path(&self.folder, &self.entry.name), &self.entry)
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(json_path(&self.folder, &self.entry.name));
        let _ = std::fs::remove_file(self.folder.join(format!("{}.sock", self.entry.name)));
    }
}

/// All computations of this user on this machine; those that have ended are forgotten on the way.
pub fn all() -> Vec<Found> {
    let mut found: Vec<Found> = Vec::new();
    for folder in candidates().into_iter().filter(|folder| is_safe(folder)) {
        let Ok(files) = std::fs::read_dir(&folder) else {
            continue;
        };
        for file in files
            .flatten()
            .filter(|file| file.path().extension() == Some("json".as_ref()))
        {
            let Ok(Some(entry)) = read_json::<Entry>(&file.path()) else {
                continue;
            };
            let one = Found {
                entry,
                folder: folder.clone(),
            };
            if one.is_protected() || one.entry.main.runs_here() {
                found.push(one);
            } else if one.is_over() {
                forget(&one);
            }
        }
    }
    found.sort_by_key(|one| one.entry.since);
    found
}

/// The computation that `wanted` names (identity or its beginning, checkpoint folder, pid); without a name the
/// only one, or that of the default folder here.
pub fn find(wanted: Option<&OsStr>) -> Result<Found> {
    let all = all();
    let Some(wanted) = wanted else {
        let folder = std::fs::canonicalize(crate::start::checkpoint_folder(None)).ok();
        if let Some(here) = all
            .iter()
            .find(|one| Some(&one.entry.checkpoints) == folder.as_ref())
        {
            return Ok(here.clone());
        }
        return only(
            all,
            "no computation runs under rethaw",
            "several computations run; name one",
        );
    };
    let matching = matching(all, wanted);
    let wanted = wanted.display();
    let none = format!("no running computation is called {wanted} (see `rethaw status`)");
    only(
        matching,
        &none,
        &format!("several running computations match {wanted}"),
    )
}

/// The only computation whose checkpoints go to the current folder, or to a folder in it. One that runs elsewhere is
/// never meant without being named.
pub fn find_here() -> Result<Found> {
    let here = crate::start::current_folder()?;
    let mut all = all();
    let others = all.len();
    all.retain(|one| is_of_folder(&one.entry.checkpoints, &here));
    let none = match others {
        0 => "no computation runs under rethaw".to_string(),
        _ => format!(
            "no computation of {} runs; name one that `rethaw status` shows, or use --all",
            here.display()
        ),
    };
    only(all, &none, "several computations of this folder run; name one")
}

fn is_of_folder(checkpoints: &Path, folder: &Path) -> bool {
    checkpoints == folder || checkpoints.parent() == Some(folder)
}

/// Those with this name. One that was started a moment ago may not have told its name yet.
fn matching(mut all: Vec<Found>, wanted: &OsStr) -> Vec<Found> {
    const A_MOMENT: Duration = Duration::from_millis(500);
    let end = Instant::now() + A_MOMENT;
    loop {
        let path = std::fs::canonicalize(wanted).ok();
        all.retain(|one| matches(&one.entry, wanted, path.as_deref()));
        if !all.is_empty() || Instant::now() > end {
            return all;
        }
        std::thread::sleep(Duration::from_millis(20));
        all = self::all();
    }
}

fn matches(entry: &Entry, wanted: &OsStr, path: Option<&Path>) -> bool {
    let is_name = |wanted: &str| {
        entry.name == wanted
            || (wanted.len() >= 3 && entry.computation.starts_with(wanted))
            || wanted.parse() == Ok(entry.main.pid)
    };
    wanted.to_str().is_some_and(is_name) || Some(entry.checkpoints.as_path()) == path
}

fn only(mut found: Vec<Found>, none: &str, several: &str) -> Result<Found> {
    if found.len() > 1 {
        let names: Vec<_> = found.iter().map(|one| one.entry.name.as_str()).collect();
        return Err(Failure::said(format!("{several}: {}", names.join(", "))));
    }
    found.pop().ok_or_else(|| Failure::said(none))
}

fn forget(one: &Found) {
    let _ = std::fs::remove_file(json_path(&one.folder, &one.entry.name));
    let _ = std::fs::remove_file(one.socket());
}

/// A second copy of the same computation (an image restarted twice) gets a name of its own.
fn free_name(folder: &Path, computation: &str) -> String {
    let is_taken = |name: &String| match read_json(&json_path(folder, name)) {
        Ok(Some(entry)) => Found {
            entry,
            folder: folder.to_path_buf(),
        }
        .is_protected(),
        _ => false,
    };
    let pid = std::process::id();
    let first = [computation.to_string(), format!("{computation}-{pid}")].into_iter();
    let others = (2..).map(|number| format!("{computation}-{pid}-{number}"));
    // The last one is never asked for: there is a free one.
    first
        .chain(others)
        .find(|name| !is_taken(name))
        .unwrap_or_default()
}

fn json_path(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("{name}.json"))
}

/// Where the registry may be, best first. All are read, because a batch job and a login differ in what
/// their environment says.
pub fn candidates() -> Vec<PathBuf> {
    let uid = rustix::process::geteuid().as_raw();
    let mut folders = Vec::new();
    if let Some(runtime) = std::env::var_os("XDG_RUNTIME_DIR").filter(|folder| !folder.is_empty()) {
        folders.push(PathBuf::from(runtime).join("rethaw"));
    }
    for folder in [format!("/run/user/{uid}/rethaw"), format!("/tmp/rethaw-{uid}")] {
        if !folders.contains(&PathBuf::from(&folder)) {
            folders.push(folder.into());
        }
    }
    folders
}

/// The first folder that can be made or is there, and is ours alone.
pub fn own_folder() -> Result<PathBuf> {
    for folder in candidates() {
        let _ = std::fs::DirBuilder::new().mode(0o700).create(&folder);
        if is_safe(&folder) && rustix::fs::access(&folder, rustix::fs::Access::WRITE_OK).is_ok() {
            return Ok(folder);
        }
    }
    folder_in_tmp()
}

/// The folder that is the same on all nodes, whatever their environment says.
pub fn folder_in_tmp() -> Result<PathBuf> {
    let uid = rustix::process::geteuid().as_raw();
    let folder = PathBuf::from(format!("/tmp/rethaw-{uid}"));
    let _ = std::fs::DirBuilder::new().mode(0o700).create(&folder);
    if is_safe(&folder) && rustix::fs::access(&folder, rustix::fs::Access::WRITE_OK).is_ok() {
        return Ok(folder);
    }
    Err(Failure::said(format!(
        "cannot use /tmp/rethaw-{uid}: it must be a folder of yours with mode 0700"
    )))
}

fn is_safe(folder: &Path) -> bool {
    std::fs::symlink_metadata(folder).is_ok_and(|meta| {
        meta.is_dir() && meta.uid() == rustix::process::geteuid().as_raw() && meta.mode() & 0o077 == 0
    })
}

#[cfg(test)]
#[allow(clippy::expect_used)]
mod tests {
    use super::*;

    fn entry() -> Entry {
        let me = Seen::myself().expect("this process");
        Entry {
            computation: "0123456789abcdef".into(),
            name: "0123456789abcdef".into(),
            checkpoints: "/work/x".into(),
            command: vec![],
            supervisor: me.clone(),
            main: me,
            since: 0,
            interval_seconds: 0.0,
            dmtcp_port: None,
        }
    }

    #[test]
    fn a_computation_is_named_by_identity_folder_or_pid() {
        let entry = entry();
        assert!(matches(&entry, OsStr::new("0123"), None));
        assert!(matches(&entry, OsStr::new("0123456789abcdef"), None));
        assert!(matches(
            &entry,
            OsStr::new("elsewhere"),
            Some(Path::new("/work/x"))
        ));
        assert!(matches(&entry, entry.main.pid.to_string().as_ref(), None));
        assert!(!matches(&entry, OsStr::new("01"), None));
        assert!(!matches(&entry, OsStr::new("123"), None));
    }

    #[test]
    fn a_computation_is_of_the_folder_in_which_its_checkpoints_are() {
        let of = |folder: &str| is_of_folder(Path::new("/work/job/rethaw-checkpoints"), Path::new(folder));
        assert!(of("/work/job") && of("/work/job/rethaw-checkpoints"));
        assert!(!of("/work") && !of("/work/other") && !of("/"));
    }

    #[test]
    fn only_what_is_over_for_certain_is_forgotten() {
        let folder = tempfile::tempdir().expect("a folder");
        let found = |change: &dyn Fn(&mut Seen)| {
            let mut entry = entry();
            change(&mut entry.supervisor);
            change(&mut entry.main);
            Found {
                entry,
                folder: folder.path().to_path_buf(),
            }
        };
        let ended = found(&|seen| seen.pid = i32::MAX);
        assert!(ended.is_over() && !ended.is_protected());
        let in_a_container = found(&|seen| seen.machine.time_namespace = "time:[1]".into());
        assert!(!in_a_container.is_over() && !in_a_container.is_protected());
        let _listener = UnixListener::bind(in_a_container.socket()).expect("a socket");
        assert!(in_a_container.is_protected());
        assert!(!ended.is_over(), "somebody listens");
        let name = &in_a_container.entry.computation;
        assert_eq!(&free_name(folder.path(), name), name);
        write_json(&json_path(folder.path(), name), &in_a_container.entry).expect("written");
        assert_eq!(
            free_name(folder.path(), name),
            format!("{name}-{}", std::process::id())
        );
    }

    #[test]
    fn a_folder_of_others_is_not_used() {
        let folder = tempfile::tempdir().expect("a folder");
        let set_mode =
            |mode| rustix::fs::chmod(folder.path(), rustix::fs::Mode::from_raw_mode(mode)).expect("chmod");
        set_mode(0o700);
        assert!(is_safe(folder.path()));
        set_mode(0o755);
        assert!(!is_safe(folder.path()));
        assert!(!is_safe(Path::new("/nonexistent")));
    }
}
