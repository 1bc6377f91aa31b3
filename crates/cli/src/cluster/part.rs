//! One node's part in a checkpoint that several nodes take together: the same for the node that leads and for the others.

use crate::failure::{Failure, Result, status};
use crate::state::LastCheckpoint;
use crate::supervise::{Durable, Writing};
use rethaw_cluster::{
    Collected, Drained, End, Failed, Freeze, Frozen, Link, Order, Passing, Report, Written,
};
use rethaw_engine::checkpoint::Options;
use rethaw_engine::others::{self, Inside, Others};
use rethaw_engine::tree::Tree;
use rethaw_engine::{Error, Result as EngineResult, wait_readable};
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A part that was begun: the programs run again, or are about to be ended.
pub struct Part {
    /// Of [`Freeze`].
    pub attempt: u64,
    image: PathBuf,
    stage: Stage,
}

enum Stage {
    Writing(Writing),
    Durable(Box<Durable>),
    /// Not possible here; the coordinator knows.
    Over,
}

impl Part {
    /// Freezes, collects and lets run again, each together with all other nodes. If that is not possible here, the
    /// coordinator is told; everything runs then.
    pub fn begin(
        tree: &mut Tree,
        link: &Link,
        freeze: &Freeze,
        options: &Options,
        image: &Path,
    ) -> Option<Part> {
        let mut steps = Steps {
            link,
            attempt: freeze.attempt,
        };
        match Writing::begin(tree, options, image, Some(&mut steps)) {
            Ok(writing) => Some(Part {
                attempt: freeze.attempt,
                image: image.to_path_buf(),
                stage: Stage::Writing(writing),
            }),
            Err(failure) => {
                report(link, freeze.attempt, &failure);
                None
            }
        }
    }

    /// Readable once the image is written.
    pub fn done(&self) -> Option<BorrowedFd<'_>> {
        match &self.stage {
            Stage::Writing(writing) => Some(writing.done()),
            _ => None,
        }
    }

    /// Whether it is.
    pub fn is_written(&self) -> bool {
        self.done()
            .is_some_and(|done| wait_readable(done, Duration::ZERO))
    }

    /// The image is written: says so.
    pub fn written(&mut self, tree: &mut Tree, link: &Link) {
        let Stage::Writing(writing) = std::mem::replace(&mut self.stage, Stage::Over) else {
            return;
        };
        match writing.join(tree) {
            Ok(durable) => {
                let last = &durable.last;
                let _ = link.send(Report::Written(Written {
                    attempt: self.attempt,
                    bytes: last.bytes,
                    memory: last.memory,
                    pause_us: (last.pause_ms * 1e3) as u64,
                    header_checksum: 0,
                }));
                self.stage = Stage::Durable(Box::new(durable));
            }
            Err(failure) => report(link, self.attempt, &failure),
        }
    }

    /// All nodes have done theirs, and the checkpoint exists.
    pub fn keep(self, tree: &mut Tree) -> Result<LastCheckpoint> {
        match self.stage {
            Stage::Durable(durable) => durable.conclude(tree, true),
            _ => Err(Failure::said("the coordinator commits what is not written")),
        }
    }

    /// The checkpoint does not exist: everything runs on as if nothing had been.
    pub fn give_up(self, tree: &mut Tree, keep_image: bool) -> Result<()> {
        let durable = match self.stage {
            Stage::Writing(writing) => writing.join(tree).ok().map(Box::new),
            Stage::Durable(durable) => Some(durable),
            Stage::Over => None,
        };
        if !keep_image {
            let _ = std::fs::remove_file(&self.image);
        }
        durable.map_or(Ok(()), |durable| durable.conclude(tree, false).map(drop))
    }
}

/// Tells the coordinator why this node cannot do its part; attempt 0 is a restart.
pub fn report(link: &Link, attempt: u64, failure: &Failure) {
    let report = match failure {
        // It is the coordinator who said so.
        Failure::Engine(Error::Elsewhere(_)) => return,
        Failure::Engine(Error::Passing(refusal)) => Report::Passing(Passing {
            attempt,
            sentence: refusal.to_string(),
        }),
        failure => Report::Failed(Failed {
            attempt,
            sentence: failure.to_string(),
            refused: failure.status() == status::REFUSED,
        }),
    };
    // A coordinator that is gone has nobody to tell.
    let _ = link.send(report);
}

/// The steps that the engine does together with the other nodes.
struct Steps<'a> {
    link: &'a Link,
    attempt: u64,
}

impl Steps<'_> {
    fn say(&self, report: Report) -> EngineResult<()> {
        self.link
            .send(report)
            .map_err(|error| Error::Elsewhere(format!("the coordinator is gone: {error}")))
    }

    /// The next order of this attempt. The coordinator has time-outs: it always says something, or is gone.
    fn next(&self) -> EngineResult<Order> {
        self.next_while(None, &mut || {})
    }

    /// The same; `meanwhile` is called after each `step` of waiting.
    fn next_while(&self, step: Option<Duration>, meanwhile: &mut dyn FnMut()) -> EngineResult<Order> {
        loop {
            let order = self.link.recv(step);
            meanwhile();
            match order.map_err(|error| Error::Elsewhere(format!("the coordinator is gone: {error}")))? {
                Some(Order::Abort(abort)) if abort.attempt == self.attempt => {
                    return Err(Error::Elsewhere(abort.sentence));
                }
                Some(Order::Abort(_)) | None => {}
                Some(Order::Kill(_)) => {
                    return Err(Error::Elsewhere("the computation is to end".to_string()));
                }
                Some(order) => return Ok(order),
            }
        }
    }
}

impl Others for Steps<'_> {
    fn frozen(&mut self, ends: Vec<others::End>) -> EngineResult<Vec<Inside>> {
        let ends = ends.iter().map(|end| End {
            own: end.own.to_string(),
            peer: end.peer.to_string(),
            listens: end.listens,
        });
        self.say(Report::Frozen(Frozen {
            attempt: self.attempt,
            ends: ends.collect(),
        }))?;
        let Order::Drain(drain) = self.next()? else {
            return Err(out_of_step());
        };
        let inside = drain.inside.iter().filter_map(|one| {
            Some(Inside {
                own: one.own.parse().ok()?,
                peer: one.peer.parse().ok()?,
                accepts: one.accepts,
            })
        });
        Ok(inside.collect())
    }

    fn drained(&mut self, receive: &mut dyn FnMut()) -> EngineResult<()> {
        const STEP: Duration = Duration::from_millis(2);
        self.say(Report::Drained(Drained {
            attempt: self.attempt,
        }))?;
        match self.next_while(Some(STEP), receive)? {
            Order::Collect(_) => Ok(()),
            _ => Err(out_of_step()),
        }
    }

    fn collected(&mut self) -> EngineResult<()> {
        self.say(Report::Collected(Collected {
            attempt: self.attempt,
        }))?;
        match self.next()? {
            Order::Resume(_) => Ok(()),
            _ => Err(out_of_step()),
        }
    }
}

fn out_of_step() -> Error {
    Error::Elsewhere("the coordinator is out of step".to_string())
}
