//! Programs that we did not write, killed with SIGKILL at random moments: they end with the results of an uninterrupted run.
#![forbid(unsafe_code)]

use rethaw_harness::application::{self, Application};
use rethaw_harness::interrupted::kills;
use rethaw_harness::{Counter, Outcome, PATIENCE, REFUSED, case, ensure, programs};
use std::ffi::OsStr;

fn script(name: &'static str, title: &'static str, words: &[&str]) -> Application {
    Application::script(name, title, words)
}

/// A program of tests/applications that is compiled.
fn compiled(name: &'static str, title: &'static str) -> rethaw_harness::Result<Application> {
    let mut application = script(name, title, &[""]);
    application.before = vec![programs::binary(name)?.into()];
    Ok(application)
}

macro_rules! applications {
    ($($name:ident: $application:expr;)*) => {
        $(
            #[test]
            fn $name() -> Outcome {
                // They are many, and share the kills.
                $application.survives(kills().div_ceil(4))
            }
        )*
    };
}

const PYTHON: &str = "/usr/bin/python3";

/// The Java program under these options.
fn java(name: &'static str, title: &'static str, options: &[&str]) -> Application {
    let words = [&["java"], options, &["Heap.java"]].concat();
    script(name, title, &words)
}

fn python(name: &'static str, title: &'static str, file: &str) -> Application {
    script(name, title, &[PYTHON, file])
}

/// A command that prints the version of a module of Python.
fn module_version(name: &str) -> [String; 3] {
    let code = format!("import {name}; print({name}.__version__)");
    [PYTHON.to_string(), "-c".to_string(), code]
}

/// Why a program is ended by its checkpoints.
const BRIEFLY_OPEN: &str = "overwrites files that it opens only for a moment (pg_xact), so that none of them is in an image: see below";
const MADE_ONCE: &str = "a command that is made again finds what it has made already: see below";

const BLAS: &str = "OMP_NUM_THREADS";

