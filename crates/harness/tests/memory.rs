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
