//! How a computation comes under supervision: launched, restarted, or attached to.

use crate::cluster::{self, lead::Lead};
use crate::control::Checked;
use crate::duration::Interval;
use crate::failure::{Failure, Result};
use crate::message::{self, Meter};
use crate::mpi;
use crate::options::{
    CheckArgs, ComeBackArgs, Compress, External, Files, PauseMethod, ProgramArgs, ProtectArgs,
};
use crate::sink::{OwnedFolder, Sink};
use crate::slurm;
use crate::state::{State, Text, recorded};
use crate::supervise::{FREEZE_TIMEOUT, Outcome, Settings, Signals, Supervisor};
use rethaw_engine::checkpoint as engine;
use rethaw_engine::launcher;
use rethaw_engine::others::Meeting;
use rethaw_engine::outside::Before;
use rethaw_engine::restart::{self, Prepared};
use rethaw_engine::tree::{Ended, Tree};
use rethaw_image::record::ComputationV1;
use rethaw_image::{Compression, Identity, ImageReader, SectionKind};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// What is set up before a computation is: signals are blocked.
#[derive(Debug)]
pub struct Stage {
    signals: Signals,
    settings: Settings,
    /// Our terminal, as the user had it.
    terminal: Option<Before>,
}

/// The current folder, which may have been removed under the shell.
pub fn current_folder() -> Result<PathBuf> {
    std::env::current_dir().map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => {
            Failure::said("the current folder has been removed; change to one that exists")
        }
        _ => Failure::said(format!("cannot find the current folder: {error}")),
    })
}

/// The folder of `--dir`, or the default one.
pub fn checkpoint_folder(dir: Option<&Path>) -> PathBuf {
    match dir {
        Some(dir) => dir.to_path_buf(),
        None => slurm::folder_name(|name| std::env::var(name).ok()).into(),
    }
}

impl Stage {
    /// Must be called before any thread is started.
    pub fn set(settings: Settings) -> Result<Stage> {
        let also: Vec<_> = settings
            .checkpoint_on
            .into_iter()
            .chain(settings.stop_on)
            .collect();
        let signals = Signals::block(&also)?;
        rethaw_sys::spawn::ignore_file_size_signal();
        let terminal = Before::note();
        Ok(Stage {
            signals,
            settings,
            terminal,
        })
    }

    /// From the command line.
    pub fn of(args: &ProtectArgs) -> Result<Stage> {
        Stage::set(settings_of(args))
    }

    /// Runs a program from its beginning.
    pub fn launch(self, program: &ProgramArgs, sink: impl FnOnce(&State) -> Result<Sink>) -> Result<Outcome> {
        Ok(self.launch_and_supervise(program, sink)?.0)
    }

    /// Runs a program until it is time to look for what would stop a checkpoint. Nothing is found where it ends before.
    pub fn launch_to_check(self, program: &ProgramArgs) -> Result<(Outcome, Option<Checked>)> {
        self.launch_and_supervise(program, |_| Ok(Sink::Nowhere))
    }

    fn launch_and_supervise(
        self,
        program: &ProgramArgs,
        sink: impl FnOnce(&State) -> Result<Sink>,
    ) -> Result<(Outcome, Option<Checked>)> {
        let folder = current_folder()?;
        let mut state = State::new(texts(&program.program), folder.as_os_str().into())?;
        state.launcher = recorded(launcher::inherited());
        let sink = sink(&state)?;
        let (name, arguments) = program
            .program
            .split_first()
            .ok_or_else(|| Failure::said("no program is given"))?;
        let mut command = std::process::Command::new(name);
        command
            .args(arguments)
            .envs(mpi::environment(&program.program, program.mpi_env));
        if sink.folder().is_some() {
            cluster::environment::set(&mut command, &state.computation);
        }
        let launch = if program.isolate {
            Tree::launch_isolated
        } else {
            Tree::launch
        };
        let tree = launch(command).map_err(|error| Failure::of_launch(name, error))?;
        self.supervise(tree, None, sink, state)
    }

    /// Goes on from an image.
    pub fn restart(self, image: &Saved, come_back: &ComeBackArgs, sink: Sink) -> Result<Outcome> {
        let tree = self.rebuild(image, come_back)?;
        self.go_on(tree, None, image, sink)
    }

