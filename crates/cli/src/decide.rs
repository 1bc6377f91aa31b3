//! What `rethaw run` does with what it finds in DIR: a pure decision.
//!
//! | the computation of DIR          | `run` does                                               |
//! |---------------------------------|----------------------------------------------------------|
//! | runs here, its rethaw is gone   | protects it again and waits for it                       |
//! | was last seen on another host   | stops, unless the batch system says that it is over      |
//! | was another command line        | refuses, unless `--any-command`                          |
//! | has finished                    | says so                                                  |
//! | has a complete checkpoint       | restarts                                                 |
//! | none of these                   | launches                                                 |
//!
//! (A living rethaw holds the lock of DIR; then it does not come to this.)

/// Where the computation of a folder is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Whereabouts {
    /// Nowhere: it never ran, ended, or its machine was rebooted.
    NotRunning,
    /// On this machine, without a rethaw.
    Unprotected {
        /// Main process.
        pid: i32,
    },
    /// It was last seen on another host.
    Elsewhere {
        /// Which.
        host: String,
        /// Why it cannot be running there any more, if the batch system tells.
        over: Option<String>,
    },
}

/// What is known.
#[derive(Debug, Clone)]
pub struct Facts {
    /// DIR has a complete checkpoint.
    pub has_checkpoint: bool,
    /// The program had ended with success.
    pub finished: bool,
    /// The saved command line is the given one; `None` where none is saved.
    pub same_command: Option<bool>,
    /// Where it is.
    pub whereabouts: Whereabouts,
    /// `--fresh`
    pub fresh: bool,
    /// `--any-command`
    pub any_command: bool,
    /// `--take-over`
    pub take_over: bool,
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Start the program.
    Launch {
        /// Forget what is in DIR first.
        clear: bool,
    },
    /// Go on from the newest complete checkpoint.
    Restart,
    /// Nothing is left to do.
    AlreadyFinished,
    /// Protect the running program.
    Attach {
        /// Main process.
        pid: i32,
    },
    /// Do nothing.
    Refuse(Refusal),
}

/// Why nothing is done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// DIR is of another command line.
    OtherCommand,
    /// It still runs here, and was to be started afresh.
    RunsHere {
        /// Main process.
        pid: i32,
    },
    /// It may still run there.
    MayRunElsewhere {
        /// Host.
        host: String,
    },
}

/// The table above, from top to bottom.
pub fn decide(facts: &Facts) -> Decision {
    let foreign = facts.same_command == Some(false) && !facts.any_command;
    match &facts.whereabouts {
        Whereabouts::Unprotected { pid } if facts.fresh => {
            return Decision::Refuse(Refusal::RunsHere { pid: *pid });
        }
        Whereabouts::Unprotected { .. } if foreign => return Decision::Refuse(Refusal::OtherCommand),
        Whereabouts::Unprotected { pid } => return Decision::Attach { pid: *pid },
        Whereabouts::Elsewhere { host, over: None } if !facts.take_over => {
            return Decision::Refuse(Refusal::MayRunElsewhere { host: host.clone() });
        }
        Whereabouts::Elsewhere { .. } | Whereabouts::NotRunning => {}
    }
    let something = facts.has_checkpoint || facts.finished;
    if facts.fresh {
        Decision::Launch { clear: true }
    } else if foreign && something {
        Decision::Refuse(Refusal::OtherCommand)
    } else if facts.finished {
        Decision::AlreadyFinished
    } else if facts.has_checkpoint {
        Decision::Restart
    } else {
        Decision::Launch { clear: false }
    }
}

#[cfg(test)]
#[allow(clippy::expect_used)]
mod tests {
    use super::*;

    fn nothing() -> Facts {
        Facts {
            has_checkpoint: false,
            finished: false,
            same_command: None,
            whereabouts: Whereabouts::NotRunning,
            fresh: false,
            any_command: false,
            take_over: false,
        }
    }

