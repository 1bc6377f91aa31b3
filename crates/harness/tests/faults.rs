//! What goes wrong around rethaw: the disk, the images, the folders, another machine.
#![forbid(unsafe_code)]

use rethaw_harness::{
    Case, Counter, Failure, Job, Outcome, PATIENCE, Random, Result, STOPPED, case, ensure, ensure_equal,
    places, programs, wait_for,
};
use std::fs::{self, OpenOptions, Permissions};
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

const NEVER: &[&str] = &["-i", "never"];

/// Whether a helper command works here; prints why a test is skipped otherwise.
fn works(mut command: Command) -> bool {
    let output = command.output();
    let fine = output.as_ref().is_ok_and(|output| output.status.success());
    if !fine {
        println!("SKIP: {command:?} does not work here: {output:?}");
    }
    fine
}

/// Starts a counter, takes this many checkpoints of it and stops it with the last one.
fn stopped_counter(case: &Case, lines: usize, mib: usize, checkpoints: usize) -> Result<Counter> {
    let counter = Counter::new(case, lines, mib)?;
    let mut job = case.launch(NEVER, &counter.command())?;
    counter.wait_until_ready(case)?;
    for _ in 1..checkpoints {
        counter.ensure_counting()?;
        case.checkpoint(&[])?;
    }
    counter.ensure_counting()?;
    case.checkpoint(&["--stop"])?;
    job.wait(PATIENCE)?.exited(STOPPED)?;
    case.ensure_nothing_runs()?;
    Ok(counter)
}

/// The script runs as root of a user namespace, in which it can mount a small file system.
const FULL_DISK: &str = r#"
rethaw=$1; shift
mkdir small
mount -t tmpfs -o size=12m none small || exit 99
"$rethaw" launch -i never --dir small -- "$@" >program.out 2>program.err &
job=$!
until [ -e log.ready ] && "$rethaw" status small >status.out 2>&1; do sleep 0.05; done
"$rethaw" checkpoint small 2>first.err && exit 11
ls -A small >after-first
find small -name '*.rethaw' | grep -q . && exit 12
mount -t tmpfs -o remount,size=200m none small
"$rethaw" checkpoint small 2>second.err || exit 13
find small -name '*.rethaw' | grep -q . || exit 14
mount -t tmpfs -o remount,size=60m none small
dd if=/dev/zero of=small/filler bs=1M 2>/dev/null
"$rethaw" checkpoint small 2>third.err && exit 15
"$rethaw" verify small || exit 16
wait $job
"#;

#[test]
fn full_disk_is_said_and_the_program_runs_on() -> Outcome {
    case("full-disk", |case| {
        let mut probe = Command::new("unshare");
        probe.args(["-rm", "mount", "-t", "tmpfs", "none", "/mnt"]);
        if !works(probe) {
            return Ok(());
        }
        let counter = Counter::new(case, 800, 32)?;
        let mut command = case.command("unshare");
        command
            .args(["-rm", "sh", "-c", FULL_DISK, "sh"])
            .arg(places::rethaw()?)
            .args(counter.command());
        case.run("script", command)?.success()?;
        counter.ensure_complete()?;
        for name in ["first.err", "third.err"] {
            let said = fs::read_to_string(case.path(name))?;
            let clear = ["space", "full", "quota"]
                .iter()
                .any(|word| said.to_lowercase().contains(word));
            ensure!(clear, "{name} does not say that the disk is full: {said}");
            ensure!(
                said.lines().count() <= 2,
                "{name} is more than one clear message: {said}"
            );
        }
        let after = fs::read_to_string(case.path("after-first"))?;
        ensure!(
            !after.contains("part") && !after.contains("tmp"),
            "left behind on the full disk: {after}"
        );
        Ok(())
    })
}

fn flip(image: &Path, offset: u64) -> Result<()> {
    let file = OpenOptions::new().read(true).write(true).open(image)?;
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset)?;
    byte[0] ^= 0x10;
    file.write_all_at(&byte, offset)?;
    Ok(())
}

#[test]
fn damaged_newest_image_falls_back_to_the_one_before() -> Outcome {
    case("damaged-newest", |case| {
        let counter = stopped_counter(case, 500, 4, 2)?;
        let images = case.images()?;
        ensure_equal!(images.len(), 2, "images");
        let newest = &images[1];
        flip(newest, fs::metadata(newest)?.len() / 2)?;
        let finished = case
            .run_again(NEVER, &counter.command())?
            .wait(PATIENCE)?
            .success()?;
        let err = finished.err.to_lowercase();
        ensure!(
            err.contains("damage") || err.contains("checksum"),
            "no warning: {}",
            finished.err
        );
        ensure!(Counter::first_line(&finished.out)? > 0, "it began again");
        counter.ensure_complete()
    })
}

