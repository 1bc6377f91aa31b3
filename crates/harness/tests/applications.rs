//! Programs that we did not write, killed with SIGKILL at random moments: they end with the results of an uninterrupted run.
#![forbid(unsafe_code)]

use rethaw_harness::application::Application;
use rethaw_harness::interrupted::kills;
use rethaw_harness::{Outcome, programs};

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
                $application.survives(kills())
            }
        )*
    };
}

const PYTHON: &str = "/usr/bin/python3";

applications! {
    bash: script("bash", "bash: pipeline, background jobs, traps", &["bash", "pipeline.sh"]);
    busybox: script("busybox", "BusyBox, linked statically: the same script", &["busybox", "sh", "pipeline.sh"])
        .version(&["busybox", "--help"]);
    make: script("make", "make -j4 of a C project with gcc", &["sh", "make.sh"]).version(&["make", "--version"]);
    python_pool: script("python-pool", "Python: multiprocessing pool, queues, locks", &[PYTHON, "pool.py"]);
    python_futures: script("python-futures", "Python: concurrent.futures, processes and threads", &[PYTHON, "futures.py"]);
    python_asyncio: script("python-asyncio", "Python: asyncio with subprocesses and a server", &[PYTHON, "asynchronous.py"]);
    perl: script("perl", "Perl: children, pipes, signals", &["perl", "children.pl"]).version(&["perl", "-e", "print $^V"]);
    address_sanitizer: compiled("sanitized", "C with AddressSanitizer: threads, children")?
        .version(&["gcc", "--version"]);
    go_server: compiled("server", "Go: HTTP server with clients")?.version(&["go", "version"]);
}
