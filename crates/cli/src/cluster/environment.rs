//! What a program is told by its environment, so that launchers of parallel programs start their helpers on other nodes
//! through `rethaw rsh`. Nothing that the user has set is changed.

use super::rsh;
use std::path::Path;
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

/// Sets them for a program whose checkpoints go to `folder`.
pub fn set(command: &mut Command, folder: &Path, computation: &str) {
    command.env(rsh::COMPUTATION, computation);
    let shell = folder.join(rsh::NAME);
    let Ok(myself) = std::env::current_exe() else {
        return;
    };
    let _ = std::fs::remove_file(&shell);
    if std::os::unix::fs::symlink(myself, &shell).is_err() {
        // Without it, such launchers work as always, and what they start elsewhere is outside of the computation.
        return;
    }
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
