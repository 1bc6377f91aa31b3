//! What belongs to a process as a whole and is neither memory nor descriptors.

use super::thread::ContextProc;
use super::{landlock, limit, signal, timer};
use crate::Result;
use crate::error::{Context, Error};
use crate::restart::Places;
use rethaw_image::record::{PathFolderV1, ProcessV1};
use rethaw_sys::proc::{self, Pid};
use rethaw_sys::remote::Remote;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;

const PR_GET_DUMPABLE: u64 = 3;
const PR_SET_DUMPABLE: u64 = 4;
const PR_GET_CHILD_SUBREAPER: u64 = 37;
const PR_SET_THP_DISABLE: u64 = 41;
const PR_GET_THP_DISABLE: u64 = 42;
const PR_SET_MDWE: u64 = 65;
const PR_GET_MDWE: u64 = 66;
const PR_SET_MEMORY_MERGE: u64 = 67;
const PR_GET_MEMORY_MERGE: u64 = 68;
const PR_SET_PDEATHSIG: u64 = 1;
const MEMBARRIER_CMD_GET_REGISTRATIONS: u64 = 1 << 9;

/// Refuses a process that the kernel does not show to its user: one that is not dumpable (prctl(2)), because it asked
/// for that or because its program may not be read. Its files in /proc belong to root, as those of a thread that has
/// ended do.
pub(crate) fn refuse_unreadable(pid: Pid) -> Result<()> {
    let owner = fs::metadata(format!("/proc/{pid}/status")).map(|file| file.uid());
    let user = proc::Status::read(pid).map(|status| status.uid.effective);
    if !matches!((owner, user), (Ok(0), Ok(user)) if user != 0) {
        return Ok(());
    }
    Err(Error::Refused {
        what: "a process that only root may look at: it is not dumpable, by prctl or because its program file may not \
               be read"
            .to_owned(),
        pid: pid.0,
        place: "the process itself".to_owned(),
        remedy: "run the program without that, or give its file back the right to be read".to_owned(),
    })
}

/// Everything that can be seen from outside, through a thread that lives.
pub(crate) fn collect_outside(leader: Pid, pid: Pid) -> Result<ProcessV1> {
    let number = proc::Status::read(leader).context_proc()?.ns_pids.last().copied();
    let status = proc::Status::read(pid).context_proc()?;
    let stat = proc::Stat::read(leader).context_proc()?;
    let folders = PathFolderV1 {
        cwd: proc::cwd(pid).context_proc()?.as_os_str().as_bytes().to_vec(),
        root: proc::root(pid).context_proc()?.as_os_str().as_bytes().to_vec(),
    };
    let personality = fs::read_to_string(format!("/proc/{pid}/personality")).unwrap_or_default();
    Ok(ProcessV1 {
        pid: number.unwrap_or(leader.0),
        exit_signal: stat.exit_signal,
        folders: Some(folders),
        limits: limit::collect(&proc::Limits::read(pid).context_proc()?),
        oom_score_adj: proc::oom_score_adj(pid).context_proc()?,
        personality: u32::from_str_radix(personality.trim(), 16).unwrap_or(0),
        coredump_filter: proc::coredump_filter(pid).ok().flatten().unwrap_or(0) as u32,
        umask: status.umask.unwrap_or(0o022),
        ..ProcessV1::default()
    })
}

/// Everything that only the process itself is told.
pub(crate) fn collect_inside(pid: Pid, record: &mut ProcessV1, remote: &mut Remote<'_>) -> Result<()> {
    let timers = proc::Timers::read(pid).context_proc()?;
    let name = || format!("cannot ask for the state of process {pid}");
    record.actions = signal::collect(remote).context(name)?;
    record.interval_timers = timer::collect_interval(remote).context(name)?;
    record.posix_timers = timer::collect_posix(pid, remote, &timers).context(name)?;
    record.landlocked = landlock::is_in_force(pid, remote).context(name)?;
    ask_attributes(record, remote).context(name)
}

