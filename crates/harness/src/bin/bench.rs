//! Benchmarks: what rethaw costs between checkpoints, and what a checkpoint and a restart take.
//!
//! `bench between [PAIRS]`: a compute loop, a system-call loop and a fork/exec loop with and without rethaw, in turns.
//! `bench checkpoint [GIB...]`: pause, time to durable and restart time, as ratios to memcpy and to the raw disk in the
//! same run. Prints a table; `--json` prints JSON lines instead.
#![forbid(unsafe_code)]

use rethaw_harness::{Case, Counter, Failure, Outcome, Result, case, programs};
use serde_json::{Value, json};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Write;
use std::time::{Duration, Instant};

const LONG: Duration = Duration::from_secs(600);

fn main() -> Outcome {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let json = arguments.iter().any(|word| word == "--json");
    let numbers: Vec<usize> = arguments.iter().filter_map(|word| word.parse().ok()).collect();
    let report = Report { json };
    match arguments.first().map(String::as_str) {
        Some("between") => between(&report, numbers.first().copied().unwrap_or(15)),
        Some("checkpoint") => {
            let sizes = if numbers.is_empty() { vec![1, 4] } else { numbers };
            sizes.into_iter().try_for_each(|gib| checkpoint(&report, gib))
        }
        _ => Err(Failure::new(
            "usage: bench between [PAIRS] | bench checkpoint [GIB...] [--json]",
        )),
    }
}

struct Report {
    json: bool,
}

impl Report {
    fn line(&self, text: &str, value: &Value) {
        if self.json {
            println!("{value}")
        } else {
            println!("{text}")
        }
    }
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => sorted[middle],
        _ => (sorted[middle - 1] + sorted[middle]) / 2.0,
    }
}

/// Half of the distance between the quartiles: the noise of a single pair.
fn noise(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = |share: f64| sorted[((sorted.len() - 1) as f64 * share).round() as usize];
    if sorted.is_empty() {
        f64::NAN
    } else {
        (at(0.75) - at(0.25)) / 2.0
    }
}

/// Every pair runs the loop once without and once with rethaw; every other pair the other way round.
fn between(report: &Report, pairs: usize) -> Outcome {
    report.line(
        "loop          pairs  ratio (median)  noise of a pair  error of the median",
        &json!({"benchmark": "between"}),
    );
    for (name, rounds) in [
        ("compute", "250000000"),
        ("system-call", "6000000"),
        ("fork-exec", "1000"),
    ] {
        case(&format!("bench-{name}"), |case| {
            let mut ratios = vec![];
            for pair in 0..=pairs {
                let alone_first = pair % 2 == 0;
                let first = loop_seconds(case, name, rounds, !alone_first)?;
                let second = loop_seconds(case, name, rounds, alone_first)?;
                let ratio = if alone_first {
                    second / first
                } else {
                    first / second
                };
                if pair > 0 {
                    ratios.push(ratio);
                }
            }
            let (middle, noise) = (median(&ratios), noise(&ratios));
            let error = 1.25 * noise / 0.6745 / (ratios.len() as f64).sqrt();
            let text = format!("{name:<12} {pairs:>6}  {middle:>14.4}  {noise:>15.4}  {error:>19.4}");
            report.line(
                &text,
                &json!({"loop": name, "pairs": pairs, "ratio": middle, "noise": noise, "error": error}),
            );
            Ok(())
        })?;
    }
    Ok(())
}

fn loop_seconds(case: &Case, name: &str, rounds: &str, protected: bool) -> Result<f64> {
    let binary = programs::binary("cpu-loops")?;
    let words = [binary.as_os_str(), OsStr::new(name), OsStr::new(rounds)];
    let finished = if protected {
        case.run_again(&["--fresh", "-i", "never"], &words)?.wait(LONG)?
    } else {
        let mut command = case.command(words[0]);
        command.args(&words[1..]);
        case.run_within("alone", command, LONG)?
    };
    let text = finished.success()?.out;
    text.trim()
        .parse()
        .map_err(|_| Failure::new(format!("the loop printed {text:?}")))
}

