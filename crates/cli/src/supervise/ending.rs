//! The end of rethaw is the end of the program: same exit status, same death by signal.

use crate::failure::status;
use crate::message;
use rethaw_engine::tree::Ended;
use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};
use std::process::ExitCode;

/// Exit status after a checkpoint that was to end the computation (EX_TEMPFAIL: try again later).
pub const STOPPED: u8 = 75;

/// How the supervision ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The program did.
    Ended(Ended),
    /// It was checkpointed and ended on request.
    Stopped,
    /// It was checked and ended.
    Checked,
}

impl Outcome {
    /// For DIR/state.json and messages.
    pub fn describe(self) -> String {
        match self {
            Outcome::Ended(Ended::Exited(status)) => format!("exited with status {status}"),
            Outcome::Ended(Ended::Signalled(signal)) => format!("was killed by {}", signal_name(signal)),
            Outcome::Ended(Ended::Unknown) => "ended".to_string(),
            Outcome::Stopped => "was stopped after a checkpoint".to_string(),
            Outcome::Checked => "was ended after a check".to_string(),
        }
    }

    /// Ends this process likewise.
    pub fn exit(self) -> ExitCode {
        match self {
            Outcome::Ended(Ended::Exited(status)) => ExitCode::from((status & 0xff) as u8),
            Outcome::Ended(Ended::Signalled(signal)) => die_by(signal),
            Outcome::Ended(Ended::Unknown) => {
                message::fail(
                    "the program has ended; this kernel does not tell how, as rethaw was not its parent",
                );
                ExitCode::from(status::FAILED)
            }
            Outcome::Stopped => ExitCode::from(STOPPED),
            Outcome::Checked => ExitCode::SUCCESS,
        }
    }
}

fn signal_name(signal: i32) -> String {
    match nix::sys::signal::Signal::try_from(signal) {
        Ok(known) => known.to_string(),
        Err(_) => format!("signal {signal}"),
    }
}

/// The program's core dump, if any, is the program's: rethaw leaves none.
fn die_by(signal: i32) -> ExitCode {
    let _ = setrlimit(
        Resource::Core,
        Rlimit {
            current: Some(0),
            maximum: Some(0),
        },
    );
    let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
    let _ = signal_hook::low_level::emulate_default_handler(signal);
    // A real-time signal, or one that does not end a process by default: as a shell would report it.
    ExitCode::from((128 + signal) as u8)
}

#[cfg(test)]
#[allow(clippy::expect_used)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_for_people() {
        assert_eq!(
            Outcome::Ended(Ended::Exited(3)).describe(),
            "exited with status 3"
        );
        assert_eq!(
            Outcome::Ended(Ended::Signalled(9)).describe(),
            "was killed by SIGKILL"
        );
        assert_eq!(
            Outcome::Ended(Ended::Signalled(40)).describe(),
            "was killed by signal 40"
        );
    }
}
