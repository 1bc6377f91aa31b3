//! A model of an agent and its processes.

use crate::world::{Faults, Folder, Random};
use rethaw_cluster::*;
use std::time::Duration;

/// What its processes do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Program {
    Runs,
    Frozen,
    /// Rebuilt, or being rebuilt, by a restart that is not complete.
    Rebuilt,
    Ended,
}

#[derive(Debug)]
pub struct Agent {
    pub number: Option<u32>,
    pub program: Program,
    /// What it was told to freeze for.
    attempt: Option<Freeze>,
    /// Of this attempt it has an image.
    image: bool,
    /// Has said farewell.
    pub has_left: bool,
}

/// What comes out of a step.
#[derive(Debug)]
pub enum Step {
    /// Nothing.
    Silent,
    /// A report, after some work. It is dropped if the attempt is over by then.
    Answer(Report, u64),
    /// A report long after anybody waits for it.
    Late(Report),
    /// It dies, before or after what it was about to do.
    Die,
}

fn rolls(random: &mut Random, in_thousand: u64) -> bool {
    random.below(1000) < in_thousand
}

impl Agent {
    pub fn new(program: Program) -> Agent {
        Agent {
            number: None,
            program,
            attempt: None,
            image: false,
            has_left: false,
        }
    }

    /// Whether an answer that was prepared for this attempt still makes sense.
    pub fn is_in(&self, attempt: u64) -> bool {
        attempt == 0 || self.attempt.is_some_and(|freeze| freeze.attempt == attempt)
    }

    /// Whether it waits for the end of an attempt.
    pub fn in_attempt(&self) -> bool {
        self.attempt.is_some()
    }

    /// Something an agent does instead of what it was told, if it is so unlucky.
    fn misfortune(&self, random: &mut Random, faults: &Faults, attempt: u64) -> Option<Step> {
        let sentence = "it burns".to_string();
        if rolls(random, faults.crash) {
            return Some(Step::Die);
        }
        if rolls(random, faults.hang) {
            return Some(Step::Silent);
        }
        if rolls(random, faults.leave) && attempt != 0 {
            return Some(Step::Answer(Report::Ended(Ended { status: Some(0) }), 0));
        }
        let refused = rolls(random, faults.refuse);
        if refused || rolls(random, faults.fail) {
            let failed = Failed {
                attempt,
                sentence,
                refused,
            };
            return Some(Step::Answer(Report::Failed(failed), attempt));
        }
        if rolls(random, faults.pass) && attempt != 0 {
            return Some(Step::Answer(
                Report::Passing(Passing { attempt, sentence }),
                attempt,
            ));
        }
        None
    }

    pub fn takes(&mut self, order: Order, random: &mut Random, faults: &Faults, folder: &mut Folder) -> Step {
        match order {
            Order::Welcome(one) => self.number = Some(one.agent),
            Order::Freeze(one) => {
                assert!(self.attempt.is_none(), "a new attempt before the last was over");
                assert_ne!(self.program, Program::Rebuilt);
                self.attempt = Some(one);
                self.image = false;
                self.program = Program::Frozen;
                let frozen = Frozen {
                    attempt: one.attempt,
                    ends: Vec::new(),
                };
                return self.answers(Report::Frozen(frozen), one.attempt, random, faults);
            }
            Order::Drain(one) => {
                assert_eq!(self.program, Program::Frozen);
                let drained = Drained { attempt: one.attempt };
                return self.answers(Report::Drained(drained), one.attempt, random, faults);
            }
            Order::Collect(one) => {
                assert_eq!(self.program, Program::Frozen);
                let collected = Collected { attempt: one.attempt };
                return self.answers(Report::Collected(collected), one.attempt, random, faults);
            }
            Order::Resume(one) => return self.writes(one.attempt, random, faults, folder),
            Order::Commit(one) => return self.commits(&one, random, faults, folder),
            Order::Done(one) => {
                assert!(
                    folder.manifests.contains(&one.generation),
                    "done without a manifest"
                );
                let stop = self.attempt.take().is_some_and(|freeze| freeze.stop);
                return if stop { self.ends() } else { self.runs() };
            }
            Order::Abort(one) if one.attempt == 0 => return self.ends(),
            Order::Abort(one) => {
                let current = self.attempt.take();
                if let Some(freeze) = current
                    && self.image
                    && !one.keep_image
                {
                    folder.images.remove(&(freeze.generation, freeze.image));
                }
                return self.runs();
            }
            Order::Start(one) => {
                assert_ne!(self.program, Program::Frozen, "started in the pause");
                let started = Started {
                    ticket: one.ticket,
                    error: None,
                };
                return Step::Answer(Report::Started(started), 0);
            }
            Order::Prepare(one) => {
                assert!(one.of(self.number.unwrap()).is_some());
                self.program = Program::Rebuilt;
                return self.answers(Report::Prepared(Prepared {}), 0, random, faults);
            }
            Order::Go(_) => {
                assert_eq!(self.program, Program::Rebuilt);
                self.program = Program::Runs;
            }
            Order::Kill(_) => return self.ends(),
            _ => (),
        }
        Step::Silent
    }