    /// Rebuilds the computation of an image and lets it run. On error nothing runs.
    pub fn rebuild(&self, image: &Saved, come_back: &ComeBackArgs) -> Result<Tree> {
        // Dying now would leave the program without protection, so a signal waits until it can be passed on.
        let prepared = self.signals.interruptible(|| prepare(image, come_back))??;
        let (tree, report) = prepared.resume().inspect_err(|_| {
            self.terminal.iter().for_each(Before::put_back);
        })?;
        for warning in report.warnings {
            message::warn(warning);
        }
        Ok(tree)
    }

    /// Rebuilds a computation of several nodes, each of its images on one, and lets it run. On error nothing runs.
    pub fn rebuild_all(
        &self,
        images: &[Saved],
        come_back: &ComeBackArgs,
        folder: &OwnedFolder,
    ) -> Result<(Tree, Lead)> {
        let first = images
            .first()
            .ok_or_else(|| Failure::said("the checkpoint has no image"))?;
        let next = folder
            .folder
            .next_generation()?
            .max(first.identity.generation + 1);
        let options = self.settings.engine_options(&first.state(), next, false);
        let restart = restart_options(come_back);
        let lead = Lead::begin(&folder.path, &options, &restart, next, false)?;
        match cluster::restart::restart(lead, images, &come_back.hosts) {
            Ok((tree, report, lead)) => {
                report.warnings.into_iter().for_each(message::warn);
                Ok((tree, lead))
            }
            Err(failure) => {
                self.terminal.iter().for_each(Before::put_back);
                Err(failure)
            }
        }
    }

    /// Goes on with a computation that was rebuilt from an image.
    pub fn go_on(mut self, tree: Tree, lead: Option<Lead>, image: &Saved, sink: Sink) -> Result<Outcome> {
        message::note(format!("restarted from checkpoint {}", image.identity.generation));
        // Launchers that were told of it may want it again, on a node that has never seen it.
        let _ = cluster::environment::remote_shell();
        sink.unmark_finished();
        let mut state = image.state();
        if let Sink::Folder(folder) = &sink {
            state.take_measurements(State::load(&folder.path));
        }
        self.settings.from_generation = image.identity.generation;
        let terminal = self.terminal.take();
        let supervised = self.supervise(tree, lead, sink, state);
        let outcome = supervised.map(|(outcome, _)| outcome);
        // Where it left its own modes, they are those of another terminal.
        terminal.iter().for_each(Before::put_back);
        outcome
    }

    /// Protects a running program. `known` is what was recorded of it.
    pub fn attach(self, pid: i32, known: Option<State>, sink: Sink) -> Result<Outcome> {
        let state = match known {
            Some(state) => state,
            None => describe_process(pid)?,
        };
        let tree = Tree::attach(pid)?;
        message::note(format!("protecting process {pid}, which is running"));
        Ok(self.supervise(tree, None, sink, state)?.0)
    }

    fn supervise(
        self,
        tree: Tree,
        lead: Option<Lead>,
        sink: Sink,
        state: State,
    ) -> Result<(Outcome, Option<Checked>)> {
        let mut supervisor = Supervisor::new(tree, self.signals, sink, self.settings, state)?;
        if let Some(lead) = lead {
            supervisor = supervisor.leading(lead);
        }
        let (outcome, checked) = supervisor.run()?;
        let ended_itself = matches!(outcome, Outcome::Ended(Ended::Exited(_) | Ended::Unknown));
        if !ended_itself {
            // It was in no state to put its terminal back itself.
            self.terminal.iter().for_each(Before::put_back);
        }
        Ok((outcome, checked))
    }
}

fn prepare(image: &Saved, come_back: &ComeBackArgs) -> Result<Prepared> {
    let options = restart_options(come_back);
    let meter = Meter::new(format!("reading {}", image.path.display()));
    Ok(restart::prepare(&image.path, &options, &|done, all| {
        meter.set(done, all)
    })?)
}

fn restart_options(come_back: &ComeBackArgs) -> restart::Options {
    restart::Options {
        files: match come_back.files {
            Files::Rewind => restart::Files::Rewind,
            Files::Keep => restart::Files::Keep,
            Files::Refuse => restart::Files::Refuse,
        },
        map: come_back.map.clone(),
        meeting: Meeting::default(),
        notice: Some(|sentence| message::note(sentence)),
    }
}

impl From<External> for engine::External {
    fn from(policy: External) -> engine::External {
        match policy {
            External::Refuse => engine::External::Refuse,
            External::Close => engine::External::Close,
            External::Reset => engine::External::Reset,
        }
    }
}

