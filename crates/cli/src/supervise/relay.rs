//! Which signals that rethaw receives are passed on to the program.
//!
//! The program shares rethaw's process group, as under the shell. What the kernel sends to the group
//! (Ctrl-C, Ctrl-Z, a new window size, a hang-up) has therefore reached the program already, and passing it
//! on would make it come twice. What a process sent to rethaw alone has not.

use nix::sys::signal::Signal;

/// A signal as it came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Received {
    /// Which.
    pub signal: Signal,
    /// si_code: positive when the kernel sent it.
    pub code: i32,
    /// si_pid: who sent it, 0 when that process is in another pid namespace.
    pub sender: i32,
}

/// What the rule needs to know of the computation.
#[derive(Debug, Clone, Copy)]
pub struct Circumstances<'a> {
    /// `--checkpoint-on`
    pub checkpoint_on: Option<Signal>,
    /// `--stop-on`
    pub stop_on: Option<Signal>,
    /// The main process is in rethaw's process group.
    pub shares_group: bool,
    /// Processes of the computation.
    pub processes: &'a [i32],
}

/// What to do with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Nothing: the program has it, or it is rethaw's own business.
    Nothing,
    /// Send it to the main process.
    Relay,
    /// Take a checkpoint.
    Checkpoint,
    /// Take a checkpoint and end.
    Stop,
}

/// SI_USER, SI_QUEUE, SI_TKILL and the like are 0 or negative; SI_KERNEL and the causes of the kernel positive.
fn is_from_kernel(received: Received) -> bool {
    received.code > 0
}

/// The rule.
pub fn action(received: Received, circumstances: Circumstances<'_>) -> Action {
    if received.signal == Signal::SIGCHLD {
        return Action::Nothing;
    }
    if circumstances.stop_on == Some(received.signal) {
        return Action::Stop;
    }
    if circumstances.checkpoint_on == Some(received.signal) {
        return Action::Checkpoint;
    }
    let has_it = if is_from_kernel(received) {
        circumstances.shares_group
    } else {
        // A program that signals its own group, as kill(0, …) does, has signalled itself.
        circumstances.processes.contains(&received.sender)
    };
    if has_it { Action::Nothing } else { Action::Relay }
}

#[cfg(test)]
#[allow(clippy::expect_used)]
mod tests {
    use super::*;
    const SI_KERNEL: i32 = 0x80;
    const SI_USER: i32 = 0;
    const SI_TKILL: i32 = -6;

    fn circumstances() -> Circumstances<'static> {
        Circumstances {
            checkpoint_on: Some(Signal::SIGUSR1),
            stop_on: Some(Signal::SIGUSR2),
            shares_group: true,
            processes: &[100, 101],
        }
    }

    fn received(signal: Signal, code: i32, sender: i32) -> Received {
        Received { signal, code, sender }
    }

    #[test]
    fn the_terminal_has_told_the_program_already() {
        for signal in [Signal::SIGINT, Signal::SIGTSTP, Signal::SIGWINCH, Signal::SIGHUP] {
            assert_eq!(
                action(received(signal, SI_KERNEL, 0), circumstances()),
                Action::Nothing
            );
        }
    }

    #[test]
    fn the_terminal_does_not_reach_another_group() {
        let apart = Circumstances {
            shares_group: false,
            ..circumstances()
        };
        assert_eq!(
            action(received(Signal::SIGINT, SI_KERNEL, 0), apart),
            Action::Relay
        );
    }

    #[test]
    fn what_was_sent_to_us_alone_is_relayed() {
        for code in [SI_USER, SI_TKILL] {
            assert_eq!(
                action(received(Signal::SIGTERM, code, 7), circumstances()),
                Action::Relay
            );
        }
        // From outside of our pid namespace.
        assert_eq!(
            action(received(Signal::SIGTERM, SI_USER, 0), circumstances()),
            Action::Relay
        );
    }

    #[test]
    fn what_the_program_sent_is_not_sent_back() {
        assert_eq!(
            action(received(Signal::SIGTERM, SI_USER, 101), circumstances()),
            Action::Nothing
        );
    }

    #[test]
    fn chosen_signals_take_checkpoints_whoever_sent_them() {
        for (code, sender) in [(SI_KERNEL, 0), (SI_USER, 7), (SI_USER, 100)] {
            assert_eq!(
                action(received(Signal::SIGUSR1, code, sender), circumstances()),
                Action::Checkpoint
            );
            assert_eq!(
                action(received(Signal::SIGUSR2, code, sender), circumstances()),
                Action::Stop
            );
        }
    }

    #[test]
    fn children_are_our_own_business() {
        assert_eq!(
            action(received(Signal::SIGCHLD, 1, 100), circumstances()),
            Action::Nothing
        );
    }
}