applications! {
    bash: script("bash", "bash: pipeline, background jobs, traps", &["bash", "pipeline.sh"]);
    busybox: script("busybox", "BusyBox, linked statically: the same script", &["busybox", "sh", "pipeline.sh"])
        .version(&["busybox", "--help"]);
    make: script("make", "make -j4 of a C project with gcc", &["sh", "make.sh"]).version(&["make", "--version"]);
    python_pool: python("python-pool", "Python: multiprocessing pool, queues, locks", "pool.py");
    python_futures: python("python-futures", "Python: concurrent.futures, processes and threads", "futures.py");
    python_asyncio: python("python-asyncio", "Python: asyncio with subprocesses and a server", "asynchronous.py");
    python_spawn: python("python-spawn", "Python: multiprocessing by spawn and forkserver, shared memory", "spawned.py");
    joblib: python("joblib", "joblib: processes of loky, threads", "jobs.py").version(&module_version("joblib"));
    dask: python("dask", "Dask: a local cluster", "cluster.py").version(&module_version("distributed"));
    hdf5: python("hdf5", "h5py: an HDF5 file that grows and is overwritten", "results.py")
        .version(&module_version("h5py"));
    fortran: compiled("waves", "Fortran with OpenMP: scratch file, commands")?
        .variable(BLAS, "3")
        .variable("OMP_WAIT_POLICY", "passive")
        .version(&["gfortran", "--version"]);
    perl: script("perl", "Perl: children, pipes, signals", &["perl", "children.pl"]).version(&["perl", "-e", "print $^V"]);
    address_sanitizer: compiled("sanitized", "C with AddressSanitizer: threads, children")?
        .version(&["gcc", "--version"]);
    valgrind: compiled("memory-checked", "C under valgrind: threads, children")?
        .under(&["valgrind", "-q", "--error-exitcode=9"])
        .version(&["valgrind", "--version"]);
    sqlite: python("sqlite", "SQLite: write-ahead log, a writer and a reader", "database.py")
        .version(&[PYTHON, "-c", "import sqlite3; print(sqlite3.sqlite_version)"])
        .options(&["--save-open-files"])
        .note("with `--save-open-files`");
    redis: python("redis", "Redis: append-only file, clients inside", "redis.py").version(&["redis-server", "--version"]);
    postgres: script("postgres", "PostgreSQL: clients inside", &["sh", "postgres.sh"])
        .prepare("prepare")
        .stopped()
        .note(BRIEFLY_OPEN)
        .version(&["sh", "-c", "PATH=$PATH:$(ls -d /usr/lib/postgresql/*/bin | tail -n 1); initdb --version"]);
    nginx: python("nginx", "nginx: two workers, proxy, clients inside", "webserver.py").version(&["/usr/sbin/nginx", "-v"]);
    java_serial: java("java-serial", "Java: serial collector", &["-XX:+UseSerialGC"]);
    java_parallel: java("java-parallel", "Java: parallel collector", &["-XX:+UseParallelGC"]);
    java_g1: java("java-g1", "Java: G1 collector", &["-XX:+UseG1GC"]);
    java_g1_wide: java("java-g1-wide", "Java: G1 collector, heap not compressed", &["-XX:+UseG1GC", "-XX:-UseCompressedOops"]);
    java_shenandoah: java("java-shenandoah", "Java: Shenandoah collector", &["-XX:+UseShenandoahGC"]);
    java_z: java("java-z", "Java: Z collector", &["-XX:+UseZGC"]);
    node: script("node", "Node.js: HTTP server with clients, worker threads, child", &["node", "server.js"]);
    node_cluster: script("node-cluster", "Node.js: the module cluster", &["node", "workers.js"]);
    erlang: script("erlang", "Erlang: processes, timers, sockets, ports", &["escript", "processes.erl"])
        .version(&["erl", "-noshell", "-eval", "io:format(\"~s.0\", [erlang:system_info(otp_release)]), halt()."]);
    lisp: script("lisp", "Steel Bank Common Lisp: collector, compiler, threads", &["sbcl", "--script", "lists.lisp"]);
    go_server: compiled("server", "Go: HTTP server with clients")?.version(&["go", "version"]);
    ruby: script("ruby", "Ruby: threads, fibres, children, compaction", &["ruby", "threads.rb"]);
    r: script("r", "R: models, children of parallel", &["Rscript", "model.R"]).variable(BLAS, "1");
    r_cluster: script("r-cluster", "R: processes on sockets", &["Rscript", "cluster.R"]).variable(BLAS, "1");
    octave: script("octave", "GNU Octave: matrices, subprocess", &["octave-cli", "--no-gui", "matrices.m"]).variable(BLAS, "1");
    jupyter: python("jupyter", "Jupyter: a kernel and its client", "notebook.py").version(&module_version("ipykernel"));
    pytorch: python("pytorch", "PyTorch on the processor: training with data-loader workers", "training.py")
        .version(&module_version("torch"));
    tmux: script("tmux", "tmux with a shell, vim and less", &["sh", "screens.sh"]).version(&["tmux", "-V"]);
    screen: script("screen", "GNU screen with a shell", &["sh", "split.sh"])
        .version(&["sh", "-c", "screen --version || true"]);
    archive: script("xz", "xz -T4, tar and awk in pipelines", &["sh", "archive.sh"]).version(&["xz", "--version"]);
    parallel: script("parallel", "GNU parallel and xargs -P", &["sh", "parallel.sh"]).version(&["parallel", "--version"]);
    awk: script("awk", "a loop that sleeps, awk with pipes", &["sh", "statistics.sh"]).version(&["awk", "-W", "version"]);
    git: script("git", "git: commits, merges, gc, clone", &["sh", "repository.sh"])
        .version(&["git", "--version"])
        .stopped()
        .note(MADE_ONCE);
}

/// A program that is being debugged cannot be traced by rethaw too: it is told so, and goes on unharmed.
#[test]
fn gdb_is_refused() -> Outcome {
    let version = Application::script("gdb", "", &["gdb", ""]).installed()?;
    let Some(version) = version else {
        println!("SKIP: gdb is missing (scripts/install-test-deps.sh installs it)");
        return Ok(());
    };
    case("application-gdb", |case| {
        let counter = Counter::new(case, 300, 0)?;
        let gdb = ["gdb", "-q", "-nx", "-batch", "-ex", "run", "--args"].map(OsStr::new);
        let mut job = case.launch(&["-i", "never"], &[&gdb, counter.command().as_slice()].concat())?;
        counter.wait_until_ready(case)?;
        case.wait_until_protected()?;
        case.try_checkpoint(&[])?
            .exited(REFUSED)?
            .refused(&["is traced by"])?;
        counter.ensure_counting()?;
        let finished = job.wait(PATIENCE)?.success()?;
        ensure!(
            finished.out.contains("exited normally"),
            "gdb did not see the end of the program"
        );
        counter.ensure_complete()?;
        let title = "gdb while it traces a program";
        application::record(&[title, &version, "refused, unharmed", "another program traces it"])
    })
}