/// Features of the extended state that only those have who ask (Documentation/arch/x86/xstate.rst). A kernel without them
/// does not know the call.
fn ask_extended_features(remote: &mut Remote<'_>) -> io::Result<u64> {
    const ARCH_GET_XCOMP_PERM: u64 = 0x1022;
    let out = remote.put(0, &[0; 8])?;
    match remote.call(libc::SYS_arch_prctl, [ARCH_GET_XCOMP_PERM, out, 0, 0, 0, 0])? {
        Ok(_) => Ok(u64::from_ne_bytes(remote.get(0)?)),
        Err(_) => Ok(0),
    }
}

/// The other direction.
fn request_extended_features(wanted: u64, remote: &mut Remote<'_>) -> io::Result<()> {
    const ARCH_REQ_XCOMP_PERM: u64 = 0x1023;
    let missing = wanted & !ask_extended_features(remote)?;
    for feature in (0..u64::BITS).filter(|bit| missing >> bit & 1 == 1) {
        let arguments = [ARCH_REQ_XCOMP_PERM, feature.into(), 0, 0, 0, 0];
        remote.must(libc::SYS_arch_prctl, arguments)?;
    }
    Ok(())
}

fn ask_attributes(record: &mut ProcessV1, remote: &mut Remote<'_>) -> io::Result<()> {
    record.extended_features = ask_extended_features(remote)?;
    let mut ask = |option: u64| remote.call(libc::SYS_prctl, [option, 0, 0, 0, 0, 0]);
    record.dumpable = ask(PR_GET_DUMPABLE)?? as u32;
    record.thp_disable = ask(PR_GET_THP_DISABLE)?.unwrap_or(0) as u32;
    record.thp_disabled = record.thp_disable != 0;
    record.memory_deny_write_execute = ask(PR_GET_MDWE)?.unwrap_or(0) as u32;
    record.memory_merge = ask(PR_GET_MEMORY_MERGE)?.unwrap_or(0) != 0;
    let out = remote.put(0, &[0; 8])?;
    remote.must(libc::SYS_prctl, [PR_GET_CHILD_SUBREAPER, out, 0, 0, 0, 0])?;
    record.child_subreaper = i32::from_ne_bytes(remote.get(0)?) != 0;
    let membarrier = [MEMBARRIER_CMD_GET_REGISTRATIONS, 0, 0, 0, 0, 0];
    record.membarrier = remote.call(libc::SYS_membarrier, membarrier)?.unwrap_or(0) as u32;
    Ok(())
}

/// Folders, umask, limits and so on of a process that is being rebuilt. `pid` as seen from here.
pub(crate) fn rebuild(
    pid: Pid,
    record: &ProcessV1,
    places: &Places,
    remote: &mut Remote<'_>,
    warnings: &mut Vec<String>,
) -> Result<()> {
    let name = || format!("cannot rebuild process {}", record.pid);
    match in_nameless_folder(record) {
        false => enter_folders(record.folders.as_ref(), record.umask, places, remote)?,
        true => set_umask(record.umask, remote)?,
    }
    remote
        .must(libc::SYS_personality, [record.personality.into(), 0, 0, 0, 0, 0])
        .context(name)?;
    tell_attributes(record, remote).context(name)?;
    if record.landlocked {
        warnings.push(format!(
            "process {} had restricted itself (landlock), and is not restricted any more",
            record.pid
        ));
    }
    write_or_warn(pid, "oom_score_adj", record.oom_score_adj.to_string(), warnings);
    if record.coredump_filter != 0 {
        write_or_warn(
            pid,
            "coredump_filter",
            format!("{:#x}", record.coredump_filter),
            warnings,
        );
    }
    Ok(())
}

