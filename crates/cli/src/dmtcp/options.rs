//! The command lines of the DMTCP names.

use crate::duration::{Interval, parse_interval};
use clap::{ArgAction, Args, Parser};
use std::ffi::OsString;
use std::path::PathBuf;

/// Port of a coordinator where none is given.
pub const DEFAULT_PORT: u16 = 7779;

/// Exit status of DMTCP's own failures, unless DMTCP_FAIL_RC says otherwise.
pub fn fail_status(get: impl Fn(&str) -> Option<String>) -> u8 {
    get("DMTCP_FAIL_RC")
        .and_then(|text| text.parse().ok())
        .filter(|status| *status != 0)
        .unwrap_or(99)
}

/// How a coordinator is found. Here, a port is a number by which dmtcp_command finds computations.
#[derive(Debug, Clone, Args)]
pub struct CoordinatorArgs {
    /// Host of the coordinator (DMTCP_COORD_HOST). Computations are always run on this one.
    #[arg(short = 'h', long, alias = "host", value_name = "HOSTNAME")]
    pub coord_host: Option<String>,
    /// Number by which dmtcp_command finds this computation (DMTCP_COORD_PORT) [default: 7779]; 0 chooses one.
    #[arg(short = 'p', long, alias = "port", value_name = "PORT")]
    pub coord_port: Option<u16>,
    /// File to write the port to.
    #[arg(long, value_name = "FILE")]
    pub port_file: Option<PathBuf>,
    /// Fail if there is no coordinator or computation with this port.
    #[arg(short, long, alias = "join")]
    pub join_coordinator: bool,
    /// Fail if there is one already; without a port, choose one.
    #[arg(long)]
    pub new_coordinator: bool,
    /// Join one or be the first (the default).
    #[arg(long)]
    pub any_coordinator: bool,
    /// Accepted and ignored.
    #[arg(long, value_name = "FILE")]
    pub coord_logfile: Option<PathBuf>,
}

#[derive(Debug, Clone, Parser)]
#[command(
    name = "dmtcp_launch",
    version,
    disable_help_flag = true,
    args_override_self = true,
    arg_required_else_help = true
)]
/// Run a program under checkpoints: rethaw under the name and with the options of DMTCP.
pub struct Launch {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub coordinator: CoordinatorArgs,
    /// Seconds between checkpoints (DMTCP_CHECKPOINT_INTERVAL); 0 for only on request (the default).
    #[arg(short, long, value_name = "SECONDS", value_parser = parse_interval)]
    pub interval: Option<Interval>,
    /// Compress the image (DMTCP_GZIP=1).
    #[arg(long, overrides_with = "no_gzip")]
    pub gzip: bool,
    /// Do not compress the image (DMTCP_GZIP=0, the default).
    #[arg(long, overrides_with = "gzip")]
    pub no_gzip: bool,
    /// Folder of the image and the restart script (DMTCP_CHECKPOINT_DIR) [default: the current one].
    #[arg(short = 'c', long, value_name = "DIR")]
    pub ckptdir: Option<PathBuf>,
    /// Be silent about what goes well (DMTCP_QUIET).
    #[arg(short, long, action = ArgAction::Count)]
    pub quiet: u8,
    /// Print help.
    #[arg(long, action = ArgAction::Help)]
    help: Option<bool>,
    /// Put the contents of every file that the program has open into the image.
    #[arg(long, alias = "ckpt-open-files")]
    pub checkpoint_open_files: bool,
    /// The program and its arguments.
    #[arg(value_name = "COMMAND", required = true, trailing_var_arg = true)]
    pub program: Vec<OsString>,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub ignored: IgnoredLaunchArgs,
}