/// Seconds that one copy of so many bytes in memory takes.
fn memcpy_seconds(bytes: usize) -> f64 {
    let chunk = 64 << 20;
    let from = vec![1u8; chunk];
    let mut to = vec![2u8; chunk];
    let mut times = vec![];
    for _ in 0..7 {
        let begin = Instant::now();
        to.copy_from_slice(&from);
        std::hint::black_box(&to);
        times.push(begin.elapsed().as_secs_f64());
    }
    median(&times) * bytes as f64 / chunk as f64
}

/// Seconds to write so many bytes to a file in this test's folder and fsync it.
fn disk_seconds(case: &Case, bytes: usize) -> Result<f64> {
    let chunk: Vec<u8> = (0..16usize << 20).map(|i| ((i * 31) >> 3) as u8).collect();
    let path = case.path("raw");
    let begin = Instant::now();
    let mut file = File::create(&path)?;
    for _ in 0..bytes / chunk.len() {
        file.write_all(&chunk)?;
    }
    file.sync_all()?;
    let seconds = begin.elapsed().as_secs_f64();
    fs::remove_file(&path)?;
    Ok(seconds)
}

/// `pause_ms` and `durable_ms` of a checkpoint.
fn timed_checkpoint(case: &Case, options: &[&str]) -> Result<(f64, f64)> {
    case.wait_until_protected()?;
    let mut command = case.rethaw(["checkpoint", "--json"])?;
    command.args(options).arg(case.checkpoints());
    let finished = case.run_within("checkpoint", command, LONG)?.success()?;
    let value: Value = serde_json::from_str(&finished.out)?;
    let number = |name: &str| value.get(name).and_then(Value::as_f64);
    match (number("pause_ms"), number("durable_ms")) {
        (Some(pause), Some(durable)) => Ok((pause / 1e3, durable / 1e3)),
        _ => Err(Failure::new(format!(
            "checkpoint --json has no pause_ms and durable_ms: {}",
            finished.out
        ))),
    }
}

fn checkpoint(report: &Report, gib: usize) -> Outcome {
    case(&format!("bench-checkpoint-{gib}"), |case| {
        let bytes = gib << 30;
        let counter = Counter::new(case, 10_000_000, gib << 10)?;
        let mut job = case.launch(&["-i", "never"], &counter.command())?;
        case.wait_for_file(&counter.log.with_extension("ready"), LONG)?;
        let copy = memcpy_seconds(bytes);
        let (mut pauses, mut durables, mut disks) = (vec![], vec![], vec![]);
        for _ in 0..3 {
            disks.push(disk_seconds(case, bytes)?);
            let (pause, durable) = timed_checkpoint(case, &[])?;
            pauses.push(pause);
            durables.push(durable);
        }
        timed_checkpoint(case, &["--stop"])?;
        job.wait(LONG)?;
        let mut restarts = vec![];
        for _ in 0..3 {
            restarts.push(restart_seconds(case)?);
        }
        let (pause, durable, disk, restart) = (
            median(&pauses),
            median(&durables),
            median(&disks),
            median(&restarts),
        );
        let rows = [
            ("pause", pause),
            ("time to durable", durable),
            ("restart to first line", restart),
        ];
        report.line(
            &format!(
                "{gib} GiB: memcpy {:.0} ms, raw disk with fsync {:.0} ms",
                copy * 1e3,
                disk * 1e3
            ),
            &json!({"gib": gib, "memcpy_s": copy, "disk_s": disk}),
        );
        for (name, seconds) in rows {
            let text = format!(
                "  {name:<22} {:>9.1} ms   {:>7.3} x memcpy   {:>7.3} x disk",
                seconds * 1e3,
                seconds / copy,
                seconds / disk
            );
            report.line(&text, &json!({"gib": gib, "what": name, "s": seconds, "memcpy": seconds / copy, "disk": seconds / disk}));
        }
        Ok(())
    })
}

/// From the start of `rethaw restart` until the program writes on.
fn restart_seconds(case: &Case) -> Result<f64> {
    let begin = Instant::now();
    let mut job = case.restart(&["-i", "never"])?;
    let seconds = rethaw_harness::wait_for("the first line after the restart", LONG, || {
        Ok((!job.out().is_empty()).then(|| begin.elapsed().as_secs_f64()))
    });
    case.kill_all()?;
    job.wait(LONG)?;
    seconds
}
