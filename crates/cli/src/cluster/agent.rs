//! `rethaw __agent FOLDER [NUMBER]`: the agent of a node that does not lead. It starts what it is asked to start, takes
//! its part in checkpoints, rebuilds its image at a restart, and ends with its last process. When the coordinator is gone
//! its programs run on, and it waits for another one.

use super::meet::{self, Terms};
use super::part::{self, Part};
use crate::failure::{Context, Failure, Result};
use crate::message;
use crate::place::host_name;
use crate::supervise::Signals;
use rethaw_cluster::{
    Ended, Freeze, Link, Order, Passing, Prepare, Prepared as Ready, Report, Start, Started,
};
use rethaw_engine::restart::{self, Prepared};
use rethaw_engine::tree::{self, Tree};
use rethaw_image::{Folder, Identity};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::ffi::OsString;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

/// Name of the hidden subcommand.
pub const SUBCOMMAND: &str = "__agent";

/// How often to look for what nobody tells.
const LOOK: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 200_000_000,
};
/// How long an agent without programs waits for its coordinator.
const PATIENCE: Duration = Duration::from_secs(60);

/// See the module.
pub fn agent(words: &[OsString]) -> Result<ExitCode> {
    let Some(folder) = words.first() else {
        return Err(Failure::said("this is for rethaw itself"));
    };
    let folder = std::fs::canonicalize(folder).context(|| format!("open {}", Path::new(folder).display()))?;
    message::keep_in(&folder.join(format!("agent-{}.log", host_name())));
    let _ = super::environment::remote_shell();
    let number = words.get(1).and_then(|word| word.to_str()?.parse().ok());
    let mut agent = Agent {
        signals: Signals::block(&[])?,
        folder,
        number,
        session: None,
        tree: None,
        part: None,
        prepared: None,
        main_status: None,
    };
    let outcome = agent.run();
    if let Err(failure) = &outcome {
        message::fail(failure);
    }
    outcome.map(|()| ExitCode::SUCCESS)
}

struct Agent {
    signals: Signals,
    folder: PathBuf,
    number: Option<u32>,
    /// Of the coordinator that it knows.
    session: Option<String>,
    tree: Option<Tree>,
    part: Option<Part>,
    prepared: Option<Prepared>,
    main_status: Option<i32>,
}

/// Whether to stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    Stay,
    Leave,
}

impl Agent {
    /// From one coordinator to the next.
    fn run(&mut self) -> Result<()> {
        let mut last_heard = Instant::now();
        loop {
            match self.join() {
                Ok((terms, link)) => {
                    if self.serve(&terms, &link)? == Then::Leave {
                        return Ok(());
                    }
                    last_heard = Instant::now();
                    self.go_on_alone();
                }
                Err(failure) if self.tree.is_none() && last_heard.elapsed() > PATIENCE => {
                    return Err(failure);
                }
                Err(_) => {}
            }
            if self.tree.is_some() && self.is_over()? {
                return Ok(());
            }
            if self.tree.is_none() && last_heard.elapsed() > PATIENCE {
                return Err(Failure::said("the coordinator is gone, and nothing runs here"));
            }
            std::thread::sleep(Duration::from_millis(500));
        }
    }

    fn join(&mut self) -> Result<(Terms, Link)> {
        let (terms, secret) = Terms::find(&self.folder)?;
        let is_known = self.session.as_ref() == Some(&terms.session);
        if self.tree.is_some() && !is_known && !terms.takes_over {
            self.kill()?;
            return Err(Failure::said(
                "the computation was started again: its programs here are ended",
            ));
        }
        self.session = Some(terms.session.clone());
        let link = Link::connect(&terms.addresses, &secret, meet::hello(self.number))?;
        Ok((terms, link))
    }

    /// Without a coordinator nothing can be checkpointed, and nothing is lost.
    fn go_on_alone(&mut self) {
        self.prepared = None;
        if let (Some(part), Some(tree)) = (self.part.take(), &mut self.tree) {
            // It may have been committed.
            let _ = part.give_up(tree, true);
        }
        if self.tree.is_some() {
            message::warn("the coordinator is gone: the programs on this node run on without protection");
        }
    }

    fn serve(&mut self, terms: &Terms, link: &Link) -> Result<Then> {
        loop {
            self.wait(link)?;
            while self.signals.next().is_some() {}
            if let (Some(part), Some(tree)) = (&mut self.part, &mut self.tree)
                && part.is_written()
            {
                part.written(tree, link);
            }
            loop {
                match link.recv(Some(Duration::ZERO)) {
                    Ok(Some(order)) => {
                        if self.obey(order, terms, link)? == Then::Leave {
                            return Ok(Then::Leave);
                        }
                    }
                    Ok(None) => break,
                    Err(_) => return Ok(Then::Stay),
                }
            }
            if self.part.is_none() && self.tree.is_some() && self.is_over()? {
                let status = self.main_status;
                let _ = link.send(Report::Ended(Ended { status }));
                return Ok(Then::Leave);
            }
        }
    }

