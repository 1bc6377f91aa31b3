//! The command line of `rethaw`. Shell completions and man pages come from these definitions too.

use crate::duration::{Interval, parse_interval, parse_time};
use clap::{Args, Parser, Subcommand, ValueEnum};
use nix::sys::signal::Signal;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

const EXIT_STATUS: &str = "\
Exit status: that of the program, also its death by a signal, where it ran to its end. Else: \
75 checkpointed and stopped on request, run again to go on; \
121 the computation is running already; 122 the folder holds another computation; \
125 rethaw failed or cannot tell how the program ended; 126 the program cannot be executed; 127 it was not found; \
3 (checkpoint, check) the computation holds something that cannot be checkpointed; 1 (verify) damage found, \
(doctor) something needed does not work; \
2 wrong use of the command line.";

/// Checkpoints running Linux computations and restarts them later, with no change to the program and no
/// privilege.
#[derive(Debug, Parser)]
#[command(name = "rethaw", version, after_long_help = EXIT_STATUS, subcommand_required = true, arg_required_else_help = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// Be silent about what goes well.
    #[arg(short, long, global = true)]
    pub quiet: bool,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Restart the computation of DIR if it has a checkpoint, else launch it: the one line of a job script.
    Run(RunArgs),
    /// Launch a program under periodic checkpoints.
    Launch(LaunchArgs),
    /// Protect a running process of yours, with its descendants, that rethaw did not start.
    Attach(AttachArgs),
    /// Restart from a checkpoint: the newest complete one, or the given image.
    Restart(RestartArgs),
    /// Take a checkpoint of a running computation now.
    Checkpoint(CheckpointArgs),
    /// Say what would stop a checkpoint, of a running computation or of a program that is started for this.
    ///
    /// Without a program, the running computation is stopped for a moment, looked at as for a checkpoint, and
    /// runs on; nothing is written. All that stops a checkpoint is told, not only the first thing, and what
    /// would not come back quite as it is.
    ///
    /// With a program (after --), it is started as by `rethaw launch`, runs for the time of --after, is looked
    /// at, and is ended. Give it its usual work: what is looked at is what it holds at that moment. Its input
    /// and output are those of rethaw, and signals such as Ctrl-C reach it.
    ///
    /// The exit status is 0 if nothing stops a checkpoint, 3 if something does, and 125 if the program ended
    /// before it was looked at.
    Check(CheckArgs),
    /// Show the running computations.
    Status(StatusArgs),
    /// List the checkpoints of a folder.
    List(ListArgs),
    /// Show what is in an image: processes, threads, memory, descriptors, where and when it was taken.
    Inspect(InspectArgs),
    /// Check every byte of an image, or of all images of a folder, against its checksums.
    Verify(VerifyArgs),
    /// Remove old checkpoints.
    Prune(PruneArgs),
    /// End a running computation without a checkpoint.
    Kill(KillArgs),
    /// Say what this machine and user allow, and what follows.
    Doctor(DoctorArgs),
    /// Print the completion script of a shell.
    Completions(CompletionsArgs),
    /// Write man pages.
    Man(ManArgs),
}