#[test]
fn truncated_newest_image_falls_back_to_the_one_before() -> Outcome {
    case("truncated-newest", |case| {
        let counter = stopped_counter(case, 500, 4, 2)?;
        let newest = case.images()?.pop().ok_or_else(|| Failure::new("no image"))?;
        OpenOptions::new()
            .write(true)
            .open(&newest)?
            .set_len(fs::metadata(&newest)?.len() - 5000)?;
        case.restart(NEVER)?.wait(PATIENCE)?.success()?;
        counter.ensure_complete()
    })
}

#[test]
fn when_every_image_is_damaged_nothing_is_started() -> Outcome {
    case("damaged-all", |case| {
        stopped_counter(case, 100_000, 1, 2)?;
        for image in case.images()? {
            flip(&image, fs::metadata(&image)?.len() / 2)?;
        }
        let finished = case
            .restart(NEVER)?
            .wait(PATIENCE)?
            .refused(&["damage", "checksum"])?;
        ensure_equal!(finished.out, "", "output of the program");
        case.ensure_nothing_runs()
    })
}

/// Bad bytes anywhere: `verify` finds them, and no command crashes.
#[test]
fn verify_finds_damage_anywhere() -> Outcome {
    case("damage-anywhere", |case| {
        stopped_counter(case, 100_000, 1, 1)?;
        let image = case.images()?.pop().ok_or_else(|| Failure::new("no image"))?;
        let good = fs::read(&image)?;
        let mut random = Random::from_environment();
        let copy = case.path("copy.rethaw");
        let check = |case: &Case, what: &str| -> Result<()> {
            let mut verify = case.rethaw(["verify"])?;
            verify.arg(&copy);
            let verified = case.run("verify", verify)?;
            ensure!(
                verified.status.code() == Some(1),
                "verify after {what}: {}",
                verified.status
            );
            let mut inspect = case.rethaw(["inspect"])?;
            inspect.arg(&copy);
            let inspected = case.run("inspect", inspect)?;
            let code = inspected.status.code();
            ensure!(
                code.is_some() && code != Some(101),
                "inspect after {what}: {}",
                inspected.status
            );
            Ok(())
        };
        for round in 0..24 {
            // The first bytes and the last ones are where the structure is.
            let offset = match round % 3 {
                0 => random.below(4096.min(good.len() as u64)),
                1 => good.len() as u64 - 1 - random.below(4096.min(good.len() as u64)),
                _ => random.below(good.len() as u64),
            };
            fs::write(&copy, &good)?;
            flip(&copy, offset)?;
            check(case, &format!("a flipped bit at {offset} of {}", good.len()))?;
        }
        for length in [0, 1, 7, 100, good.len() / 2, good.len() - 1] {
            fs::write(&copy, &good[..length])?;
            check(case, &format!("truncation to {length} bytes"))?;
        }
        Ok(())
    })
}

#[test]
fn restart_from_a_folder_that_cannot_be_written() -> Outcome {
    case("read-only-folder", |case| {
        if rustix::process::geteuid().is_root() {
            println!("SKIP: root may write everywhere");
            return Ok(());
        }
        let counter = stopped_counter(case, 400, 1, 1)?;
        let image = case.images()?.pop().ok_or_else(|| Failure::new("no image"))?;
        fs::set_permissions(&image, Permissions::from_mode(0o400))?;
        fs::set_permissions(case.checkpoints(), Permissions::from_mode(0o500))?;
        let mut command = case.rethaw(["restart", "-i", "never"])?;
        command.arg(&image);
        let finished = case.run("restart", command);
        fs::set_permissions(case.checkpoints(), Permissions::from_mode(0o700))?;
        finished?.success()?;
        counter.ensure_complete()
    })
}

#[test]
fn folder_that_vanishes_while_the_program_runs() -> Outcome {
    case("folder-vanished", |case| {
        let counter = Counter::new(case, 500, 1)?;
        let mut job = case.launch(NEVER, &counter.command())?;
        counter.wait_until_ready(case)?;
        case.checkpoint(&[])?;
        let elsewhere = case.path("elsewhere");
        fs::rename(case.checkpoints(), &elsewhere)?;
        let refused = case.try_checkpoint(&[])?;
        ensure!(!refused.err.contains("panicked"), "{}", refused.err);
        counter.ensure_counting()?;
        if !refused.status.success() {
            let _ = fs::remove_dir_all(case.checkpoints());
            fs::rename(&elsewhere, case.checkpoints())?;
            case.checkpoint(&[])?;
        }
        job.wait(PATIENCE)?.success()?;
        counter.ensure_complete()
    })
}

