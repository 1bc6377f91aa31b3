//! The small files and links of `/proc/PID`: one function each.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use super::parse::{Parsed, decimal, hex, unexpected, zero_ended};
use super::{Error, Pid, Result, Subject};

/// An open descriptor.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fd {
    /// Its number.
    pub number: i32,
    /// What it stands for: a path, with ` (deleted)` at the end if that is gone, or `pipe:[INODE]`,
    /// `socket:[INODE]`, `anon_inode:[KIND]`, see proc_pid_fd(5).
    pub target: PathBuf,
}

/// The open descriptors of a process, ascending.
pub fn fds(subject: impl Subject) -> Result<Vec<Fd>> {
    let mut fds = Vec::new();
    for number in super::numbers(&subject.folder().join("fd"))? {
        match fd_target(subject, number) {
            Ok(target) => fds.push(Fd { number, target }),
            Err(error) if error.is_gone() => {}
            Err(error) => return Err(error),
        }
    }
    Ok(fds)
}

/// What one descriptor stands for, as in [`Fd::target`].
pub fn fd_target(subject: impl Subject, fd: i32) -> Result<PathBuf> {
    link(subject, &format!("fd/{fd}"))
}

/// The program file; ends in ` (deleted)` if it was removed.
pub fn exe(pid: Pid) -> Result<PathBuf> {
    link(pid, "exe")
}

/// The current folder; ends in ` (deleted)` if it was removed.
pub fn cwd(subject: impl Subject) -> Result<PathBuf> {
    link(subject, "cwd")
}

/// The root folder of chroot(2).
pub fn root(subject: impl Subject) -> Result<PathBuf> {
    link(subject, "root")
}

fn link(subject: impl Subject, name: &str) -> Result<PathBuf> {
    let path = subject.folder().join(name);
    let target = rustix::fs::readlink(&path, Vec::new()).map_err(|errno| Error::read(path, errno))?;
    Ok(PathBuf::from(OsStr::from_bytes(target.as_bytes())))
}

/// The name that prctl(PR_SET_NAME) or pthread_setname_np(3) sets, any bytes.
pub fn comm(subject: impl Subject) -> Result<Vec<u8>> {
    let mut name = super::contents(subject, "comm")?;
    name.pop_if(|last| *last == b'\n');
    Ok(name)
}

/// The command line; empty for zombies and kernel threads. A program may have overwritten it.
pub fn cmdline(pid: Pid) -> Result<Vec<Vec<u8>>> {
    Ok(zero_ended(&super::contents(pid, "cmdline")?))
}

/// The environment that the program was started with, `NAME=VALUE` each.
pub fn environ(pid: Pid) -> Result<Vec<Vec<u8>>> {
    Ok(zero_ended(&super::contents(pid, "environ")?))
}

/// The auxiliary vector, (AT_ number, value) each, without the AT_NULL at its end; see getauxval(3).
pub fn auxv(pid: Pid) -> Result<Vec<(u64, u64)>> {
    Ok(parse_auxv(&super::contents(pid, "auxv")?))
}

fn parse_auxv(bytes: &[u8]) -> Vec<(u64, u64)> {
    let word = |bytes: &[u8]| bytes.try_into().map_or(0, u64::from_ne_bytes);
    let pairs = bytes
        .chunks_exact(16)
        .map(|pair| (word(&pair[..8]), word(&pair[8..])));
    pairs.take_while(|&(key, _)| key != 0).collect()
}

/// How willingly the kernel ends it when memory is short, -1000 to 1000; proc_pid_oom_score_adj(5).
pub fn oom_score_adj(pid: Pid) -> Result<i32> {
    super::parsed(pid, "oom_score_adj", |text| decimal("score", text))
}

/// Which mappings a core dump has, a bit each, see core(5). `None` for kernel threads and zombies.
pub fn coredump_filter(pid: Pid) -> Result<Option<u32>> {
    super::parsed(pid, "coredump_filter", parse_filter)
}

fn parse_filter(text: &[u8]) -> Parsed<Option<u32>> {
    if text.is_empty() {
        return Ok(None);
    }
    Ok(Some(hex("core dump filter", text)? as u32))
}

/// The persona of personality(2), such as ADDR_NO_RANDOMIZE.
pub fn personality(subject: impl Subject) -> Result<u32> {
    super::parsed(subject, "personality", |text| {
        u32::try_from(hex("persona", text)?).map_err(|_| unexpected("persona", text))
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::os::fd::AsRawFd;

    #[test]
    fn own_process_is_described() {
        let own = Pid::own();
        assert_eq!(exe(own).unwrap(), std::env::current_exe().unwrap());
        assert_eq!(cwd(own).unwrap(), std::env::current_dir().unwrap());
        assert_eq!(root(own).unwrap(), PathBuf::from("/"));
        let args: Vec<_> = std::env::args_os().map(|arg| arg.as_bytes().to_vec()).collect();
        assert_eq!(cmdline(own).unwrap(), args);
        assert!(
            environ(own)
                .unwrap()
                .iter()
                .any(|setting| setting.starts_with(b"PATH="))
        );
        // SAFETY: getauxval only reads the process's own vector.
        let vdso = unsafe { libc::getauxval(libc::AT_SYSINFO_EHDR) };
        assert!(auxv(own).unwrap().contains(&(libc::AT_SYSINFO_EHDR, vdso)));
        assert!(oom_score_adj(own).unwrap().abs() <= 1000);
        assert!(coredump_filter(own).unwrap().is_some());
        assert!(!comm((own, own.leader())).unwrap().is_empty());
        personality(own).unwrap();
    }

    #[test]
    fn own_descriptors_are_listed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().canonicalize().unwrap().join("a b\nc");
        let file = std::fs::File::create(&path).unwrap();
        let listed = fds(Pid::own()).unwrap();
        assert!(listed.contains(&Fd {
            number: file.as_raw_fd(),
            target: path
        }));
        assert!(listed.is_sorted());
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes: Vec<u8>) {
            let _ = parse_auxv(&bytes);
            let _ = parse_filter(&bytes);
        }
    }
}