/// How a computation is protected.
#[derive(Debug, Clone, Args)]
pub struct ProtectArgs {
    /// Time between checkpoints: 60, 90s, 10m, 1h, 1h30m; 0 or never for none but those asked for.
    #[arg(short, long, value_name = "TIME", value_parser = parse_interval, default_value = "10m")]
    pub interval: Interval,
    /// Folder of the checkpoints [default: ./rethaw-checkpoints, in a Slurm job array
    /// ./rethaw-checkpoints-INDEX].
    #[arg(short, long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// How many checkpoints to keep.
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..))]
    pub keep: u32,
    /// Stay until the last process of the computation has ended, instead of ending what the program left
    /// running in the background.
    #[arg(long)]
    pub wait_all: bool,
    /// Return once the computation runs and keep it in the background; its output goes to DIR/output.log
    /// unless it is redirected to a file.
    #[arg(long)]
    pub detach: bool,
    /// Set by --detach for the process in the background.
    #[arg(long, hide = true)]
    pub in_background: bool,
    /// Take a checkpoint at this signal instead of passing it to the program.
    #[arg(long, value_name = "SIGNAL", value_parser = parse_signal)]
    pub checkpoint_on: Option<Signal>,
    /// Take a checkpoint at this signal and end.
    #[arg(long, value_name = "SIGNAL", value_parser = parse_signal)]
    pub stop_on: Option<Signal>,
    /// In a Slurm job: after the last checkpoint before the job's end, put the job back in the queue.
    #[arg(long)]
    pub requeue: bool,
    /// How memory is kept stable while it is written.
    #[arg(long, value_name = "METHOD", value_enum, default_value_t)]
    pub pause_method: PauseMethod,
    /// Put the contents of every file that the program has open into the image. Without it, only those of
    /// deleted files and of files in volatile places (/tmp, /dev/shm, $TMPDIR …) are.
    #[arg(long)]
    pub save_open_files: bool,
    /// Compression of the images.
    #[arg(long, value_name = "CODEC", value_enum, default_value_t)]
    pub compress: Compress,
    /// Connections to programs outside of the computation, of which only one end can be saved: take no
    /// checkpoint while there are any, or let the program find them closed or reset after a restart.
    #[arg(long, value_name = "POLICY", value_enum, default_value_t)]
    pub external: External,
}

/// How a program is started.
#[derive(Debug, Clone, Args)]
pub struct ProgramArgs {
    /// Run the program in namespaces of its own from the start.
    #[arg(long)]
    pub isolate: bool,
    /// Variables that keep MPI from hardware past the kernel (InfiniBand, Omni-Path, Slingshot, XPMEM): set them where the
    /// node has it and the program is mpirun, mpiexec or srun, always, or never. Those that you have set stay.
    #[arg(long, value_name = "WHEN", value_enum, default_value_t)]
    pub mpi_env: MpiEnv,
    /// The program and its arguments.
    #[arg(value_name = "PROGRAM", required = true, trailing_var_arg = true)]
    pub program: Vec<OsString>,
}

/// How a computation comes back.
#[derive(Debug, Clone, Args)]
pub struct ComeBackArgs {
    /// Files that the program had open for writing: put them back to their size at the checkpoint, keep
    /// them as they are, or refuse when one has changed.
    #[arg(long, value_enum, default_value_t)]
    pub files: Files,
    /// A path that has moved since the checkpoint.
    #[arg(long, value_name = "OLD=NEW", value_parser = parse_map)]
    pub map: Vec<(PathBuf, PathBuf)>,
    /// Nodes for a computation of several [default: those of the batch job, else those where it was].
    #[arg(long, value_name = "HOST,...", value_delimiter = ',')]
    pub hosts: Vec<String>,
}

#[allow(missing_docs)]
#[derive(Debug, Clone, Args)]
pub struct RunArgs {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub protect: ProtectArgs,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub come_back: ComeBackArgs,
    /// Start afresh: forget the checkpoints in DIR.
    #[arg(long)]
    pub fresh: bool,
    /// Restart what is in DIR even if it was another command line.
    #[arg(long)]
    pub any_command: bool,
    /// Restart although the computation was last seen running on another host.
    #[arg(long)]
    pub take_over: bool,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub program: ProgramArgs,
}

#[allow(missing_docs)]
#[derive(Debug, Clone, Args)]
pub struct LaunchArgs {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub protect: ProtectArgs,
    /// Forget the checkpoints in DIR.
    #[arg(long)]
    pub fresh: bool,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub program: ProgramArgs,
}

#[allow(missing_docs)]
#[derive(Debug, Clone, Args)]
pub struct AttachArgs {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub protect: ProtectArgs,
    /// Forget the checkpoints in DIR.
    #[arg(long)]
    pub fresh: bool,
    /// The process.
    #[arg(value_parser = clap::value_parser!(i32).range(1..))]
    pub pid: i32,
}

#[allow(missing_docs)]
#[derive(Debug, Clone, Args)]
pub struct RestartArgs {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub protect: ProtectArgs,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub come_back: ComeBackArgs,
    /// Restart although the computation seems to be running.
    #[arg(long)]
    pub take_over: bool,
    /// An image, or a folder of checkpoints [default: the folder of --dir].
    #[arg(value_name = "IMAGE|DIR")]
    pub from: Option<PathBuf>,
}