    fn checkpointed() -> Facts {
        Facts {
            has_checkpoint: true,
            same_command: Some(true),
            ..nothing()
        }
    }

    fn elsewhere(over: Option<&str>) -> Whereabouts {
        Whereabouts::Elsewhere {
            host: "node2".into(),
            over: over.map(str::to_string),
        }
    }

    #[test]
    fn an_empty_folder_launches() {
        assert_eq!(decide(&nothing()), Decision::Launch { clear: false });
        let died_early = Facts {
            same_command: Some(true),
            ..nothing()
        };
        assert_eq!(decide(&died_early), Decision::Launch { clear: false });
        let other_died_early = Facts {
            same_command: Some(false),
            ..nothing()
        };
        assert_eq!(decide(&other_died_early), Decision::Launch { clear: false });
    }

    #[test]
    fn a_checkpoint_restarts() {
        assert_eq!(decide(&checkpointed()), Decision::Restart);
        let copied = Facts {
            same_command: None,
            ..checkpointed()
        };
        assert_eq!(decide(&copied), Decision::Restart);
    }

    #[test]
    fn a_finished_computation_is_not_replayed() {
        let finished = Facts {
            finished: true,
            ..checkpointed()
        };
        assert_eq!(decide(&finished), Decision::AlreadyFinished);
        let fresh = Facts {
            fresh: true,
            ..finished
        };
        assert_eq!(decide(&fresh), Decision::Launch { clear: true });
    }

    #[test]
    fn another_command_line_is_refused_unless_told() {
        let other = Facts {
            same_command: Some(false),
            ..checkpointed()
        };
        assert_eq!(decide(&other), Decision::Refuse(Refusal::OtherCommand));
        let finished = Facts {
            finished: true,
            has_checkpoint: false,
            ..other.clone()
        };
        assert_eq!(decide(&finished), Decision::Refuse(Refusal::OtherCommand));
        assert_eq!(
            decide(&Facts {
                any_command: true,
                ..other.clone()
            }),
            Decision::Restart
        );
        assert_eq!(
            decide(&Facts { fresh: true, ..other }),
            Decision::Launch { clear: true }
        );
    }

    #[test]
    fn a_running_program_is_protected_again_and_never_doubled() {
        let running = Facts {
            whereabouts: Whereabouts::Unprotected { pid: 42 },
            ..checkpointed()
        };
        assert_eq!(decide(&running), Decision::Attach { pid: 42 });
        let early = Facts {
            has_checkpoint: false,
            ..running.clone()
        };
        assert_eq!(decide(&early), Decision::Attach { pid: 42 });
        let other = Facts {
            same_command: Some(false),
            ..running.clone()
        };
        assert_eq!(decide(&other), Decision::Refuse(Refusal::OtherCommand));
        let fresh = Facts {
            fresh: true,
            take_over: true,
            ..running
        };
        assert_eq!(decide(&fresh), Decision::Refuse(Refusal::RunsHere { pid: 42 }));
    }

    #[test]
    fn another_host_stops_unless_it_is_over_there() {
        let there = Facts {
            whereabouts: elsewhere(None),
            ..checkpointed()
        };
        let refusal = Decision::Refuse(Refusal::MayRunElsewhere { host: "node2".into() });
        assert_eq!(decide(&there), refusal);
        assert_eq!(
            decide(&Facts {
                fresh: true,
                ..there.clone()
            }),
            refusal
        );
        assert_eq!(
            decide(&Facts {
                has_checkpoint: false,
                ..there.clone()
            }),
            refusal
        );
        assert_eq!(
            decide(&Facts {
                take_over: true,
                ..there.clone()
            }),
            Decision::Restart
        );
        let over = Facts {
            whereabouts: elsewhere(Some("requeued")),
            ..checkpointed()
        };
        assert_eq!(decide(&over), Decision::Restart);
    }
}
