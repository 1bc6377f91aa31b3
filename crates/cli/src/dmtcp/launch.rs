//! `dmtcp_launch`.

use super::image::DmtcpImage;
use super::note_ignored;
use super::options::Launch;
use super::port::{Record, of_computation};
use crate::duration::{Interval, parse_interval};
use crate::failure::{Context, Failure, Result};
use crate::message;
use crate::options::{MpiEnv, ProgramArgs};
use crate::sink::Sink;
use crate::slurm;
use crate::start::Stage;
use crate::supervise::Settings;
use rethaw_engine::checkpoint::{External, PauseMethod};
use rethaw_image::Compression;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// See the module.
pub fn launch(args: &Launch) -> Result<ExitCode> {
    message::set_quiet(args.quiet > 0 || quiet_by_environment());
    note_ignored(&args.ignored.given());
    let port = of_computation(&args.coordinator)?;
    let coordinator = Record::of(port);
    let interval = interval(args.interval, coordinator.as_ref())?;
    let folder = args
        .ckptdir
        .clone()
        .or_else(|| environment_path("DMTCP_CHECKPOINT_DIR"));
    let folder = folder
        .or_else(|| coordinator.as_ref()?.ckptdir.clone())
        .unwrap_or_else(|| PathBuf::from("."));
    let folder = existing_folder(&folder)?;
    let gzip = !args.no_gzip && (args.gzip || std::env::var("DMTCP_GZIP").is_ok_and(|text| text == "1"));
    let stage = Stage::set(Settings {
        compression: if gzip {
            Compression::Zstd
        } else {
            Compression::None
        },
        save_open_files: args.checkpoint_open_files,
        stop_after_first: coordinator.is_some_and(|one| one.kill_after_ckpt),
        ..settings(interval, port)
    })?;
    let program = ProgramArgs {
        isolate: false,
        mpi_env: MpiEnv::Auto,
        program: args.program.clone(),
    };
    let name = args
        .program
        .first()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default();
    let outcome = stage.launch(&program, |state| {
        let image = DmtcpImage::new(&folder, &name, &state.computation, interval.seconds());
        Ok(Sink::Dmtcp(image))
    })?;
    Ok(outcome.exit())
}

/// As DMTCP does it: what the program leaves in the background is left alone.
pub fn settings(interval: Interval, port: u16) -> Settings {
    Settings {
        interval,
        save_open_files: false,
        pause_method: PauseMethod::Auto,
        compression: Compression::None,
        external: External::Refuse,
        wait_all: false,
        leave_rest: true,
        checkpoint_on: None,
        stop_on: None,
        // Checkpoints that are not wanted at all are not wanted at the end either.
        job: slurm::Job::current().filter(|_| interval != Interval::Never),
        requeue: false,
        stop_after_first: false,
        from_generation: 0,
        dmtcp_port: Some(port),
        ready: None,
        check_after: None,
    }
}

/// The option, else the environment, else the coordinator's, else never.
pub fn interval(option: Option<Interval>, coordinator: Option<&Record>) -> Result<Interval> {
    if let Some(interval) = option {
        return Ok(interval);
    }
    if let Ok(text) = std::env::var("DMTCP_CHECKPOINT_INTERVAL")
        && !text.is_empty()
    {
        let wrong = |reason| Failure::said(format!("DMTCP_CHECKPOINT_INTERVAL: {reason}"));
        return parse_interval(&text).map_err(wrong);
    }
    Ok(coordinator.map_or(Interval::Never, |one| {
        Interval::from_seconds(one.interval_seconds)
    }))
}

/// DMTCP_QUIET=1 or more.
pub fn quiet_by_environment() -> bool {
    std::env::var("DMTCP_QUIET").is_ok_and(|text| text.parse::<u32>().is_ok_and(|level| level > 0))
}

/// A folder of the environment, where it is set.
pub fn environment_path(name: &str) -> Option<PathBuf> {
    std::env::var_os(name)
        .filter(|text| !text.is_empty())
        .map(PathBuf::from)
}

/// The folder, made if need be, as an absolute path: the program may change its own.
pub fn existing_folder(folder: &Path) -> Result<PathBuf> {
    std::fs::create_dir_all(folder).context(|| format!("make {}", folder.display()))?;
    std::fs::canonicalize(folder).context(|| format!("open {}", folder.display()))
}
