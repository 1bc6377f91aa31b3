//! Real programs, killed with SIGKILL at random moments, also in the middle of checkpoints and restarts.
#![forbid(unsafe_code)]

use rethaw_harness::interrupted::{Interruption, Subject, kills, words};
use rethaw_harness::{Outcome, places, programs};
use std::ffi::OsStr;
use std::path::Path;

fn compiled(name: &str, iterations: u32, work: u32) -> Outcome {
    with_options(name, name, iterations, work, vec![])
}

fn with_options(case: &str, name: &str, iterations: u32, work: u32, options: Vec<&'static str>) -> Outcome {
    let subject = Subject {
        name: case.to_string(),
        before: vec![programs::binary(name)?.into()],
        after: vec![iterations.to_string().into(), work.to_string().into()],
        environment: vec![("OMP_NUM_THREADS", "4".to_string())],
        options,
        interruption: Interruption::Kill,
        prepare: vec![],
        sign: None,
    };
    subject.survives(kills())
}

#[test]
fn openmp() -> Outcome {
    compiled("openmp", 200, 300)
}

#[test]
fn openmp_linked_statically() -> Outcome {
    compiled("openmp-static", 200, 300)
}

#[test]
fn openmp_isolated() -> Outcome {
    with_options("openmp-isolated", "openmp", 200, 300, vec!["--isolate"])
}

#[test]
fn openmp_compressed() -> Outcome {
    with_options(
        "openmp-compressed",
        "openmp",
        200,
        300,
        vec!["--compress", "zstd"],
    )
}

#[test]
fn posix_threads_linked_statically_with_musl() -> Outcome {
    compiled("threads-musl", 300, 100_000)
}

#[test]
fn go_with_many_goroutines() -> Outcome {
    compiled("goroutines", 1000, 2000)
}

#[test]
fn rust_with_threads() -> Outcome {
    compiled("rust-threads", 1000, 4000)
}

fn numpy(python: &Path, which: &str, threads: u32) -> Outcome {
    let usable = std::process::Command::new(python)
        .args(["-c", "import numpy"])
        .output();
    if !usable.is_ok_and(|output| output.status.success()) {
        println!(
            "SKIP: {} has no numpy (scripts/install-test-deps.sh installs it)",
            python.display()
        );
        return Ok(());
    }
    let script = places::source().join("examples/matmul.py");
    let threads_text = threads.to_string();
    let subject = Subject {
        name: format!("numpy-{which}-{threads}"),
        before: words([
            python.as_os_str(),
            OsStr::new("-u"),
            script.as_os_str(),
            OsStr::new("--log"),
        ]),
        after: words(["--size", "500", "--iterations", "600", "--seed", "7"].map(OsStr::new)),
        environment: vec![
            ("OMP_NUM_THREADS", threads_text.clone()),
            ("OPENBLAS_NUM_THREADS", threads_text),
        ],
        options: vec![],
        interruption: Interruption::Kill,
        prepare: vec![],
        sign: None,
    };
    // 8 thread counts and two libraries share the kills; all together are more than wanted.
    subject.survives(kills().div_ceil(4))
}

macro_rules! numpy {
    ($($debian:ident $pip:ident $threads:literal)*) => {
        $(
            #[test]
            fn $debian() -> Outcome {
                numpy(Path::new("/usr/bin/python3"), "debian", $threads)
            }
            #[test]
            fn $pip() -> Outcome {
                numpy(&places::venv()?.join("bin/python"), "pip", $threads)
            }
        )*
    };
}

numpy! {
    numpy_of_debian_with_1_thread numpy_of_pip_with_1_thread 1
    numpy_of_debian_with_2_threads numpy_of_pip_with_2_threads 2
    numpy_of_debian_with_3_threads numpy_of_pip_with_3_threads 3
    numpy_of_debian_with_4_threads numpy_of_pip_with_4_threads 4
    numpy_of_debian_with_5_threads numpy_of_pip_with_5_threads 5
    numpy_of_debian_with_6_threads numpy_of_pip_with_6_threads 6
    numpy_of_debian_with_7_threads numpy_of_pip_with_7_threads 7
    numpy_of_debian_with_8_threads numpy_of_pip_with_8_threads 8
}
