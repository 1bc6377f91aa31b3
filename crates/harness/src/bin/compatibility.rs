//! Writes docs/compatibility.md from the results of tests.
//!
//! `compatibility APPLICATIONS [CONFORMANCE]`: the first file is what `RETHAW_TEST_RESULTS` names while the test
//! `applications` runs, the second has a line for each conformance program: name, class, result, reason, parted by tabs.
#![forbid(unsafe_code)]

use rethaw_harness::{Failure, Outcome, Result};
use std::collections::BTreeMap;
use std::fs;

const APPLICATIONS: &str = "\
# What has been tried

Made by `cargo run -p rethaw-harness --bin compatibility` from the results of tests; not written by hand.

## Programs that we did not write

Each ran as an ordinary user under `rethaw run` with a checkpoint every half second. At random moments, also in the middle of
checkpoints and restarts, everything was killed with SIGKILL and the same command given again; at the end its result was
compared with that of an uninterrupted run. *Stopped* instead of *killed*: it was ended at random moments by
`rethaw checkpoint --stop`. Clients of a server are part of the computation. The tests are in
`crates/harness/tests/applications.rs`, their inputs in `tests/applications/`; to make this page again:

    RETHAW_TEST_RESULTS=/tmp/results.tsv RETHAW_TEST_KILLS=40 cargo test -p rethaw-harness --test applications
    cargo run -p rethaw-harness --bin compatibility -- /tmp/results.tsv [CONFORMANCE.tsv] >docs/compatibility.md

";

const FILES: &str = "
**Files and a kill.** Between the last checkpoint and the kill the program went on, and what it did to files is still there at the
restart. rethaw puts files that were open at the checkpoint back to their length, small ones to their contents, and with
`--save-open-files` all of them to their contents. It does not know of files that the program made, removed, or opened
anew since then. Programs that only append to files that they keep open, or that make their files as a whole, do not
notice. Programs that overwrite files in place and keep them open all the time (HDF5; SQLite with a write-ahead log) are
exactly as at the checkpoint with `--save-open-files`, and without it if the files are small. A program that opens files again and again to
overwrite them (PostgreSQL; SQLite with a rollback journal), or for which a file that is there means something (git, a
lock file, the output of `make`), has newer files than it remembers. Such a program should be ended by a checkpoint
(`--stop`, `--stop-on`, at the end of a batch job), have a copy of its files made with the checkpoint, or be repeatable
(`make -B`).
";

const CONFORMANCE: &str = "
## Conformance programs of CRIU

The programs of `test/zdtm/static` in CRIU's sources, each of which sets something up, waits, and checks that it is still so. They are
not part of this repository. Class a: what an ordinary user's process may own; class b: needs root or containers. The four
variants: restarted once, restarted twice in a row, in namespaces of its own from the beginning (`--isolate`) and
restarted, checkpointed and continued. The table is made by `scripts/conformance.py`.

";

fn main() -> Outcome {
    let mut arguments = std::env::args().skip(1);
    let applications = arguments
        .next()
        .ok_or_else(|| Failure::new("usage: compatibility APPLICATIONS [CONFORMANCE]"))?;
    print!("{APPLICATIONS}");
    let rows = programs(lines(&applications)?);
    print!("{}", table(&["program", "version", "result", "note"], &rows));
    print!("{FILES}");
    if let Some(path) = arguments.next() {
        let rows = lines(&path)?;
        println!("{CONFORMANCE}{}", totals(&rows));
        print!("{}", table(&["program", "class", "result", "reason"], &rows));
    }
    Ok(())
}

/// One row for each program: its last run, but a run that failed is not hidden by a later one that did not.
fn programs(runs: Vec<Vec<String>>) -> Vec<Vec<String>> {
    let mut rows: BTreeMap<String, (usize, usize, Vec<String>)> = BTreeMap::new();
    for fields in runs {
        let (all, failed, row) = rows.entry(fields[0].clone()).or_default();
        *all += 1;
        *failed += usize::from(fields.get(2).is_some_and(|result| result == "fails"));
        *row = fields;
    }
    let told = rows.into_values().map(|(all, failed, mut row)| {
        if failed > 0 && row.len() > 2 {
            row[2] = format!("fails in {failed} of {all} runs");
        }
        row
    });
    told.collect()
}

/// Lines of fields; comments and empty lines are left out.
fn lines(path: &str) -> Result<Vec<Vec<String>>> {
    let text = fs::read_to_string(path).map_err(|e| Failure::from(e).within(path))?;
    let lines = text
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    Ok(lines
        .map(|line| line.split('\t').map(str::to_string).collect())
        .collect())
}

fn table(heads: &[&str], rows: &[Vec<String>]) -> String {
    let mut text = format!("| {} |\n|{}\n", heads.join(" | "), "---|".repeat(heads.len()));
    for row in rows {
        let field = |at: usize| {
            row.get(at)
                .map_or(String::new(), |field| field.replace('|', "\\|"))
        };
        let fields: Vec<String> = (0..heads.len()).map(field).collect();
        text.push_str(&format!("| {} |\n", fields.join(" | ")));
    }
    text
}

/// How many programs have which result, in each class.
fn totals(rows: &[Vec<String>]) -> String {
    let mut counts: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for row in rows {
        if let [_, class, result, ..] = row.as_slice() {
            *counts.entry((class, result)).or_default() += 1;
        }
    }
    let mut text = String::new();
    for ((class, result), count) in counts {
        text.push_str(&format!("- class {class}: {count} × {result}\n"));
    }
    text
}