#[test]
fn vanished_current_folder_is_said_and_nothing_is_started() -> Outcome {
    case("folder-of-program-vanished", |case| {
        let place = case.path("place");
        fs::create_dir(&place)?;
        let counter = Counter::new(case, 100_000, 0)?;
        let mut command = case.rethaw(["launch", "-i", "never", "--dir"])?;
        command
            .arg(case.checkpoints())
            .arg("--")
            .args(counter.command())
            .current_dir(&place);
        let mut job = case.start("launch", command)?;
        counter.wait_until_ready(case)?;
        case.checkpoint(&["--stop"])?;
        job.wait(PATIENCE)?;
        fs::remove_dir(&place)?;
        let finished = case.restart(NEVER)?.wait(PATIENCE)?.refused(&["place"])?;
        ensure_equal!(finished.out, "", "output of the program");
        case.ensure_nothing_runs()
    })
}

/// Starts a self-checking program and stops it with a checkpoint.
fn stopped_program(case: &Case, program: &str) -> Result<PathBuf> {
    let base = case.path("p");
    let mut job = case.launch(NEVER, &[programs::binary(program)?.as_os_str(), base.as_os_str()])?;
    case.wait_for_file(&base.with_extension("ready"), PATIENCE)?;
    case.checkpoint(&["--stop"])?;
    job.wait(PATIENCE)?.exited(STOPPED)?;
    Ok(base)
}

#[test]
fn one_image_runs_twice_at_the_same_time() -> Outcome {
    case("one-image-twice", |case| {
        let base = stopped_program(case, "threads_many")?;
        let image = case.images()?.pop().ok_or_else(|| Failure::new("no image"))?;
        let start = |name: &str| -> Result<Job> {
            let folder = case.path(name);
            fs::create_dir(&folder)?;
            let mut command = case.rethaw(["restart", "-i", "never", "--dir", "ckpt"])?;
            command.arg(&image).current_dir(&folder);
            case.start(name, command)
        };
        let (mut one, mut two) = (start("one")?, start("two")?);
        wait_for("two copies of the program", PATIENCE, || {
            let copies = case
                .processes()
                .into_iter()
                .filter(|process| process.name == "threads_many")
                .count();
            Ok((copies == 2).then_some(()))
        })?;
        fs::write(base.with_extension("go"), "")?;
        for job in [&mut one, &mut two] {
            let finished = job.wait(PATIENCE)?.success()?;
            ensure!(
                finished.out.contains("PASS"),
                "{}: {}",
                finished.label,
                finished.out
            );
        }
        case.ensure_nothing_runs()
    })
}

/// Another machine, or this one after a reboot: its clocks since boot show another time.
fn other_clocks(program: &str, seconds: i64) -> Outcome {
    case(&format!("other-clocks-{program}-{seconds}"), |case| {
        let offset = seconds.to_string();
        let unshare = [
            "unshare",
            "--user",
            "--map-current-user",
            "--time",
            "--fork",
            "--monotonic",
            &offset,
            "--boottime",
            &offset,
        ];
        let mut probe = Command::new(unshare[0]);
        probe.args(&unshare[1..]).arg("true");
        if !works(probe) {
            return Ok(());
        }
        let base = stopped_program(case, program)?;
        let mut command = case.command(unshare[0]);
        command
            .args(&unshare[1..])
            .arg(places::rethaw()?)
            .args(["restart", "-i", "never"])
            .arg(case.checkpoints());
        let mut job = case.start("restart", command)?;
        fs::write(base.with_extension("go"), "")?;
        let finished = job.wait(PATIENCE)?.success()?;
        ensure!(finished.out.contains("PASS"), "{}", finished.out);
        Ok(())
    })
}

#[test]
fn clocks_continue_on_a_machine_with_later_clocks() -> Outcome {
    other_clocks("clock_continues", 1_000_000)
}

#[test]
fn sleeps_end_in_time_on_a_machine_with_later_clocks() -> Outcome {
    other_clocks("sleep_relative", 1_000_000)
}

#[test]
fn absolute_sleeps_end_in_time_on_a_machine_with_later_clocks() -> Outcome {
    other_clocks("sleep_absolute", 1_000_000)
}

#[test]
fn timers_go_on_on_a_machine_with_later_clocks() -> Outcome {
    other_clocks("timer_posix", 1_000_000)
}