    fn wait(&self, link: &Link) -> Result<()> {
        let watch = |fd| PollFd::from_borrowed_fd(fd, PollFlags::IN);
        let mut fds = vec![watch(link.as_fd()), watch(self.signals.as_fd())];
        fds.extend(self.part.as_ref().and_then(Part::done).map(watch));
        match poll(&mut fds, Some(&LOOK)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error).context(|| "wait for events".to_string()),
        }
    }

    /// Whether its last process has ended.
    fn is_over(&mut self) -> Result<bool> {
        let Some(tree) = &mut self.tree else {
            return Ok(false);
        };
        let Some(ended) = tree.reap()? else {
            return Ok(false);
        };
        self.main_status = match ended {
            tree::Ended::Exited(status) => Some(status << 8),
            tree::Ended::Signalled(signal) => Some(signal),
            tree::Ended::Unknown => None,
        };
        Ok(tree.processes()?.is_empty())
    }

    fn obey(&mut self, order: Order, terms: &Terms, link: &Link) -> Result<Then> {
        match order {
            Order::Welcome(welcome) => self.number = Some(welcome.agent),
            Order::Refused(refused) => return Err(Failure::said(refused.sentence)),
            Order::Start(start) => self.start(&start, link)?,
            Order::Freeze(freeze) => self.freeze(&freeze, terms, link),
            Order::Done(done) => self.done(done.attempt),
            Order::Abort(abort) => self.abort(abort.attempt, abort.keep_image),
            Order::Prepare(prepare) => self.prepare(&prepare, terms, link),
            Order::Go(_) => self.go(link)?,
            Order::Kill(_) => {
                self.kill()?;
                let _ = link.send(Report::Ended(Ended { status: None }));
                return Ok(Then::Leave);
            }
            _ => {}
        }
        Ok(Then::Stay)
    }

    fn start(&mut self, start: &Start, link: &Link) -> Result<()> {
        let error = self.try_start(start).err().map(|failure| failure.to_string());
        Ok(link.send(Report::Started(Started {
            ticket: start.ticket,
            error,
        }))?)
    }

    fn try_start(&mut self, start: &Start) -> Result<()> {
        let mut words = start.command.iter().map(|word| OsString::from_vec(word.clone()));
        let program = words.next().ok_or_else(|| Failure::said("no program is given"))?;
        let mut command = Command::new(&program);
        command.args(words);
        let folder = PathBuf::from(OsString::from_vec(start.folder.clone()));
        if folder.is_dir() {
            command.current_dir(folder);
        }
        match &mut self.tree {
            None => {
                self.tree = Some(Tree::launch(command).map_err(|error| Failure::of_launch(&program, error))?);
                Ok(())
            }
            Some(tree) => Ok(tree.launch_another(command)?),
        }
    }

    fn freeze(&mut self, freeze: &Freeze, terms: &Terms, link: &Link) {
        let Some(tree) = &mut self.tree else {
            // It has just joined.
            let _ = link.send(Report::Passing(Passing {
                attempt: freeze.attempt,
                sentence: "nothing runs here yet".to_string(),
            }));
            return;
        };
        let identity = Identity {
            computation: terms.computation.clone(),
            generation: freeze.generation,
            agent: freeze.image,
            agents: freeze.images,
        };
        let options = terms.options(identity, freeze.stop);
        match Folder::open(&self.folder) {
            Ok(folder) => {
                let image = folder.agent_image_path(freeze.generation, freeze.image);
                self.part = Part::begin(tree, link, freeze, &options, &image);
            }
            Err(error) => part::report(link, freeze.attempt, &error.into()),
        }
    }

    fn done(&mut self, attempt: u64) {
        let part = self.part.take_if(|part| part.attempt == attempt);
        if let (Some(part), Some(tree)) = (part, &mut self.tree)
            && let Err(failure) = part.keep(tree)
        {
            message::warn(failure);
        }
    }

    fn abort(&mut self, attempt: u64, keep_image: bool) {
        self.prepared = None;
        let part = self.part.take_if(|part| part.attempt == attempt);
        if let (Some(part), Some(tree)) = (part, &mut self.tree)
            && let Err(failure) = part.give_up(tree, keep_image)
        {
            message::warn(failure);
        }
    }

    fn prepare(&mut self, prepare: &Prepare, terms: &Terms, link: &Link) {
        match self.try_prepare(prepare, terms) {
            Ok(prepared) => {
                self.prepared = Some(prepared);
                let _ = link.send(Report::Prepared(Ready {}));
            }
            Err(failure) => part::report(link, 0, &failure),
        }
    }

    fn try_prepare(&self, prepare: &Prepare, terms: &Terms) -> Result<Prepared> {
        let mine = self.number.and_then(|number| prepare.of(number));
        let mine = mine.ok_or_else(|| Failure::said("no image is for this agent"))?;
        let image = PathBuf::from(OsString::from_vec(mine.image.clone()));
        let options = terms.restart(terms.meeting(&prepare.nodes));
        Ok(restart::prepare(&image, &options, &|_, _| {})?)
    }

    fn go(&mut self, link: &Link) -> Result<()> {
        let Some(prepared) = self.prepared.take() else {
            return Ok(());
        };
        match prepared.resume() {
            Ok((tree, report)) => {
                report.warnings.iter().for_each(message::warn);
                self.tree = Some(tree);
                Ok(())
            }
            Err(error) => {
                let failure = error.into();
                part::report(link, 0, &failure);
                Err(failure)
            }
        }
    }

    fn kill(&mut self) -> Result<()> {
        self.prepared = None;
        if let Some(tree) = &mut self.tree {
            if let Some(part) = self.part.take() {
                let _ = part.give_up(tree, true);
            }
            tree.kill()?;
        }
        Ok(())
    }
}