/// Whether the current folder is one that is entered before, because no name leads to it from here.
pub(crate) fn in_nameless_folder(record: &ProcessV1) -> bool {
    record.deleted_folder != 0 || record.proc_folder.is_some()
}

/// Current folder and umask, of a process or of a thread that has its own.
pub(crate) fn enter_folders(
    folders: Option<&PathFolderV1>,
    umask: u32,
    places: &Places,
    remote: &mut Remote<'_>,
) -> Result<()> {
    let Some(folders) = folders else {
        return Ok(());
    };
    let folder = places.path(&folders.cwd);
    let mut path = folder.as_os_str().as_bytes().to_vec();
    path.push(0);
    let name = || format!("cannot enter {}", folder.display());
    let address = remote.put(0, &path).context(name)?;
    remote
        .must(libc::SYS_chdir, [address, 0, 0, 0, 0, 0])
        .context(name)?;
    set_umask(umask, remote)
}

fn set_umask(umask: u32, remote: &mut Remote<'_>) -> Result<()> {
    remote
        .must(libc::SYS_umask, [umask.into(), 0, 0, 0, 0, 0])
        .context(|| "cannot set the umask of a process".to_owned())
        .map(drop)
}

fn tell_attributes(record: &ProcessV1, remote: &mut Remote<'_>) -> io::Result<()> {
    request_extended_features(record.extended_features, remote)?;
    // What the restarting program has of these is inherited, also through execve(2): set in any case.
    let (thp, flags) = (
        record.thp_disable & 1 | u32::from(record.thp_disabled),
        record.thp_disable & !1,
    );
    let thp = [PR_SET_THP_DISABLE, thp.into(), flags.into(), 0, 0, 0];
    remote.must(libc::SYS_prctl, thp)?;
    let merge = [PR_SET_MEMORY_MERGE, record.memory_merge.into(), 0, 0, 0, 0];
    let merged = remote.call(libc::SYS_prctl, merge)?;
    if record.memory_merge {
        merged?;
    }
    for command in (0..32).filter(|bit| record.membarrier & 1 << bit != 0) {
        remote.must(libc::SYS_membarrier, [1 << command, 0, 0, 0, 0, 0])?;
    }
    Ok(())
}

fn write_or_warn(pid: Pid, file: &str, value: String, warnings: &mut Vec<String>) {
    let path = format!("/proc/{pid}/{file}");
    let now = fs::read_to_string(&path).unwrap_or_default();
    if now.trim() != value
        && let Err(e) = fs::write(&path, &value)
    {
        warnings.push(format!("{file} of a process cannot be set to {value} here ({e})"));
    }
}

/// Lets a parent hear that a child has stopped, which it had heard before.
pub(crate) fn hear_of_stop(remote: &mut Remote<'_>, child: i32) -> io::Result<()> {
    let (which, options) = (libc::P_PID as u64, (libc::WSTOPPED | libc::WNOHANG) as u64);
    remote
        .must(libc::SYS_waitid, [which, child as u64, 0, options, 0, 0])
        .map(drop)
}

/// What has to wait until credentials are final, because changing those resets it (prctl(2)).
pub(crate) fn rebuild_last(record: &ProcessV1, remote: &mut Remote<'_>) -> Result<()> {
    let name = || format!("cannot rebuild process {}", record.pid);
    let mut tell = |option: u64, value: u64| {
        remote
            .must(libc::SYS_prctl, [option, value, 0, 0, 0, 0])
            .map(drop)
            .context(name)
    };
    if record.memory_deny_write_execute != 0 {
        tell(PR_SET_MDWE, record.memory_deny_write_execute.into())?;
    }
    let signal = record.threads.first().map_or(0, |t| t.parent_death_signal);
    if signal != 0 {
        tell(PR_SET_PDEATHSIG, signal as u64)?;
    }
    // 2 (root may read a core dump) is what the kernel sets, not the program.
    tell(PR_SET_DUMPABLE, u64::from(record.dumpable == 1))
}
