//! What a program is told by its environment, so that launchers of parallel programs start their helpers on other nodes
//! through `rethaw rsh`. Nothing that the user has set is changed.

use super::rsh;
use crate::registry;
use std::path::PathBuf;
use std::process::Command;

/// Launchers that want the name of a program like ssh.
const REMOTE_SHELLS: [&str; 4] = [
    // Open MPI up to 4, Open MPI 5, MPICH's Hydra, Intel MPI.
    "OMPI_MCA_plm_rsh_agent",
    "PRTE_MCA_plm_ssh_agent",
    "HYDRA_LAUNCHER_EXEC",
    "I_MPI_HYDRA_BOOTSTRAP_EXEC",
];

/// That they use it also inside of an allocation, and from the first node only.
const SETTINGS: [(&str, &str); 6] = [
    ("OMPI_MCA_plm", "rsh"),
    ("OMPI_MCA_plm_rsh_no_tree_spawn", "1"),
    ("PRTE_MCA_plm", "ssh"),
    ("PRTE_MCA_plm_ssh_no_tree_spawn", "1"),
    ("HYDRA_LAUNCHER", "ssh"),
    ("I_MPI_HYDRA_BOOTSTRAP", "ssh"),
];

/// Sets them for a program of this computation.
pub fn set(command: &mut Command, computation: &str) {
    command.env(rsh::COMPUTATION, computation);
    // Without it, such launchers work as always, and what they start elsewhere is outside of the computation.
    let Some(shell) = remote_shell() else { return };
    for name in REMOTE_SHELLS {
        if std::env::var_os(name).is_none() {
            command.env(name, &shell);
        }
    }
    for (name, value) in SETTINGS {
        if std::env::var_os(name).is_none() {
            command.env(name, value);
        }
    }
}

/// Makes rethaw known by the name under which it is `rethaw rsh`. The path is the same on all nodes, because the helpers
/// that are started there look for it, too.
pub fn remote_shell() -> Option<PathBuf> {
    let shell = registry::folder_in_tmp().ok()?.join(rsh::NAME);
    let myself = std::env::current_exe().ok()?;
    if std::fs::read_link(&shell).is_ok_and(|target| target == myself) {
        return Some(shell);
    }
    let _ = std::fs::remove_file(&shell);
    std::os::unix::fs::symlink(myself, &shell).ok().map(|()| shell)
}