#[allow(missing_docs)]
#[derive(Debug, Clone, Args)]
pub struct CheckpointArgs {
    /// Identity, checkpoint folder or main pid of the computation; not needed when only one runs.
    pub id: Option<OsString>,
    /// End the computation once the checkpoint is durable.
    #[arg(long)]
    pub stop: bool,
    /// Do not wait until it is durable.
    #[arg(long, conflicts_with = "json")]
    pub no_wait: bool,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

#[allow(missing_docs)]
#[derive(Debug, Clone, Args)]
pub struct CheckArgs {
    /// Identity, checkpoint folder or main pid of the computation, not needed when only one runs; or the pid
    /// of a process of yours that is not under rethaw.
    #[arg(conflicts_with_all = ["program", "after", "isolate", "wait_all", "save_open_files", "external"])]
    pub id: Option<OsString>,
    /// How long the program runs before it is looked at.
    #[arg(long, value_name = "TIME", value_parser = parse_time, default_value = "5s", requires = "program")]
    pub after: Duration,
    /// Run the program in namespaces of its own.
    #[arg(long, requires = "program")]
    pub isolate: bool,
    /// Look also when the program itself has ended and others that it started go on.
    #[arg(long, requires = "program")]
    pub wait_all: bool,
    /// As with `rethaw launch`: put the contents of every open file into the image.
    #[arg(long, requires = "program")]
    pub save_open_files: bool,
    /// As with `rethaw launch`: what to do about connections to programs outside of the computation.
    #[arg(
        long,
        value_name = "POLICY",
        value_enum,
        default_value_t,
        requires = "program"
    )]
    pub external: External,
    /// Print JSON. What the program writes to stdout goes to stderr then.
    #[arg(long)]
    pub json: bool,
    /// The program and its arguments.
    #[arg(value_name = "PROGRAM", last = true)]
    pub program: Vec<OsString>,
}

#[allow(missing_docs)]
#[derive(Debug, Clone, Args)]
pub struct StatusArgs {
    /// Identity, checkpoint folder or main pid of one computation.
    pub id: Option<OsString>,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

#[allow(missing_docs)]
#[derive(Debug, Clone, Args)]
pub struct ListArgs {
    /// The folder [default: ./rethaw-checkpoints].
    pub dir: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

#[allow(missing_docs)]
#[derive(Debug, Clone, Args)]
pub struct InspectArgs {
    /// An image, or a folder (then its newest checkpoint).
    #[arg(value_name = "IMAGE|DIR")]
    pub image: PathBuf,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

#[allow(missing_docs)]
#[derive(Debug, Clone, Args)]
pub struct VerifyArgs {
    /// Images or folders of checkpoints [default: ./rethaw-checkpoints].
    #[arg(value_name = "IMAGE|DIR")]
    pub images: Vec<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

#[allow(missing_docs)]
#[derive(Debug, Clone, Args)]
pub struct PruneArgs {
    /// The folder [default: ./rethaw-checkpoints].
    pub dir: Option<PathBuf>,
    /// How many to keep.
    #[arg(long, value_name = "N", default_value_t = 2)]
    pub keep: u32,
    /// Remove all checkpoints.
    #[arg(long, conflicts_with = "keep")]
    pub all: bool,
}

#[allow(missing_docs)]
#[derive(Debug, Clone, Args)]
pub struct KillArgs {
    /// Identity, checkpoint folder or main pid of the computation; not needed for the only one of the current
    /// folder.
    pub id: Option<OsString>,
    /// End all computations of yours on this machine.
    #[arg(long, conflicts_with = "id")]
    pub all: bool,
}

#[allow(missing_docs)]
#[derive(Debug, Clone, Args)]
pub struct DoctorArgs {
    /// Folder of checkpoints whose file system is looked at [default: ./rethaw-checkpoints].
    pub dir: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

#[allow(missing_docs)]
#[derive(Debug, Clone, Args)]
pub struct CompletionsArgs {
    /// The shell.
    pub shell: clap_complete::Shell,
}

#[allow(missing_docs)]
#[derive(Debug, Clone, Args)]
pub struct ManArgs {
    /// Folder to write to; without one, the page of `rethaw` goes to stdout.
    pub dir: Option<PathBuf>,
}

/// `--pause-method`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum PauseMethod {
    /// What the kernel and the limits allow best.
    #[default]
    Auto,
    /// A copy-on-write child of each process.
    Fork,
    /// The program stands still until all is written.
    Stop,
}

/// `--compress`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Compress {
    /// Memory as it is: the fastest restart.
    #[default]
    None,
    /// zstd where it pays.
    Zstd,
}

/// `--mpi-env`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum MpiEnv {
    /// Where they are needed.
    #[default]
    Auto,
    /// Always: for a script that starts MPI programs.
    Yes,
    /// Never.
    No,
}

/// `--external`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum External {
    /// No checkpoint while there are any.
    #[default]
    Refuse,
    /// After a restart, the other end has closed them: the end of the file.
    Close,
    /// After a restart, they were cut off: ECONNRESET.
    Reset,
}

/// `--files`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Files {
    /// Back to their size at the checkpoint.
    #[default]
    Rewind,
    /// As they are.
    Keep,
    /// No restart when one has changed.
    Refuse,
}

