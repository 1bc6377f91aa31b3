//! Which nodes there are, which image goes to which, and how an agent is started there.

use super::rsh;
use crate::failure::{Context, Result};
use crate::slurm;
use crate::state::quote;
use std::net::IpAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// A program like ssh by which agents are started on other nodes, with its options.
pub const REMOTE_SHELL: &str = "RETHAW_RSH";

/// Addresses of this node by which others may reach it, loopback last.
pub fn own_addresses() -> Vec<IpAddr> {
    let mut found: Vec<IpAddr> = Vec::new();
    for interface in nix::ifaddrs::getifaddrs().into_iter().flatten() {
        let Some(address) = interface.address else {
            continue;
        };
        let v4 = address.as_sockaddr_in().map(|address| IpAddr::V4(address.ip()));
        let v6 = || address.as_sockaddr_in6().map(|address| IpAddr::V6(address.ip()));
        if let Some(ip) = v4.or_else(v6)
            && !is_link_local(ip)
            && !found.contains(&ip)
        {
            found.push(ip);
        }
    }
    found.sort_by_key(|ip| (ip.is_loopback(), ip.is_ipv6()));
    found
}

/// Such an address means nothing without the interface.
fn is_link_local(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    }
}

/// Where each image goes. The first one is rebuilt `here`; the others where they were, if these nodes are among the
/// `available` ones (None: nothing is known of that), else on nodes that have no image yet, else in turn.
pub fn assign(recorded: &[String], here: &str, available: Option<&[String]>) -> Vec<String> {
    let mut places: Vec<Option<String>> = vec![None; recorded.len()];
    if let Some(first) = places.first_mut() {
        *first = Some(here.to_owned());
    }
    let taken = |places: &[Option<String>], host: &str| places.iter().flatten().any(|one| one == host);
    for (index, host) in recorded.iter().enumerate().skip(1) {
        let there = available.is_none_or(|hosts| hosts.contains(host));
        if there && !taken(&places, host) {
            places[index] = Some(host.clone());
        }
    }
    let hosts = available.map_or(recorded, |hosts| hosts);
    for index in 0..places.len() {
        if places[index].is_none() {
            let free = hosts.iter().find(|host| !taken(&places, host));
            let any = hosts.get(index % hosts.len().max(1));
            places[index] = free.or(any).cloned().or(Some(here.to_owned()));
        }
    }
    places.into_iter().flatten().collect()
}

/// Starts an agent on `host`. The process that this gives is what started it, and need not live as long.
pub fn start_agent(host: &str, folder: &Path, number: Option<u32>) -> Result<Child> {
    let myself = std::env::current_exe().context(|| "find the rethaw binary".to_string())?;
    let mut words = vec![
        myself.to_string_lossy().into_owned(),
        super::agent::SUBCOMMAND.to_owned(),
        folder.to_string_lossy().into_owned(),
    ];
    words.extend(number.map(|number| number.to_string()));
    let mut command = if rsh::is_here(host) {
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]);
        command
    } else if let (Some(_), None) = (slurm::Job::current(), std::env::var_os(REMOTE_SHELL)) {
        by_srun(host, &words)
    } else {
        by_remote_shell(host, &words)
    };
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .context(|| format!("start {}", command.get_program().display()))
}

/// Inside of the allocation, beside whatever runs there.
fn by_srun(host: &str, words: &[String]) -> Command {
    let mut command = Command::new("srun");
    command
        .args([
            "--overlap",
            "--nodes=1",
            "--ntasks=1",
            "--mpi=none",
            "--cpu-bind=none",
            "--quiet",
        ])
        .arg(format!("--nodelist={host}"))
        .args(words);
    // What this step was given is not for the other one.
    for (name, _) in std::env::vars_os() {
        let of_step = [
            "SLURM_STEP",
            "SLURM_TASK",
            "SLURM_NTASKS",
            "SLURM_CPU_BIND",
            "SLURM_MEM",
        ];
        if name
            .to_str()
            .is_some_and(|name| of_step.iter().any(|prefix| name.starts_with(prefix)))
        {
            command.env_remove(name);
        }
    }
    command
}

/// In a session of its own, so that the remote shell ends at once.
fn by_remote_shell(host: &str, words: &[String]) -> Command {
    let shell = std::env::var(REMOTE_SHELL).unwrap_or_else(|_| "ssh".to_owned());
    let mut shell = shell.split_ascii_whitespace();
    let mut command = Command::new(shell.next().unwrap_or("ssh"));
    let quoted: Vec<String> = words.iter().map(|word| quote(word)).collect();
    command.args(shell).arg(host).arg(format!(
        "setsid {} </dev/null >/dev/null 2>&1 &",
        quoted.join(" ")
    ));
    command
}

/// Nodes of the batch job.
pub fn nodes_of_job() -> Option<Vec<String>> {
    slurm::Job::current().and_then(|_| slurm::nodes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assigned(recorded: &[&str], here: &str, available: Option<&[&str]>) -> Vec<String> {
        let owned = |hosts: &[&str]| hosts.iter().map(|host| host.to_string()).collect::<Vec<_>>();
        assign(&owned(recorded), here, available.map(owned).as_deref())
    }

    #[test]
    fn images_go_where_they_were_or_where_there_is_room() {
        assert_eq!(assigned(&["a", "b"], "a", None), ["a", "b"]);
        assert_eq!(assigned(&["a", "b"], "a", Some(&["a", "b"])), ["a", "b"]);
        assert_eq!(assigned(&["a", "b"], "c", Some(&["c", "d"])), ["c", "d"]);
        assert_eq!(
            assigned(&["a", "b", "c"], "b", Some(&["b", "c", "d"])),
            ["b", "d", "c"]
        );
        assert_eq!(assigned(&["a", "b"], "b", Some(&["b"])), ["b", "b"]);
        assert_eq!(assigned(&["a", "b"], "b", None), ["b", "a"]);
        assert_eq!(
            assigned(&["a", "b", "c"], "x", Some(&["x", "y"])),
            ["x", "y", "x"]
        );
        assert_eq!(assigned(&["a"], "z", None), ["z"]);
    }
}
