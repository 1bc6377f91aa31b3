//! The test programs: compiled once, kept in one folder.

use crate::mpi::Mpi;
use crate::{Failure, Result, ensure, places};
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::time::SystemTime;

/// Folder of the sources.
pub fn sources() -> PathBuf {
    places::source().join("tests/programs")
}

/// The compiled program of this name; compiles it when its source is newer.
///
/// Where `RETHAW_TEST_PROGRAMS` has it, that is taken as it is.
pub fn binary(name: &str) -> Result<PathBuf> {
    let folder = places::programs()?;
    let binary = folder.join(name);
    if std::env::var_os("RETHAW_TEST_PROGRAMS").is_some() && binary.exists() {
        return Ok(binary.canonicalize()?);
    }
    build(name)
}

/// Compiles this program unless it is up to date.
pub fn build(name: &str) -> Result<PathBuf> {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _guard = ONE_AT_A_TIME.lock();
    let folder = places::programs()?;
    fs::create_dir_all(&folder)?;
    let recipe = recipe(name);
    let binary = folder.join(name);
    if newest(&recipe.sources)? >= modified(&binary).unwrap_or(SystemTime::UNIX_EPOCH) {
        let temporary = folder.join(format!(".{name}.{}", std::process::id()));
        let output = recipe.command(&temporary).output().map_err(|e| {
            Failure::from(e).within(format!(
                "compiling {name} (scripts/install-test-deps.sh installs compilers)"
            ))
        })?;
        ensure!(
            output.status.success(),
            "compiling {name}:\n{}",
            String::from_utf8_lossy(&output.stderr)
        );
        fs::rename(&temporary, &binary)?;
    }
    Ok(binary.canonicalize()?)
}

/// Names of all programs in C that check themselves, one per item of kernel state.
pub fn self_checking() -> Result<Vec<String>> {
    let mut names = vec![];
    for entry in fs::read_dir(sources())? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "c") {
            names.extend(path.file_stem().map(|stem| stem.to_string_lossy().into_owned()));
        }
    }
    names.sort();
    Ok(names)
}

/// Names of the real programs, for [`build`].
pub const REAL: [&str; 19] = [
    "outside",
    "counter",
    "openmp",
    "openmp-static",
    "threads-musl",
    "goroutines",
    "rust-threads",
    "cpu-loops",
    "ending",
    "sanitized",
    "memory-checked",
    "waves",
    "screen",
    "server",
    "refused-files",
    "refused-memory",
    "refused-processes",
    "refused-sockets",
    "refused-terminals",
];

struct Recipe {
    sources: Vec<PathBuf>,
    compiler: OsString,
    arguments: Vec<OsString>,
}

impl Recipe {
    fn command(&self, output: &Path) -> Command {
        let mut command = Command::new(&self.compiler);
        let before = self.arguments.iter().take_while(|argument| *argument != "SOURCE");
        command.args(before).arg("-o").arg(output).arg(&self.sources[0]);
        command.args(
            self.arguments
                .iter()
                .skip_while(|argument| *argument != "SOURCE")
                .skip(1),
        );
        command.env("GOFLAGS", "-mod=mod").env("GO111MODULE", "off");
        command
    }
}

fn recipe(name: &str) -> Recipe {
    let real = sources().join("real");
    let one = |file: &str, compiler: &str, arguments: &[&'static str]| Recipe {
        sources: vec![real.join(file)],
        compiler: compiler.into(),
        arguments: arguments.iter().map(OsString::from).collect(),
    };
    if let Some(mpi) = Mpi::of_program(name) {
        let (compiler, arguments) = mpi.compiler;
        return Recipe {
            sources: vec![crate::mpi::folder().join("traffic.c")],
            compiler,
            arguments,
        };
    }
    let application = |file: &str, compiler, arguments: &[&'static str]| Recipe {
        sources: vec![crate::application::folder().join(file)],
        ..one(file, compiler, arguments)
    };
    match name {
        "openmp" => one("openmp.c", "gcc", &["-O2", "-fopenmp", "SOURCE", "-lm"]),
        "openmp-static" => one(
            "openmp.c",
            "gcc",
            &["-O2", "-fopenmp", "-static", "SOURCE", "-lm"],
        ),
        "threads-musl" => one("threads.c", "musl-gcc", &["-O2", "-static", "-pthread", "SOURCE"]),
        "goroutines" => one("goroutines.go", "go", &["build"]),
        "rust-threads" => one("threads.rs", "rustc", &["-O", "--edition=2024"]),
        "outside" => one("outside.c", "gcc", &["-O1", "SOURCE"]),
        "counter" => one("counter.c", "gcc", &["-O2", "SOURCE"]),
        "ending" => one(
            "ending.c",
            "gcc",
            &["-O2", "-Wall", "-Wextra", "-pthread", "SOURCE"],
        ),
        "sanitized" => application(
            "sanitized.c",
            "gcc",
            &["-O1", "-g", "-fsanitize=address", "-pthread", "SOURCE"],
        ),
        "memory-checked" => application("sanitized.c", "gcc", &["-O1", "-g", "-pthread", "SOURCE"]),
        "waves" => application("waves.f90", "gfortran", &["-O2", "-fopenmp", "SOURCE"]),
        "server" => application("server.go", "go", &["build"]),
        "screen" => one(
            "screen.c",
            "gcc",
            &[
                "-O1",
                "-Wall",
                "-Wextra",
                "-Wno-format-truncation",
                "-pthread",
                "SOURCE",
            ],
        ),
        "cpu-loops" => one("loops.c", "gcc", &["-O2", "SOURCE"]),
        _ => Recipe {
            sources: vec![
                match name.strip_prefix("refused-") {
                    Some(kind) => sources().join(format!("refused/{kind}.c")),
                    None => sources().join(format!("{name}.c")),
                },
                sources().join("check.h"),
                sources().join("timed_wait.h"),
                sources().join("socket.h"),
                sources().join("refused/refused.h"),
            ],
            compiler: "gcc".into(),
            arguments: [
                "-O1",
                "-g",
                "-Wall",
                "-Wextra",
                "-Wno-format-truncation",
                "-pthread",
                "SOURCE",
                "-ldl",
                "-lm",
                "-lrt",
            ]
            .map(OsString::from)
            .to_vec(),
        },
    }
}

fn modified(path: &Path) -> Option<SystemTime> {
    fs::metadata(path).ok()?.modified().ok()
}

fn newest(paths: &[PathBuf]) -> Result<SystemTime> {
    let times: Option<Vec<SystemTime>> = paths.iter().map(|path| modified(path)).collect();
    times
        .and_then(|times| times.into_iter().max())
        .ok_or_else(|| Failure::new(format!("a source of {paths:?} is missing")))
}