/// A signal by name (USR1, SIGUSR1) or number.
fn parse_signal(text: &str) -> Result<Signal, String> {
    let name = text.to_ascii_uppercase();
    let name = if name.starts_with("SIG") {
        name
    } else {
        format!("SIG{name}")
    };
    let by_number = text
        .parse()
        .ok()
        .and_then(|number: i32| Signal::try_from(number).ok());
    let signal = by_number
        .or_else(|| name.parse().ok())
        .ok_or_else(|| format!("{text} is not a signal"))?;
    match signal {
        Signal::SIGKILL | Signal::SIGSTOP => Err(format!("{signal} cannot be caught")),
        Signal::SIGCHLD => Err(format!("{signal} is needed by rethaw itself")),
        Signal::SIGSEGV | Signal::SIGBUS | Signal::SIGFPE | Signal::SIGILL | Signal::SIGTRAP => {
            Err(format!("{signal} tells of errors and cannot be used"))
        }
        signal => Ok(signal),
    }
}

fn parse_map(text: &str) -> Result<(PathBuf, PathBuf), String> {
    match text.split_once('=') {
        Some((old, new)) if old.starts_with('/') && new.starts_with('/') => Ok((old.into(), new.into())),
        _ => Err(format!("“{text}” is not of the form /old/path=/new/path")),
    }
}

#[cfg(test)]
#[allow(clippy::expect_used)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definitions_are_sound() {
        Cli::command().debug_assert();
    }

    fn run(line: &[&str]) -> Option<RunArgs> {
        match Cli::try_parse_from(line).ok()?.command {
            Command::Run(args) => Some(args),
            _ => None,
        }
    }

    #[test]
    fn options_of_the_program_are_not_ours() {
        let args = run(&["rethaw", "run", "-i", "60", "python", "-u", "x.py", "-i", "1"]).expect("parsed");
        assert_eq!(args.program.program, ["python", "-u", "x.py", "-i", "1"]);
        let args = run(&["rethaw", "run", "--", "python", "--", "-q"]).expect("parsed");
        assert_eq!(args.program.program, ["python", "--", "-q"]);
        assert!(run(&["rethaw", "run", "--bogus", "python"]).is_none());
        assert!(run(&["rethaw", "run"]).is_none());
    }

    #[test]
    fn signals_by_name_and_number() {
        assert_eq!(parse_signal("usr1"), Ok(Signal::SIGUSR1));
        assert_eq!(parse_signal("SIGTERM"), Ok(Signal::SIGTERM));
        assert_eq!(parse_signal("12"), Ok(Signal::SIGUSR2));
        for text in ["KILL", "0", "CHLD", "SEGV", "", "99", "-1"] {
            assert!(parse_signal(text).is_err(), "{text}");
        }
    }

    #[test]
    fn maps_are_of_absolute_paths() {
        assert_eq!(parse_map("/a=/b"), Ok(("/a".into(), "/b".into())));
        assert!(parse_map("a=/b").is_err());
        assert!(parse_map("/a").is_err());
    }
}
