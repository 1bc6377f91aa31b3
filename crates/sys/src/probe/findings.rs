//! The facts as sentences for a user who wants to compute, not to know the kernel.

use super::{Finding, Interfaces, Level, Machine, Namespaces, Outcome, Probe, RestartMode, Tracing};
use crate::proc::UNLIMITED;

const RLIMIT_NPROC: usize = 6;
const RLIMIT_AS: usize = 9;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
/// Fewer processes than this are soon used up by a restart and what else the user runs.
const FEW_PROCESSES: u64 = 256;
/// Less space than this is named a warning: most checkpoints of real calculations are larger.
const LITTLE_SPACE: u64 = GIB;

pub(super) fn all(probe: &Probe) -> Vec<Finding> {
    let mut all = vec![restart(probe)];
    all.extend(namespaces(&probe.namespaces));
    all.extend(tracing(&probe.tracing));
    all.extend(interfaces(&probe.interfaces));
    all.extend(machine(&probe.machine));
    all
}

/// A finding about something tried: one sentence if it works, another at `level` if not.
fn tried(name: &'static str, outcome: Outcome, works: &str, level: Level, else_: &str) -> Finding {
    let (level, consequence) = if outcome.works() {
        (Level::Ok, works)
    } else {
        (level, else_)
    };
    Finding {
        name,
        level,
        found: outcome.to_string(),
        consequence: consequence.to_owned(),
    }
}

fn told(name: &'static str, level: Level, found: impl Into<String>, consequence: &str) -> Finding {
    Finding {
        name,
        level,
        found: found.into(),
        consequence: consequence.to_owned(),
    }
}

fn restart(probe: &Probe) -> Finding {
    let bans = &probe.machine.namespace_bans;
    let why = if bans.is_empty() {
        String::new()
    } else {
        format!(" ({})", bans.join(", "))
    };
    match probe.restart_mode() {
        RestartMode::Namespaces => told(
            "restart",
            Level::Ok,
            "in namespaces of its own",
            "Programs can be checkpointed and restarted here, with the process numbers that they had.",
        ),
        RestartMode::Privileged => told(
            "restart",
            Level::Ok,
            format!("by privilege; user namespaces are not available{why}"),
            "This user can checkpoint and restart programs here; a user without privilege can only checkpoint them.",
        ),
        RestartMode::Translated => told(
            "restart",
            Level::Bad,
            format!("namespaces are not available{why}"),
            "Checkpoints can be taken here, but not restarted: restart them on a machine with user namespaces, or ask your administrator to allow these.",
        ),
    }
}

fn namespaces(found: &Namespaces) -> Vec<Finding> {
    let user = if found.user.works() { found.ids } else { found.user };
    let proc = if found.mount.works() {
        found.proc
    } else {
        found.mount
    };
    let clocks = if found.time.works() {
        found.clock_offset
    } else {
        found.time
    };
    vec![
        tried(
            "user namespaces",
            user,
            "Restarts need no help from an administrator.",
            Level::Warn,
            "Programs cannot be restarted here: ask your administrator to allow user namespaces.",
        ),
        tried(
            "chosen process numbers",
            if found.pid.works() {
                found.chosen_pid
            } else {
                found.pid
            },
            "Every process and thread gets the number that it had.",
            Level::Warn,
            "Programs cannot be restarted here, because they would get other process numbers.",
        ),
        tried(
            "own /proc",
            proc,
            "Restarted programs see their own processes under /proc.",
            Level::Warn,
            "A restarted program sees the /proc of this machine or container, with other process numbers than its own.",
        ),
        tried(
            "own IPC",
            found.ipc,
            "A restarted program has its System V memory, semaphores and message queues, and disturbs no other.",
            Level::Warn,
            "Programs cannot be restarted here.",
        ),
        tried(
            "clocks",
            clocks,
            "A program's clock goes on after a restart as if no time had passed.",
            Level::Warn,
            "After a restart on another machine or after a reboot, a program's clock jumps, and timers may expire early or late.",
        ),
    ]
}

fn tracing(found: &Tracing) -> Vec<Finding> {
    let scope = match found.yama_scope {
        Some(scope) => format!("{} (Yama ptrace_scope {scope})", found.stranger),
        None => found.stranger.to_string(),
    };
    let attach = tried(
        "programs started without rethaw",
        found.stranger,
        "`rethaw attach` can protect any program of yours that already runs.",
        Level::Warn,
        "`rethaw attach` does not work here: start programs with `rethaw run` or `rethaw launch`.",
    );
    vec![
        tried(
            "stopping programs",
            found.child,
            "Programs that rethaw starts can be checkpointed.",
            Level::Bad,
            "No checkpoint can be taken here: this machine or container forbids ptrace.",
        ),
        Finding {
            found: scope,
            ..attach
        },
        tried(
            "copying descriptors",
            found.descriptor,
            "Open files and sockets of a program can be examined.",
            Level::Bad,
            "Open files and sockets of a program cannot be examined, so no checkpoint can be taken: the kernel is too old or the container forbids it.",
        ),
        tried(
            "exit status of restored programs",
            found.exit_status,
            "rethaw learns how every process ended.",
            Level::Ok,
            "rethaw learns how a process ended from its parent only, which is enough but for programs that it attached to.",
        ),
    ]
}

