//! What the machine and the site give: memory, limits, settings, space.

use std::fs;
use std::path::{Path, PathBuf};

use crate::proc::{Limits, Pid};

/// Facts that are read, not tried. `None` where the kernel does not tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    /// Kernel release, such as `6.18.44`.
    pub release: String,
    /// Real user id.
    pub user: u32,
    /// Effective user id.
    pub effective_user: u32,
    /// Resource limits.
    pub limits: Option<Limits>,
    /// Least memory limit of the control groups that this process is in, in bytes.
    pub cgroup_memory: Option<u64>,
    /// `vm.overcommit_memory`: 0 heuristic, 1 always, 2 never.
    pub overcommit: Option<u32>,
    /// Transparent huge pages: `always`, `madvise`, `never`.
    pub huge_pages: Option<String>,
    /// `user.max_user_namespaces`.
    pub most_user_namespaces: Option<u64>,
    /// Settings that keep ordinary users from using user namespaces, as `name = value`.
    pub namespace_bans: Vec<String>,
    /// The folder for checkpoints, and the bytes that this user may still write there.
    pub free_space: Option<(PathBuf, u64)>,
}

impl Machine {
    /// Root, or started through a set-user-id file.
    pub fn is_root(&self) -> bool {
        self.effective_user == 0
    }
}

pub(super) fn read(folder: &Path) -> Machine {
    Machine {
        release: rustix::system::uname().release().to_string_lossy().into_owned(),
        user: rustix::process::getuid().as_raw(),
        effective_user: rustix::process::geteuid().as_raw(),
        limits: Limits::read(Pid::own()).ok(),
        cgroup_memory: cgroup_memory(),
        overcommit: number("/proc/sys/vm/overcommit_memory").map(|mode| mode as u32),
        huge_pages: fs::read_to_string("/sys/kernel/mm/transparent_hugepage/enabled")
            .ok()
            .and_then(|text| chosen(&text)),
        most_user_namespaces: number("/proc/sys/user/max_user_namespaces"),
        namespace_bans: namespace_bans(),
        free_space: free_space(folder),
    }
}

fn number(path: &str) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// The word in brackets of `always [madvise] never`.
fn chosen(text: &str) -> Option<String> {
    let (_, rest) = text.split_once('[')?;
    let (word, _) = rest.split_once(']')?;
    Some(word.to_owned())
}

/// Debian's switch, Ubuntu's (since 23.10), and the kernel's own.
fn namespace_bans() -> Vec<String> {
    let bans = [
        (
            "/proc/sys/kernel/unprivileged_userns_clone",
            "kernel.unprivileged_userns_clone",
            0,
        ),
        (
            "/proc/sys/kernel/apparmor_restrict_unprivileged_userns",
            "kernel.apparmor_restrict_unprivileged_userns",
            1,
        ),
        (
            "/proc/sys/user/max_user_namespaces",
            "user.max_user_namespaces",
            0,
        ),
    ];
    let in_force = bans
        .iter()
        .filter(|(path, _, forbids)| number(path) == Some(*forbids));
    in_force
        .map(|(_, name, value)| format!("{name} = {value}"))
        .collect()
}

/// Cgroup v2 (`memory.max`) and v1 (`memory.limit_in_bytes`), from this process's group up to the root.
fn cgroup_memory() -> Option<u64> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    groups.lines().filter_map(group_limit).min()
}

fn group_limit(line: &str) -> Option<u64> {
    /// What v1 shows for no limit: the largest multiple of the page size.
    const V1_UNLIMITED: u64 = i64::MAX as u64 & !0xfff;
    let (root, path, file) = memory_group(line)?;
    let group = root.join(path.trim_start_matches('/'));
    let groups = group.ancestors().take_while(|group| group.starts_with(root));
    let limits = groups.filter_map(|group| number(group.join(file).to_str()?));
    limits.filter(|&limit| limit < V1_UNLIMITED).min()
}

/// The hierarchy's root, the group's path and the limit's file, of a line of cgroups(7) `ID:CONTROLLERS:PATH`.
fn memory_group(line: &str) -> Option<(&'static Path, &str, &'static str)> {
    let mut parts = line.splitn(3, ':');
    let (_, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
    if controllers.is_empty() {
        Some((Path::new("/sys/fs/cgroup"), path, "memory.max"))
    } else if controllers.split(',').any(|name| name == "memory") {
        Some((Path::new("/sys/fs/cgroup/memory"), path, "memory.limit_in_bytes"))
    } else {
        None
    }
}

/// Asks the nearest folder that exists, since the one for checkpoints is made later.
fn free_space(folder: &Path) -> Option<(PathBuf, u64)> {
    let absolute = std::path::absolute(folder).ok()?;
    let found = absolute
        .ancestors()
        .find_map(|folder| rustix::fs::statvfs(folder).ok())?;
    Some((absolute, found.f_bavail.saturating_mul(found.f_frsize)))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_cgroups_are_understood() {
        let v2 = memory_group("0::/user.slice/a:b").unwrap();
        assert_eq!((v2.1, v2.2), ("/user.slice/a:b", "memory.max"));
        let v1 = memory_group("4:cpu,memory:/slurm/job_1").unwrap();
        assert_eq!((v1.0, v1.1), (Path::new("/sys/fs/cgroup/memory"), "/slurm/job_1"));
        assert_eq!(memory_group("3:cpuset:/"), None);
        assert_eq!(memory_group(""), None);
        assert_eq!(chosen("always [madvise] never\n").unwrap(), "madvise");
    }

    #[test]
    fn a_folder_that_is_not_there_yet_has_space() {
        let folder = tempfile::tempdir().unwrap();
        let (path, _) = free_space(&folder.path().join("not/there")).unwrap();
        assert!(path.ends_with("not/there"));
    }
}
