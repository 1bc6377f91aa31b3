//! MPI on nodes with hardware that bypasses the kernel: what is set so that its libraries do without, and can be checkpointed.

use crate::message;
use crate::options::MpiEnv;
use std::ffi::{OsStr, OsString};
use std::path::Path;

/// Hardware of a node that an MPI library would use past the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Hardware {
    /// InfiniBand, RoCE, Omni-Path, Slingshot and the like.
    interconnect: bool,
    /// Memory of other processes without the kernel's process_vm_readv(2): XPMEM, KNEM.
    foreign_memory: bool,
}

/// A variable and the value that it gets.
type Variable = (&'static str, &'static str);

/// What goes together: where the user has set one of them, all stay as they are.
type Group = &'static [Variable];

/// UCX: MPICH, Open MPI.
const UCX: Group = &[("UCX_TLS", "self,tcp,cma,posix,sysv")];
/// Open MPI's own transports; hcoll has collectives on InfiniBand.
const OPEN_MPI: Group = &[
    ("OMPI_MCA_pml", "ob1"),
    ("OMPI_MCA_btl", "self,vader,tcp"),
    ("OMPI_MCA_coll_hcoll_enable", "0"),
];
/// libfabric: Intel MPI, MPICH.
const FABRIC: Group = &[("FI_PROVIDER", "tcp")];
/// Open MPI 4 and 5 within a node.
const COPY: Group = &[
    ("OMPI_MCA_btl_vader_single_copy_mechanism", "cma"),
    ("OMPI_MCA_smsc", "cma"),
];

const LAUNCHERS: [&str; 12] = [
    "mpirun",
    "mpirun.openmpi",
    "mpirun.mpich",
    "mpiexec",
    "mpiexec.openmpi",
    "mpiexec.mpich",
    "mpiexec.hydra",
    "orterun",
    "prterun",
    "prun",
    "srun",
    "aprun",
];

/// What this node has.
fn hardware() -> Hardware {
    let not_empty = |folder: &str| {
        Path::new(folder)
            .read_dir()
            .is_ok_and(|mut entries| entries.next().is_some())
    };
    let devices: Vec<OsString> = Path::new("/dev")
        .read_dir()
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.file_name())
        .collect();
    let any = |names: &[&str]| {
        let begins = |device: &OsString| {
            names
                .iter()
                .any(|name| device.as_encoded_bytes().starts_with(name.as_bytes()))
        };
        devices.iter().any(begins)
    };
    Hardware {
        interconnect: not_empty("/sys/class/infiniband") || any(&["hfi1", "ipath", "cxi", "kgni", "usnic"]),
        foreign_memory: any(&["xpmem", "knem"]),
    }
}

/// Whether a command line starts MPI programs, perhaps after `env`, `nice` or `sh -c`.
fn launches_mpi(program: &[OsString]) -> bool {
    let is_launcher = |word: &str| {
        let name = Path::new(word).file_name().and_then(OsStr::to_str);
        name.is_some_and(|name| LAUNCHERS.contains(&name))
    };
    program
        .iter()
        .any(|word| word.to_string_lossy().split_whitespace().any(is_launcher))
}

/// What is to be set.
fn variables(hardware: Hardware, is_set: impl Fn(&str) -> bool) -> Vec<Variable> {
    let mut groups = Vec::new();
    if hardware.interconnect {
        groups.extend([UCX, OPEN_MPI, FABRIC]);
    }
    if hardware.foreign_memory {
        groups.extend([UCX, COPY]);
    }
    let mut wanted: Vec<Variable> = Vec::new();
    for group in groups {
        if !group.iter().any(|(name, _)| is_set(name)) {
            wanted.extend(
                group
                    .iter()
                    .filter(|variable| !wanted.contains(variable))
                    .copied()
                    .collect::<Vec<_>>(),
            );
        }
    }
    wanted
}

/// What a program is to be launched with, and says so.
pub fn environment(program: &[OsString], wanted: MpiEnv) -> Vec<Variable> {
    let hardware = match wanted {
        MpiEnv::No => return Vec::new(),
        MpiEnv::Auto if !launches_mpi(program) => return Vec::new(),
        MpiEnv::Auto => hardware(),
        MpiEnv::Yes => Hardware {
            interconnect: true,
            foreign_memory: true,
        },
    };
    let set = variables(hardware, |name| std::env::var_os(name).is_some());
    if !set.is_empty() {
        let list: Vec<String> = set
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        message::note(format!(
            "MPI is to keep to what can be checkpointed: {} (--mpi-env no leaves it alone)",
            list.join(" ")
        ));
    }
    set
}

#[cfg(test)]
mod tests {
    use super::*;

    fn launches(line: &str) -> bool {
        let words: Vec<OsString> = line.split('|').map(OsString::from).collect();
        launches_mpi(&words)
    }

    #[test]
    fn launchers_of_mpi_are_known() {
        for line in [
            "mpirun|-n|2|./app",
            "/usr/bin/mpirun.openmpi|./app",
            "mpiexec.hydra|./app",
            "mpiexec.mpich|./app",
            "prterun|./app",
            "srun|--mpi=pmix|./app",
            "env|A=1|mpirun|./app",
            "sh|-c|cd run && mpirun -n 2 ./app",
        ] {
            assert!(launches(line), "{line}");
        }
        for line in ["./app", "python3|mpirun.py|srunning", "sh|-c|echo x"] {
            assert!(!launches(line), "{line}");
        }
    }

    #[test]
    fn only_what_the_hardware_asks_for_and_the_user_has_not_set() {
        let none = |_: &str| false;
        assert!(variables(Hardware::default(), none).is_empty());
        let interconnect = Hardware {
            interconnect: true,
            ..Hardware::default()
        };
        let names = |set: Vec<Variable>| set.into_iter().map(|(name, _)| name).collect::<Vec<_>>();
        assert_eq!(
            names(variables(interconnect, none)),
            [
                "UCX_TLS",
                "OMPI_MCA_pml",
                "OMPI_MCA_btl",
                "OMPI_MCA_coll_hcoll_enable",
                "FI_PROVIDER"
            ]
        );
        let btl = |name: &str| name == "OMPI_MCA_btl";
        assert_eq!(names(variables(interconnect, btl)), ["UCX_TLS", "FI_PROVIDER"]);
        let xpmem = Hardware {
            foreign_memory: true,
            ..Hardware::default()
        };
        let ucx = |name: &str| name == "UCX_TLS";
        assert_eq!(
            names(variables(xpmem, ucx)),
            ["OMPI_MCA_btl_vader_single_copy_mechanism", "OMPI_MCA_smsc"]
        );
        let both = Hardware {
            interconnect: true,
            foreign_memory: true,
        };
        assert_eq!(variables(both, none).len(), 7);
    }
}