#[test]
fn timer_descriptors_go_on_on_a_machine_with_later_clocks() -> Outcome {
    other_clocks("timer_descriptor", 1_000_000)
}

/// Launches the program and stops it with a checkpoint, all inside of the namespace that `unshare` makes.
const LAUNCH_AND_STOP: &str = r#"
"$1" launch -i never --dir ckpt -- "$2" "$3" &
until [ -e "$3.ready" ] && "$1" status ckpt >status.out 2>&1; do sleep 0.05; done
"$1" checkpoint --stop ckpt || exit 11
wait $!
"#;

/// The image was taken where clocks are far ahead: here they would jump back.
fn taken_with_later_clocks(program: &str) -> Outcome {
    case(&format!("later-clocks-{program}"), |case| {
        let unshare = [
            "--user",
            "--map-current-user",
            "--time",
            "--fork",
            "--monotonic",
            "5000000",
            "--boottime",
            "5000000",
        ];
        let mut probe = Command::new("unshare");
        probe.args(unshare).arg("true");
        if !works(probe) {
            return Ok(());
        }
        let base = case.path("p");
        let mut command = case.command("unshare");
        command.args(unshare).args(["sh", "-c", LAUNCH_AND_STOP, "sh"]);
        command
            .arg(places::rethaw()?)
            .arg(programs::binary(program)?)
            .arg(&base);
        case.run("launch", command)?.exited(STOPPED)?;
        let mut job = case.restart(NEVER)?;
        fs::write(base.with_extension("go"), "")?;
        let finished = job.wait(PATIENCE)?.success()?;
        ensure!(finished.out.contains("PASS"), "{}", finished.out);
        Ok(())
    })
}

#[test]
fn clocks_continue_on_a_machine_with_earlier_clocks() -> Outcome {
    taken_with_later_clocks("clock_continues")
}

#[test]
fn absolute_sleeps_end_in_time_on_a_machine_with_earlier_clocks() -> Outcome {
    taken_with_later_clocks("sleep_absolute")
}

#[test]
fn library_that_changed_on_disk_is_noticed() -> Outcome {
    case("changed-program", |case| {
        let copy = case.path("counter");
        let counter = Counter::new(case, 100_000, 0)?;
        fs::copy(counter.command()[0], &copy)?;
        let mut words = counter.command();
        words[0] = copy.as_os_str();
        let mut job = case.launch(NEVER, &words)?;
        counter.wait_until_ready(case)?;
        case.checkpoint(&["--stop"])?;
        job.wait(PATIENCE)?;
        let mut file = OpenOptions::new().write(true).open(&copy)?;
        file.seek(SeekFrom::Start(4096))?;
        file.write_all(&[0x90; 64])?;
        drop(file);
        let finished = case.restart(NEVER)?.wait(PATIENCE)?.refused(&["counter"])?;
        ensure_equal!(finished.out, "", "output of the program");
        case.ensure_nothing_runs()
    })
}

#[test]
fn program_replaced_by_an_identical_one_restarts() -> Outcome {
    case("replaced-program", |case| {
        let copy = case.path("counter");
        let counter = Counter::new(case, 300, 0)?;
        fs::copy(counter.command()[0], &copy)?;
        let mut words = counter.command();
        words[0] = copy.as_os_str();
        let mut job = case.launch(NEVER, &words)?;
        counter.wait_until_ready(case)?;
        case.checkpoint(&["--stop"])?;
        job.wait(PATIENCE)?;
        fs::remove_file(&copy)?;
        fs::copy(counter.command()[0], &copy)?;
        let finished = case.restart(NEVER)?.wait(PATIENCE)?;
        if !finished.status.success() {
            // Noticing is allowed, too: the file is another one. It must say so.
            finished.refused(&["counter"])?;
            return Ok(());
        }
        counter.ensure_complete()
    })
}

#[test]
fn files_keep_leaves_what_was_appended() -> Outcome {
    case("files-keep", |case| {
        let counter = Counter::new(case, 400, 0)?;
        let mut job = case.launch(NEVER, &counter.command())?;
        counter.wait_until_ready(case)?;
        case.checkpoint(&[])?;
        counter.ensure_counting()?;
        case.kill_all()?;
        job.wait(PATIENCE)?;
        let refused = case
            .restart(&["-i", "never", "--files", "refuse"])?
            .wait(PATIENCE)?
            .refused(&["log"])?;
        ensure_equal!(refused.out, "", "output of the program");
        let before = counter.counted();
        case.restart(NEVER)?.wait(PATIENCE)?.success()?;
        ensure!(counter.counted() > before, "the log is shorter than before");
        counter.ensure_complete()
    })
}