fn settings_of(args: &ProtectArgs) -> Settings {
    Settings {
        interval: args.interval,
        save_open_files: args.save_open_files,
        pause_method: match args.pause_method {
            PauseMethod::Auto => engine::PauseMethod::Auto,
            PauseMethod::Fork => engine::PauseMethod::Fork,
            PauseMethod::Stop => engine::PauseMethod::Stop,
        },
        compression: match args.compress {
            Compress::None => Compression::None,
            Compress::Zstd => Compression::Zstd,
        },
        external: args.external.into(),
        wait_all: args.wait_all,
        leave_rest: false,
        checkpoint_on: args.checkpoint_on,
        stop_on: args.stop_on,
        job: slurm::Job::current(),
        requeue: args.requeue,
        stop_after_first: false,
        from_generation: 0,
        dmtcp_port: None,
        ready: crate::detach::ready(),
        check_after: None,
    }
}

/// Of a program that is only looked at.
pub fn check_settings(args: &CheckArgs) -> Settings {
    Settings {
        interval: Interval::Never,
        save_open_files: args.save_open_files,
        pause_method: engine::PauseMethod::Auto,
        compression: Compression::None,
        external: args.external.into(),
        wait_all: args.wait_all,
        leave_rest: false,
        checkpoint_on: None,
        stop_on: None,
        job: None,
        requeue: false,
        stop_after_first: false,
        from_generation: 0,
        dmtcp_port: None,
        ready: None,
        check_after: Some(args.after),
    }
}

/// What a process is looked at with that is not under rethaw.
pub fn check_options(pid: i32) -> engine::Options {
    engine::Options {
        identity: Identity {
            computation: String::new(),
            generation: 0,
            agent: 0,
            agents: 1,
        },
        command: Vec::new(),
        start_folder: Vec::new(),
        addresses: Vec::new(),
        launcher: launcher::likely_inherited(pid),
        save_open_files: false,
        pause_method: engine::PauseMethod::Auto,
        compression: Compression::None,
        external: engine::External::Refuse,
        stop: false,
        freeze_timeout: FREEZE_TIMEOUT,
    }
}

/// Opens and locks the folder of the checkpoints.
pub fn own_folder(args: &ProtectArgs) -> Result<OwnedFolder> {
    current_folder()?;
    OwnedFolder::open(&checkpoint_folder(args.dir.as_deref()), args.keep)
}

/// An image and what it is of.
#[derive(Debug)]
pub struct Saved {
    /// Its path.
    pub path: PathBuf,
    /// Which checkpoint it is.
    pub identity: Identity,
    /// What it is of.
    pub computation: ComputationV1,
}

impl Saved {
    /// Reads what an image is of.
    pub fn read(path: &Path) -> Result<Saved> {
        let reader = ImageReader::open(path)?;
        let record = reader.records::<ComputationV1>(SectionKind::Computation)?.pop();
        let computation = record.ok_or_else(|| Failure::said(format!("{} is of nothing", path.display())))?;
        Ok(Saved {
            path: path.to_path_buf(),
            identity: reader.identity().clone(),
            computation,
        })
    }

    /// The state of the computation that it brings back.
    fn state(&self) -> State {
        State {
            computation: self.identity.computation.clone(),
            launcher: recorded(launcher::inherited()),
            ..State::of_record(&self.computation)
        }
    }
}

/// A process that nothing is recorded of.
fn describe_process(pid: i32) -> Result<State> {
    let cannot = |source: std::io::Error| match source.kind() {
        std::io::ErrorKind::NotFound => Failure::said(format!("there is no process {pid}")),
        std::io::ErrorKind::PermissionDenied => Failure::said(format!(
            "process {pid} is not yours, or not to be looked into: `rethaw attach` cannot protect it"
        )),
        _ => Failure::said(format!("cannot look at process {pid}: {source}")),
    };
    let command: Vec<Text> = std::fs::read(format!("/proc/{pid}/cmdline"))
        .map_err(cannot)?
        .split(|&byte| byte == 0)
        .filter(|word| !word.is_empty())
        .map(Text::new)
        .collect();
    let cwd = std::fs::read_link(format!("/proc/{pid}/cwd")).map_err(cannot)?;
    let mut state = State::new(command, cwd.as_os_str().into())?;
    state.launcher = recorded(launcher::likely_inherited(pid));
    Ok(state)
}

/// A command line as it is recorded.
pub fn texts(words: &[OsString]) -> Vec<Text> {
    words.iter().map(|word| word.as_os_str().into()).collect()
}
