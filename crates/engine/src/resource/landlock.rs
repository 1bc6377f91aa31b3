//! Restrictions that a program has put on itself by landlock(7). No kernel interface shows them. That there are some is
//! seen by what they forbid: a process under landlock may not look at one that is not, such as rethaw.

use rethaw_sys::proc::{Pid, Status};
use rethaw_sys::remote::Remote;
use std::fs;
use std::io;

/// Whether the process is restricted, as far as can be told: only where nothing else forbids it to look at us.
pub(crate) fn is_in_force(pid: Pid, remote: &mut Remote<'_>) -> io::Result<bool> {
    const KCMP_VM: u64 = 1;
    let (Ok(status), Ok(ours)) = (Status::read(pid), Status::read(Pid::own())) else {
        return Ok(false);
    };
    let user_namespace = |pid: Pid| fs::read_link(format!("/proc/{pid}/ns/user")).ok();
    let comparable = status.no_new_privs
        && status.ns_pids.len() == 1
        && (status.uid, status.gid) == (ours.uid, ours.gid)
        && status.capabilities.permitted == ours.capabilities.permitted
        && user_namespace(pid) == user_namespace(Pid::own())
        && rustix::process::dumpable_behavior()
            .is_ok_and(|d| d == rustix::process::DumpableBehavior::Dumpable);
    if !comparable {
        return Ok(false);
    }
    let us = Pid::own().0 as u64;
    let outcome = remote.call(libc::SYS_kcmp, [us, us, KCMP_VM, 0, 0, 0])?;
    Ok(outcome.is_err_and(|e| e.raw_os_error() == Some(libc::EPERM)))
}
