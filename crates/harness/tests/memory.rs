//! What memory costs in an image, and what must not cost anything.
#![forbid(unsafe_code)]

use rethaw_harness::{Case, Outcome, PATIENCE, Result, STOPPED, case, ensure, programs};
use std::fs;

/// Starts one of the test programs, and gives the size of the image of its checkpoint; the program is then
/// restarted and has to pass.
fn image_bytes(case: &Case, program: &str) -> Result<u64> {
    let binary = programs::binary(program)?;
    let base = case.path("check");
    let command = [binary.as_os_str(), base.as_os_str()];
    let mut job = case.launch(&["-i", "never"], &command)?;
    case.wait_for_file(&case.path("check.ready"), PATIENCE)?;
    case.checkpoint(&["--stop"])?;
    job.wait(PATIENCE)?.exited(STOPPED)?;
    let images = case.images()?;
    let bytes = fs::metadata(&images[0])?.len();
    fs::write(case.path("check.go"), "")?;
    case.restart(&["-i", "never"])?.wait(PATIENCE)?.success()?;
    let result = fs::read_to_string(case.path("check.result"))?;
    ensure!(result.starts_with("PASS"), "{program} says {result}");
    Ok(bytes)
}

#[test]
fn forked_memory_is_saved_once() -> Outcome {
    case("forked-memory", |case| {
        // Five processes with 24 MiB, of which each has changed little.
        let bytes = image_bytes(case, "memory_forked")?;
        ensure!(bytes < 32 << 20, "the image has {bytes} bytes");
        Ok(())
    })
}

#[test]
fn reserved_memory_costs_nothing() -> Outcome {
    case("reserved-memory", |case| {
        // 25 TiB, of which 600 KiB are in use.
        let bytes = image_bytes(case, "memory_reserved")?;
        ensure!(bytes < 2 << 20, "the image has {bytes} bytes");
        Ok(())
    })
}

/// Memory of all processes of a test that are called `name`, shared pages counted once (Pss).
fn proportional_bytes(case: &Case, name: &str) -> u64 {
    let of_process = |pid: i32| {
        let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
        let kib = text.lines().find_map(|line| line.strip_prefix("Pss:"));
        kib.and_then(|kib| kib.trim().trim_end_matches("kB").trim().parse::<u64>().ok())
            .unwrap_or(0)
    };
    let processes = case.processes().into_iter();
    let wanted = processes.filter(|process| process.name.starts_with(name));
    wanted.map(|process| of_process(process.pid) << 10).sum()
}

#[test]
fn forked_memory_is_shared_after_a_restart() -> Outcome {
    case("forked-memory-shared", |case| {
        let binary = programs::binary("memory_forked")?;
        let base = case.path("check");
        let mut job = case.launch(&["-i", "never"], &[binary.as_os_str(), base.as_os_str()])?;
        case.wait_for_file(&case.path("check.ready"), PATIENCE)?;
        let before = proportional_bytes(case, "memory_forked");
        case.checkpoint(&["--stop"])?;
        job.wait(PATIENCE)?.exited(STOPPED)?;
        job = case.restart(&["-i", "never"])?;
        case.wait_until_protected()?;
        let after = proportional_bytes(case, "memory_forked");
        fs::write(case.path("check.go"), "")?;
        job.wait(PATIENCE)?.success()?;
        ensure!(before > 20 << 20, "the program has only {before} bytes");
        ensure!(after < before + (4 << 20), "{before} bytes have become {after}");
        Ok(())
    })
}
