//! How agents find their coordinator: two files in the checkpoint folder, which all nodes see. One has the key that
//! makes a process a member of the computation, and only the user can read it.

use super::place::own_addresses;
use crate::failure::{Context, Failure, Result};
use crate::message;
use crate::place::{Machine, host_name};
use crate::state::{read_json, write_json};
use rethaw_cluster::{Hello, Secret, VERSION};
use rethaw_engine::checkpoint::{External, Options, PauseMethod};
use rethaw_engine::others::Meeting;
use rethaw_image::{Compression, Identity};
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

const FILE: &str = "coordinator.json";
const KEY: &str = "coordinator.key";

/// What an agent says when it joins.
pub fn hello(agent: Option<u32>) -> Hello {
    Hello {
        version: VERSION,
        node: host_name(),
        boot_id: Machine::here().boot_id,
        addresses: own_addresses().iter().map(ToString::to_string).collect(),
        agent,
    }
}

/// What an agent has to know of its computation.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Terms {
    /// Where the coordinator listens.
    pub addresses: Vec<SocketAddr>,
    /// Identity of the computation.
    pub computation: String,
    /// Changes with every coordinator: nobody mistakes a new one for the one before.
    pub session: String,
    /// The computation runs already, and its coordinator is gone: agents whose programs run join this one. Else it begins
    /// anew or from a checkpoint, and what still runs of it is a copy too many.
    pub takes_over: bool,
    save_open_files: bool,
    compress: bool,
    pause_method: u8,
    external: u8,
    files: u8,
    map: Vec<(std::path::PathBuf, std::path::PathBuf)>,
}

impl Terms {
    /// Those of a computation whose checkpoints are taken with `options`.
    pub fn new(
        addresses: Vec<SocketAddr>,
        options: &Options,
        restart: &rethaw_engine::restart::Options,
        takes_over: bool,
    ) -> Result<Terms> {
        Ok(Terms {
            addresses,
            computation: options.identity.computation.clone(),
            session: crate::state::random_id()?,
            takes_over,
            save_open_files: options.save_open_files,
            compress: options.compression == Compression::Zstd,
            pause_method: options.pause_method as u8,
            external: options.external as u8,
            files: restart.files as u8,
            map: restart.map.clone(),
        })
    }

    /// Leaves them where agents look for them, with the key.
    pub fn publish(&self, folder: &Path, secret: &Secret) -> Result<()> {
        secret.store(&folder.join(KEY))?;
        write_json(&folder.join(FILE), self)
    }

    /// Whether somebody leads the computation of this folder, or did when it was killed.
    pub fn are_there(folder: &Path) -> bool {
        folder.join(FILE).exists()
    }

    /// What was left there.
    pub fn find(folder: &Path) -> Result<(Terms, Secret)> {
        let path = folder.join(FILE);
        let terms = read_json(&path).context(|| format!("read {}", path.display()))?;
        let terms =
            terms.ok_or_else(|| Failure::said(format!("no coordinator is known in {}", folder.display())))?;
        Ok((terms, Secret::load(&folder.join(KEY))?))
    }

    /// Nobody leads the computation any more.
    pub fn withdraw(folder: &Path) {
        for name in [FILE, KEY] {
            let _ = std::fs::remove_file(folder.join(name));
        }
    }

    /// What checkpoints are taken with.
    pub fn options(&self, identity: Identity, stop: bool) -> Options {
        Options {
            identity,
            command: Vec::new(),
            start_folder: Vec::new(),
            addresses: own_addresses().iter().map(ToString::to_string).collect(),
            launcher: Vec::new(),
            save_open_files: self.save_open_files,
            pause_method: match self.pause_method {
                1 => PauseMethod::Fork,
                2 => PauseMethod::Stop,
                _ => PauseMethod::Auto,
            },
            compression: if self.compress {
                Compression::Zstd
            } else {
                Compression::None
            },
            external: match self.external {
                1 => External::Close,
                2 => External::Reset,
                _ => External::Refuse,
            },
            stop,
            freeze_timeout: Duration::from_secs(30),
        }
    }

    /// What a restart is done with.
    pub fn restart(&self, meeting: Meeting) -> rethaw_engine::restart::Options {
        use rethaw_engine::restart::Files;
        rethaw_engine::restart::Options {
            files: match self.files {
                1 => Files::Keep,
                2 => Files::Refuse,
                _ => Files::Rewind,
            },
            map: self.map.clone(),
            meeting,
            notice: Some(|sentence| message::note(sentence)),
        }
    }

    /// A key for connections between nodes, which everybody can compute who has the coordinator's.
    pub fn meeting(&self, moves: &[rethaw_cluster::NodeMove]) -> Meeting {
        let mut key = [0; 16];
        let session = self.session.as_bytes();
        let length = session.len().min(key.len());
        key[..length].copy_from_slice(&session[..length]);
        Meeting {
            moves: moves.iter().flat_map(moved).collect(),
            key,
        }
    }
}

/// Address by address; loopback stays what it is. A node that had more addresses than the new one has them all at its
/// first.
fn moved(one: &rethaw_cluster::NodeMove) -> Vec<(std::net::IpAddr, std::net::IpAddr)> {
    let parse = |texts: &[String]| -> Vec<std::net::IpAddr> {
        let all = texts.iter().filter_map(|text| text.parse().ok());
        all.filter(|ip: &std::net::IpAddr| !ip.is_loopback()).collect()
    };
    let (old, new) = (parse(&one.old), parse(&one.new));
    let to = |(index, ip): (usize, &std::net::IpAddr)| {
        if new.contains(ip) {
            return None;
        }
        let same_family = new.iter().filter(|to| to.is_ipv4() == ip.is_ipv4());
        let of_family: Vec<_> = same_family.collect();
        let target = of_family.get(index).or(of_family.first())?;
        Some((*ip, **target))
    };
    old.iter().enumerate().filter_map(to).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_follow_their_node() {
        let texts = |all: &[&str]| all.iter().map(|text| text.to_string()).collect();
        let one = rethaw_cluster::NodeMove {
            agent: 1,
            old: texts(&["10.0.0.1", "192.168.0.1", "127.0.0.1"]),
            new: texts(&["10.0.0.9", "127.0.0.1"]),
            ..Default::default()
        };
        let shown: Vec<_> = moved(&one)
            .iter()
            .map(|(old, new)| format!("{old} {new}"))
            .collect();
        assert_eq!(shown, ["10.0.0.1 10.0.0.9", "192.168.0.1 10.0.0.9"]);
        let stays = rethaw_cluster::NodeMove {
            new: one.old.clone(),
            ..one
        };
        assert!(moved(&stays).is_empty());
    }
}