fn interfaces(found: &Interfaces) -> Vec<Finding> {
    vec![
        tried(
            "finding used memory",
            found.pagemap_scan,
            "Only memory in use is looked at, so checkpoints are quick.",
            Level::Warn,
            "Every page of a program is looked at, so it stands still longer at each checkpoint.",
        ),
        tried(
            "tracking written memory",
            found.write_tracking,
            "Not used yet: every checkpoint holds all of the program's memory.",
            Level::Ok,
            "Not used yet: every checkpoint holds all of the program's memory.",
        ),
        tried(
            "placing the vdso",
            found.place_vdso,
            "The kernel's clock functions come back where the program expects them.",
            Level::Bad,
            "Restart is not possible on this kernel: it was built without CONFIG_CHECKPOINT_RESTORE.",
        ),
        tried(
            "describing memory to the kernel",
            found.set_mm,
            "Command line, environment and heap of a restarted program look as before.",
            Level::Bad,
            "Restart is not possible on this kernel: it was built without CONFIG_CHECKPOINT_RESTORE.",
        ),
        tried(
            "comparing descriptors",
            found.kcmp,
            "Files that processes share stay shared after a restart.",
            Level::Bad,
            "Shared files cannot be told from separate ones, so no checkpoint can be taken: the kernel was built without kcmp.",
        ),
        tried(
            "translating numbers",
            found.seccomp_trace,
            "Not used yet: where namespaces are forbidden, programs cannot be restarted.",
            Level::Ok,
            "Not used yet: where namespaces are forbidden, programs cannot be restarted.",
        ),
        tried(
            "redirecting connections",
            found.seccomp_notify,
            "Not used yet: programs on several nodes cannot be checkpointed.",
            Level::Ok,
            "Not used yet: programs on several nodes cannot be checkpointed.",
        ),
    ]
}

fn machine(found: &Machine) -> Vec<Finding> {
    let mut all = vec![kernel(found), user(found), huge_pages(found), overcommit(found)];
    all.extend(found.cgroup_memory.map(memory));
    all.extend(
        found
            .limits
            .map(|limits| processes(limits.by_resource[RLIMIT_NPROC].soft)),
    );
    all.extend(
        found
            .limits
            .map(|limits| address_space(limits.by_resource[RLIMIT_AS].soft)),
    );
    all.extend(found.free_space.as_ref().map(|(folder, bytes)| {
        let level = if *bytes < LITTLE_SPACE {
            Level::Warn
        } else {
            Level::Ok
        };
        let found = format!("{} free for {}", size(*bytes), folder.display());
        told(
            "space",
            level,
            found,
            "Two checkpoints, each as large as the program's memory, must fit there.",
        )
    }));
    all
}

fn kernel(found: &Machine) -> Finding {
    let consequence = "Nothing: features are tried, not guessed from the version.";
    told("kernel", Level::Ok, &found.release, consequence)
}

fn user(found: &Machine) -> Finding {
    let number = format!("user id {}", found.effective_user);
    if found.user != found.effective_user {
        let found = format!("user id {}, set-uid to {}", found.user, found.effective_user);
        let consequence =
            "Install rethaw without the set-user-id bit: it would start programs as another user.";
        return told("user", Level::Bad, found, consequence);
    }
    if found.is_root() {
        let consequence = "Run rethaw as the user whose programs it protects; root is not needed.";
        return told("user", Level::Ok, format!("{number}, root"), consequence);
    }
    told(
        "user",
        Level::Ok,
        number,
        "rethaw works with your own rights only.",
    )
}

fn huge_pages(found: &Machine) -> Finding {
    let mode = found.huge_pages.as_deref().unwrap_or("unknown");
    let consequence = match mode {
        "always" => {
            "Large arrays use huge pages, and checkpoints copy at least 2 MiB where a program touched a byte."
        }
        "never" => "Programs with large arrays stand still a little longer at each checkpoint.",
        _ => "Programs that ask for huge pages get them, before and after a restart.",
    };
    told("huge pages", Level::Ok, mode, consequence)
}

fn overcommit(found: &Machine) -> Finding {
    match found.overcommit {
        Some(2) => told(
            "overcommit",
            Level::Warn,
            "never",
            "A checkpoint needs as much free memory as the program uses, for the moment that it is written.",
        ),
        Some(_) => told(
            "overcommit",
            Level::Ok,
            "allowed",
            "A checkpoint needs little memory beyond what the program changes while it is written.",
        ),
        None => told(
            "overcommit",
            Level::Ok,
            "unknown",
            "Nothing is known to be in the way.",
        ),
    }
}

fn memory(bytes: u64) -> Finding {
    let consequence =
        "Leave some of it free: what a program changes while its checkpoint is written is kept twice.";
    told(
        "memory limit",
        Level::Ok,
        format!("{} for this control group", size(bytes)),
        consequence,
    )
}

fn processes(soft: u64) -> Finding {
    if soft < FEW_PROCESSES {
        let consequence =
            "A restart may fail because you may not have more processes: ask for a higher limit (ulimit -u).";
        return told("process limit", Level::Warn, soft.to_string(), consequence);
    }
    let found = if soft == UNLIMITED {
        "unlimited".to_owned()
    } else {
        soft.to_string()
    };
    told(
        "process limit",
        Level::Ok,
        found,
        "There is room for the processes of a restart.",
    )
}

fn address_space(soft: u64) -> Finding {
    if soft == UNLIMITED {
        return told(
            "address space",
            Level::Ok,
            "unlimited",
            "Programs of any size can be restarted.",
        );
    }
    let consequence = "A program larger than this cannot be restarted: ask for a higher limit (ulimit -v).";
    told("address space", Level::Warn, size(soft), consequence)
}

fn size(bytes: u64) -> String {
    if bytes >= GIB {
        format!("{:.1} GiB", bytes as f64 / GIB as f64)
    } else {
        format!("{} MiB", bytes / MIB)
    }
}