    fn answers(&self, report: Report, attempt: u64, random: &mut Random, faults: &Faults) -> Step {
        let misfortune = self.misfortune(random, faults, attempt);
        misfortune.unwrap_or(Step::Answer(report, attempt))
    }

    fn runs(&mut self) -> Step {
        if self.program == Program::Frozen {
            self.program = Program::Runs;
        }
        Step::Silent
    }

    fn ends(&mut self) -> Step {
        self.program = Program::Ended;
        self.attempt = None;
        Step::Answer(Report::Ended(Ended { status: None }), 0)
    }

    fn writes(&mut self, attempt: u64, random: &mut Random, faults: &Faults, folder: &mut Folder) -> Step {
        let freeze = self.attempt.unwrap();
        let generation = freeze.generation;
        if !freeze.stop {
            self.program = Program::Runs;
        }
        if let Some(misfortune) = self.misfortune(random, faults, attempt) {
            return misfortune;
        }
        self.image = true;
        let is_new = folder.images.insert((generation, freeze.image));
        assert!(is_new, "checkpoint {generation} had been written before");
        if rolls(random, faults.crash) {
            return Step::Die;
        }
        let written = Written {
            attempt,
            bytes: 1,
            ..Written::default()
        };
        Step::Answer(Report::Written(written), attempt)
    }

    fn commits(
        &mut self,
        commit: &Commit,
        random: &mut Random,
        faults: &Faults,
        folder: &mut Folder,
    ) -> Step {
        if let Some(misfortune) = self.misfortune(random, faults, commit.attempt) {
            return misfortune;
        }
        let numbers: Vec<u32> = commit.images.iter().map(|image| image.image).collect();
        let wanted: Vec<u32> = (0..self.attempt.unwrap().images).collect();
        assert_eq!(numbers, wanted);
        for image in &numbers {
            assert!(
                folder.images.contains(&(commit.generation, *image)),
                "a manifest without image {image}"
            );
        }
        let parts = numbers;
        assert!(folder.manifests.insert(commit.generation), "committed twice");
        folder.bound.push((commit.generation, parts));
        if rolls(random, faults.crash) {
            return Step::Die;
        }
        let committed = Committed {
            attempt: commit.attempt,
        };
        if rolls(random, faults.hang) {
            return Step::Late(Report::Committed(committed));
        }
        Step::Answer(Report::Committed(committed), commit.attempt)
    }

    /// The coordinator is gone: programs run on, unprotected; what is not complete is dropped.
    pub fn is_alone(&mut self) {
        self.attempt = None;
        self.program = match self.program {
            Program::Frozen => Program::Runs,
            Program::Rebuilt => Program::Ended,
            other => other,
        };
    }

    /// Work takes up to so long.
    pub fn work(random: &mut Random, delay_ms: u64) -> Duration {
        Duration::from_millis(random.below(delay_ms + 1))
    }
}
