//! What this machine and this user allow, found out by trying it; kernel versions are never compared.
//!
//! [`Probe::run`] gathers the facts, on which decisions rest ([`Probe::restart_mode`]); [`Probe::findings`] says in
//! words what follows for the user, for `rethaw doctor`.

use std::fmt;
use std::io;
use std::path::Path;

use rustix::io::Errno;

mod findings;
mod kernel;
mod machine;
mod namespaces;
mod tracing;
mod trial;

pub use kernel::Interfaces;
pub use machine::Machine;
pub use namespaces::Namespaces;
pub use tracing::Tracing;

/// What came of trying something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It works.
    Works,
    /// The kernel refused with this error.
    Refused(Errno),
    /// Not tried, because something that it needs was refused.
    Untried,
}

impl Outcome {
    /// Whether it works.
    pub fn works(&self) -> bool {
        *self == Outcome::Works
    }

    fn refused(error: &io::Error) -> Outcome {
        Outcome::Refused(Errno::from_io_error(error).unwrap_or(Errno::IO))
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Outcome::Works => f.write_str("works"),
            Outcome::Refused(errno) => write!(f, "refused: {errno}"),
            Outcome::Untried => f.write_str("not tried"),
        }
    }
}

/// How a finding bears on the user.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// As it should be.
    Ok,
    /// Something works less well, or differently.
    Warn,
    /// Something that rethaw is for does not work.
    Bad,
}

/// One line for `rethaw doctor`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What was looked at.
    pub name: &'static str,
    /// How it bears on the user.
    pub level: Level,
    /// What was found.
    pub found: String,
    /// One plain sentence about what follows for the user.
    pub consequence: String,
}

/// How a restart gives the processes their old numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestartMode {
    /// In new user and pid namespaces.
    Namespaces,
    /// By capability, in the namespaces of the caller.
    Privileged,
    /// Not at all, as long as nothing translates the numbers in system calls, which is not built yet.
    Translated,
}

/// All facts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// What a restart needs.
    pub namespaces: Namespaces,
    /// What a checkpoint needs.
    pub tracing: Tracing,
    /// Interfaces of the kernel.
    pub interfaces: Interfaces,
    /// What the machine gives.
    pub machine: Machine,
}

impl Probe {
    /// Gathers all facts; takes some milliseconds. `folder` is where checkpoints are to go; it need not exist.
    ///
    /// Children are forked for it and waited for by their numbers: nobody else in this process may wait for any
    /// child meanwhile.
    ///
    /// # Errors
    /// The system has no memory, processes or descriptors left for trying.
    pub fn run(folder: &Path) -> io::Result<Probe> {
        Ok(Probe {
            namespaces: namespaces::try_all()?,
            tracing: tracing::try_all()?,
            interfaces: kernel::try_all(),
            machine: machine::read(folder),
        })
    }

    /// The best way to restart here.
    pub fn restart_mode(&self) -> RestartMode {
        if self.namespaces.suffice() {
            RestartMode::Namespaces
        } else if self.namespaces.chosen_pid_outside.works() {
            RestartMode::Privileged
        } else {
            RestartMode::Translated
        }
    }

    /// The facts in words, the most important first.
    pub fn findings(&self) -> Vec<Finding> {
        findings::all(self)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_is_probed() {
        let probe = Probe::run(Path::new(".")).unwrap();
        assert!(probe.tracing.child.works(), "{:?}", probe.tracing);
        assert!(!probe.machine.release.is_empty());
        assert!(probe.machine.free_space.is_some());
        if probe.namespaces.suffice() {
            assert_eq!(probe.restart_mode(), RestartMode::Namespaces);
        }
        for finding in probe.findings() {
            println!(
                "{:?} {}: {}. {}",
                finding.level, finding.name, finding.found, finding.consequence
            );
            assert!(finding.consequence.ends_with('.') && !finding.found.is_empty());
        }
    }

    #[test]
    fn probing_leaves_nothing_behind() {
        let maps = || crate::proc::Maps::read_brief(crate::proc::Pid::own()).unwrap();
        let vdsos = || maps().vmas.iter().filter(|vma| vma.name == b"[vdso]").count();
        let before = (std::fs::read_link("/proc/self/ns/user").unwrap(), vdsos());
        Probe::run(Path::new(".")).unwrap();
        assert_eq!(
            (std::fs::read_link("/proc/self/ns/user").unwrap(), vdsos()),
            before
        );
    }

    #[test]
    fn without_namespaces_there_is_no_restart() {
        let mut probe = Probe::run(Path::new(".")).unwrap();
        probe.namespaces.user = Outcome::Refused(Errno::NOSPC);
        probe.namespaces.chosen_pid_outside = Outcome::Refused(Errno::PERM);
        assert_eq!(probe.restart_mode(), RestartMode::Translated);
        assert_eq!(probe.findings()[0].level, Level::Bad);
        probe.namespaces.chosen_pid_outside = Outcome::Works;
        assert_eq!(probe.restart_mode(), RestartMode::Privileged);
    }
}