/// Options of dmtcp_launch that need no counterpart, because nothing of rethaw is in the program.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Accepted and ignored")]
#[allow(missing_docs)]
pub struct IgnoredLaunchArgs {
    #[arg(short = 't', long, value_name = "DIR")]
    pub tmpdir: Option<PathBuf>,
    #[arg(long, value_name = "SIGNUM")]
    pub ckpt_signal: Option<String>,
    #[arg(long, value_name = "LIBRARIES")]
    pub with_plugin: Option<String>,
    #[arg(long)]
    pub allow_file_overwrite: bool,
    #[arg(long)]
    pub enable_unique_checkpoint_filenames: bool,
    #[arg(long)]
    pub disable_unique_checkpoint_filenames: bool,
    #[arg(long)]
    pub modify_env: bool,
    #[arg(long)]
    pub pathvirt: bool,
    #[arg(long, alias = "rm")]
    pub batch_queue: bool,
    #[arg(long, alias = "ib")]
    pub infiniband: bool,
    #[arg(long)]
    pub ptrace: bool,
    #[arg(long)]
    pub no_coordinator: bool,
    #[arg(long)]
    pub kernel_loader: bool,
    #[arg(long, aliases = DISABLE_PLUGINS)]
    pub disable_all_plugins: bool,
}

const DISABLE_PLUGINS: [&str; 13] = [
    "no-plugins",
    "disable-alloc-plugin",
    "disable-dl-plugin",
    "disable-ssh-plugin",
    "disable-event-plugin",
    "disable-file-plugin",
    "disable-pty-plugin",
    "disable-socket-plugin",
    "disable-ipc-plugin",
    "disable-svipc-plugin",
    "disable-timer-plugin",
    "disable-pid-plugin",
    "disable-unique-ckpt-plugin",
];

impl IgnoredLaunchArgs {
    /// Those that were given.
    pub fn given(&self) -> Vec<&'static str> {
        let all = [
            (self.tmpdir.is_some(), "--tmpdir"),
            (self.ckpt_signal.is_some(), "--ckpt-signal"),
            (self.with_plugin.is_some(), "--with-plugin"),
            (self.allow_file_overwrite, "--allow-file-overwrite"),
            (
                self.enable_unique_checkpoint_filenames,
                "--enable-unique-checkpoint-filenames",
            ),
            (self.modify_env, "--modify-env"),
            (self.pathvirt, "--pathvirt"),
            (self.batch_queue, "--batch-queue"),
            (self.infiniband, "--infiniband"),
            (self.ptrace, "--ptrace"),
            (self.no_coordinator, "--no-coordinator"),
            (self.kernel_loader, "--kernel-loader"),
            (self.disable_all_plugins, "disabling plugins"),
        ];
        all.into_iter()
            .filter(|(given, _)| *given)
            .map(|(_, name)| name)
            .collect()
    }
}

#[derive(Debug, Clone, Parser)]
#[command(
    name = "dmtcp_restart",
    version,
    disable_help_flag = true,
    args_override_self = true,
    arg_required_else_help = true
)]
/// Restart a computation from its image: rethaw under the name and with the options of DMTCP.
pub struct Restart {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub coordinator: CoordinatorArgs,
    /// Seconds between checkpoints (DMTCP_CHECKPOINT_INTERVAL); 0 for only on request (the default).
    #[arg(short, long, value_name = "SECONDS", value_parser = parse_interval)]
    pub interval: Option<Interval>,
    /// Folder of new checkpoints (DMTCP_CHECKPOINT_DIR) [default: that of the image].
    #[arg(short = 'c', long, value_name = "DIR")]
    pub ckptdir: Option<PathBuf>,
    /// Folder with the image to restart.
    #[arg(short, long, value_name = "DIR", conflicts_with = "images")]
    pub restartdir: Option<PathBuf>,
    /// Be silent about what goes well (DMTCP_QUIET).
    #[arg(short, long, action = ArgAction::Count)]
    pub quiet: u8,
    /// Print help.
    #[arg(long, action = ArgAction::Help)]
    help: Option<bool>,
    #[arg(long, help_heading = "Accepted and ignored")]
    #[allow(missing_docs)]
    pub no_strict_checking: bool,
    #[arg(short, long, value_name = "DIR", help_heading = "Accepted and ignored")]
    #[allow(missing_docs)]
    pub tmpdir: Option<PathBuf>,
    #[arg(long, value_name = "LEVEL", help_heading = "Accepted and ignored")]
    #[allow(missing_docs)]
    pub debug_restart_pause: Option<String>,
    #[arg(long, value_name = "LEVEL", help_heading = "Accepted and ignored")]
    #[allow(missing_docs)]
    pub gdb: Option<String>,
    /// The image: ckpt_PROGRAM_ID.dmtcp.
    #[arg(value_name = "IMAGE")]
    pub images: Vec<PathBuf>,
}

