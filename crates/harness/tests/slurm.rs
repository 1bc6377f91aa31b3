//! The scene of a cluster's user under a real Slurm: the same script submitted again and again.
//!
//! Slurm is the one that `RETHAW_TEST_SLURM` (a slurm.conf) names; without it, root starts one by
//! scripts/slurm-up.sh. Limits of Slurm are whole minutes, so a scene takes some four of them.
#![forbid(unsafe_code)]

use rethaw_harness::{Case, Failure, Outcome, PATIENCE, Result, case, ensure, places, wait_for};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

/// A Slurm that was started for these tests, or was there.
fn configuration() -> Option<&'static PathBuf> {
    static FOUND: OnceLock<Option<PathBuf>> = OnceLock::new();
    FOUND.get_or_init(find_configuration).as_ref()
}

fn find_configuration() -> Option<PathBuf> {
    if let Some(path) = std::env::var_os("RETHAW_TEST_SLURM") {
        return Some(path.into());
    }
    if !rustix::process::geteuid().is_root() {
        println!("SKIP: RETHAW_TEST_SLURM names no slurm.conf, and only root can start Slurm's daemons");
        return None;
    }
    let output = Command::new(places::source().join("scripts/slurm-up.sh")).output();
    match output {
        Ok(output) if output.status.success() => Some("/tmp/rethaw-slurm/etc/slurm.conf".into()),
        other => {
            println!("SKIP: scripts/slurm-up.sh could not start Slurm: {other:?}");
            None
        }
    }
}

struct Scene<'a> {
    case: &'a Case,
    configuration: &'static Path,
    script: PathBuf,
}

impl Scene<'_> {
    fn slurm(&self, program: &str) -> Result<Command> {
        let mut command = self.case.command(program);
        let path = format!("{}:/usr/bin:/bin:/usr/sbin", self.case.path("bin").display());
        command.env("SLURM_CONF", self.configuration).env("PATH", path);
        command.envs([("MATMUL_SIZE", "1200"), ("MATMUL_SEED", "7"), ("INTERVAL", "10")]);
        command.env("PROGRAM", places::source().join("examples/matmul.py"));
        Ok(command)
    }

    /// The commands of a user who has rethaw installed.
    fn install(&self) -> Result<()> {
        let folder = self.case.path("bin");
        fs::create_dir(&folder)?;
        for name in [
            "rethaw",
            "dmtcp_launch",
            "dmtcp_restart",
            "dmtcp_command",
            "dmtcp_coordinator",
        ] {
            symlink(places::rethaw()?, folder.join(name))?;
        }
        Ok(())
    }

    /// Submits the script and waits until the job is over. Returns its state and output.
    fn submit(&self) -> Result<(String, String)> {
        let mut sbatch = self.slurm("sbatch")?;
        sbatch
            .args([
                "--parsable",
                "--time=1",
                "--cpus-per-task=2",
                "--output=job-%j.out",
            ])
            .arg(&self.script);
        let number = self.case.run("sbatch", sbatch)?.success()?.out.trim().to_string();
        let state = wait_for("the end of the job", Duration::from_secs(300), || {
            std::thread::sleep(Duration::from_secs(1));
            let output = self
                .slurm("scontrol")?
                .args(["show", "job", "-o", &number])
                .output()?;
            let text = String::from_utf8_lossy(&output.stdout);
            let state = text
                .split_whitespace()
                .find_map(|word| word.strip_prefix("JobState="))
                .unwrap_or("");
            Ok(
                (!matches!(state, "" | "PENDING" | "RUNNING" | "COMPLETING" | "CONFIGURING"))
                    .then(|| state.to_string()),
            )
        })?;
        wait_for("the end of the job's processes", PATIENCE, || {
            Ok(self.case.processes().is_empty().then_some(()))
        })?;
        Ok((
            state,
            fs::read_to_string(self.case.path(format!("job-{number}.out")))?,
        ))
    }
}

/// The printed iterations with their checksums.
fn iterations(out: &str) -> BTreeMap<u64, String> {
    let whole = out.rfind('\n').map_or("", |end| &out[..end]);
    let parse = |line: &str| -> Option<(u64, String)> {
        let mut words = line.strip_prefix("iteration ")?.split_whitespace();
        Some((words.next()?.parse().ok()?, words.next()?.to_string()))
    };
    whole.lines().filter_map(parse).collect()
}

fn scene(name: &str, script: &str) -> Outcome {
    let Some(configuration) = configuration() else {
        return Ok(());
    };
    case(name, |case| {
        let scene = Scene {
            case,
            configuration,
            script: places::source().join(script),
        };
        scene.install()?;
        let mut seen: BTreeMap<u64, String> = BTreeMap::new();
        for submission in 1..=3 {
            let (state, out) = scene.submit()?;
            let printed = iterations(&out);
            let missing = || {
                Failure::new(format!(
                    "submission {submission} ({state}) printed no iteration:\n{out}"
                ))
            };
            let first = *printed.keys().next().ok_or_else(missing)?;
            let last = *printed.keys().next_back().ok_or_else(missing)?;
            println!(
                "{name}: submission {submission} printed iterations {first} to {last} and ended as {state}"
            );
            ensure!(
                state != "COMPLETED",
                "submission {submission} came to its end by itself:\n{out}"
            );
            ensure!(
                printed.len() as u64 == last - first + 1,
                "submission {submission} left iterations out:\n{out}"
            );
            if let Some((&before, _)) = seen.iter().next_back() {
                ensure!(first > 0, "submission {submission} began again");
                ensure!(
                    first <= before + 1,
                    "iterations {before} to {first} were never printed"
                );
                ensure!(
                    last > before,
                    "submission {submission} did not get beyond iteration {before}:\n{out}"
                );
            }
            for (number, checksum) in printed {
                let known = seen.entry(number).or_insert_with(|| checksum.clone());
                ensure!(
                    *known == checksum,
                    "iteration {number} came to {checksum} and before to {known}"
                );
            }
        }
        Ok(())
    })
}

#[test]
fn three_submissions_with_rethaw_run() -> Outcome {
    scene("slurm-run", "examples/slurm/run.sh")
}

#[test]
fn three_submissions_of_the_script_for_dmtcp() -> Outcome {
    scene("slurm-dmtcp", "examples/slurm/dmtcp.sh")
}