impl Restart {
    /// Options without effect that were given.
    pub fn ignored(&self) -> Vec<&'static str> {
        let all = [
            (self.no_strict_checking, "--no-strict-checking"),
            (self.tmpdir.is_some(), "--tmpdir"),
            (self.debug_restart_pause.is_some(), "--debug-restart-pause"),
            (self.gdb.is_some(), "--gdb"),
        ];
        all.into_iter()
            .filter(|(given, _)| *given)
            .map(|(_, name)| name)
            .collect()
    }
}

// After `canonical` has put its command into the form of an option.
#[derive(Debug, Clone, Parser)]
#[command(
    name = "dmtcp_command",
    version,
    disable_help_flag = true,
    args_override_self = true
)]
/// Send a command to running computations: rethaw under the name and with the options of DMTCP.
///
/// Commands may also be given without dashes, and in short: s l c bc kc i k q.
pub struct Command {
    /// Host of the coordinator (DMTCP_COORD_HOST).
    #[arg(short = 'h', long, alias = "host", value_name = "HOSTNAME")]
    pub coord_host: Option<String>,
    /// Port that the computations were launched with (DMTCP_COORD_PORT) [default: 7779].
    #[arg(short = 'p', long, alias = "port", value_name = "PORT")]
    pub coord_port: Option<u16>,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
    /// Print help.
    #[arg(long, action = ArgAction::Help)]
    help: Option<bool>,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub order: OrderArgs,
}

/// What is asked for.
#[derive(Debug, Clone, Default, Args)]
#[group(required = true, multiple = false)]
pub struct OrderArgs {
    /// -s: whether computations run.
    #[arg(long)]
    pub status: bool,
    /// -l: list them.
    #[arg(long)]
    pub list: bool,
    /// -c: take a checkpoint; do not wait for it.
    #[arg(long)]
    pub checkpoint: bool,
    /// -bc: take a checkpoint and wait until it is durable.
    #[arg(long)]
    pub bcheckpoint: bool,
    /// -kc: take a checkpoint, then end the computations.
    #[arg(long)]
    pub kcheckpoint: bool,
    /// -i: change the interval; 0 for never.
    #[arg(long, value_name = "SECONDS", value_parser = parse_interval)]
    pub interval: Option<Interval>,
    /// -k: end the computations.
    #[arg(long)]
    pub kill: bool,
    /// -q: end the computations and the coordinator.
    #[arg(long)]
    pub quit: bool,
}

#[derive(Debug, Clone, Parser)]
#[command(
    name = "dmtcp_coordinator",
    version,
    disable_help_flag = true,
    args_override_self = true
)]
/// Keep a port and an interval for computations that are launched with it: rethaw under the name and with
/// the options of DMTCP. Computations do not need it.
pub struct Coordinator {
    /// Port (DMTCP_COORD_PORT) [default: 7779]; 0 chooses one.
    #[arg(short = 'p', long, alias = "port", value_name = "PORT")]
    pub coord_port: Option<u16>,
    /// The same.
    #[arg(value_name = "PORT", conflicts_with = "coord_port")]
    pub port: Option<u16>,
    /// File to write the port to.
    #[arg(long, value_name = "FILE")]
    pub port_file: Option<PathBuf>,
    /// File to write host, port and pid to.
    #[arg(long, value_name = "FILE")]
    pub status_file: Option<PathBuf>,
    /// Folder of images for computations that do not say one (DMTCP_CHECKPOINT_DIR).
    #[arg(short = 'c', long, value_name = "DIR")]
    pub ckptdir: Option<PathBuf>,
    /// Seconds between checkpoints for computations that do not say (DMTCP_CHECKPOINT_INTERVAL).
    #[arg(short, long, value_name = "SECONDS", value_parser = parse_interval)]
    pub interval: Option<Interval>,
    /// End when the last computation has ended.
    #[arg(long)]
    pub exit_on_last: bool,
    /// End computations after their first checkpoint.
    #[arg(long)]
    pub kill_after_ckpt: bool,
    /// End after so many seconds.
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true)]
    pub timeout: Option<i64>,
    /// End after so many seconds without a computation; -1 for never [default: 28800].
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true)]
    pub stale_timeout: Option<i64>,
    /// Run in the background.
    #[arg(long)]
    pub daemon: bool,
    /// Be silent.
    #[arg(short, long, action = ArgAction::Count)]
    pub quiet: u8,
    /// Print help.
    #[arg(short = 'h', long, action = ArgAction::Help)]
    help: Option<bool>,
    #[arg(short, long, value_name = "DIR", help_heading = "Accepted and ignored")]
    #[allow(missing_docs)]
    pub tmpdir: Option<PathBuf>,
    #[arg(long, value_name = "FILE", help_heading = "Accepted and ignored")]
    #[allow(missing_docs)]
    pub coord_logfile: Option<PathBuf>,
    #[arg(long, help_heading = "Accepted and ignored")]
    #[allow(missing_docs)]
    pub write_kv_data: bool,
}

#[cfg(test)]
#[allow(clippy::expect_used)]
mod tests {
    use super::*;
    use clap::CommandFactory;
    use std::time::Duration;

    #[test]
    fn the_definitions_are_sound() {
        Launch::command().debug_assert();
        Restart::command().debug_assert();
        Command::command().debug_assert();
        Coordinator::command().debug_assert();
    }

    fn every(seconds: u64) -> Option<Interval> {
        Some(Interval::Every(Duration::from_secs(seconds)))
    }

    #[test]
    fn launch_as_scripts_write_it() {
        let line = "dmtcp_launch -i 60 --no-gzip --ckptdir /scratch -h localhost -p 0 --port-file port \
                    --new-coordinator -q -q python -u run.py -i 5 --ckptdir x";
        let args = Launch::try_parse_from(line.split_ascii_whitespace()).expect("parsed");
        assert_eq!(args.interval, every(60));
        assert_eq!(args.coordinator.coord_port, Some(0));
        assert_eq!(args.coordinator.coord_host.as_deref(), Some("localhost"));
        assert_eq!(args.ckptdir.as_deref(), Some("/scratch".as_ref()));
        assert_eq!(args.quiet, 2);
        assert_eq!(
            args.program,
            ["python", "-u", "run.py", "-i", "5", "--ckptdir", "x"]
        );
        let args = Launch::try_parse_from(["dmtcp_launch", "-i5", "-p7000", "-i", "6", "a"]).expect("parsed");
        assert_eq!(
            (args.interval, args.coordinator.coord_port),
            (every(6), Some(7000))
        );
    }

    #[test]
    fn unknown_options_are_refused_and_meaningless_ones_noted() {
        assert!(Launch::try_parse_from(["dmtcp_launch", "--no-such-option", "a"]).is_err());
        let line = [
            "dmtcp_launch",
            "--disable-dl-plugin",
            "--rm",
            "--ckpt-signal",
            "12",
            "a",
        ];
        let args = Launch::try_parse_from(line).expect("parsed");
        assert_eq!(
            args.ignored.given(),
            ["--ckpt-signal", "--batch-queue", "disabling plugins"]
        );
        assert!(Restart::try_parse_from(["dmtcp_restart", "--bogus", "x"]).is_err());
        assert!(Coordinator::try_parse_from(["dmtcp_coordinator", "--bogus"]).is_err());
    }

    #[test]
    fn restart_as_scripts_write_it() {
        let line = [
            "dmtcp_restart",
            "-i",
            "60",
            "-j",
            "--coord-port",
            "7779",
            "ckpt_a_1.dmtcp",
        ];
        let args = Restart::try_parse_from(line).expect("parsed");
        assert_eq!(args.images, [PathBuf::from("ckpt_a_1.dmtcp")]);
        assert!(Restart::try_parse_from(["dmtcp_restart", "--restartdir", ".", "a.dmtcp"]).is_err());
    }

    #[test]
    fn the_status_of_failures_can_be_chosen() {
        assert_eq!(fail_status(|_| None), 99);
        assert_eq!(fail_status(|_| Some("7".into())), 7);
        assert_eq!(fail_status(|_| Some("0".into())), 99);
    }
}
