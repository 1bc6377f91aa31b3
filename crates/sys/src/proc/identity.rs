//! A name for a process that is never given to another one.

use super::{Pid, Result, Stat, boot_id};

/// A process for ever: its number comes back after it has ended, its number with its start time and boot does not
/// (the kernel does not go once round all numbers in a hundredth of a second).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Identity {
    /// Its number in the reader's pid namespace.
    pub pid: Pid,
    /// When it started, in clock ticks since boot. A reader in another time namespace sees another value.
    pub start_time: u64,
    /// The boot that it belongs to, see [`boot_id`].
    pub boot_id: String,
}

impl Identity {
    /// The identity of the process that has this number now.
    pub fn of(pid: Pid) -> Result<Identity> {
        let boot_id = boot_id()?;
        Ok(Identity {
            pid,
            start_time: Stat::read(pid)?.starttime,
            boot_id,
        })
    }

    /// Whether it still runs here. A zombie does not; a process of which only the first thread has ended does.
    pub fn alive(&self) -> Result<bool> {
        if boot_id()? != self.boot_id {
            return Ok(false);
        }
        match Stat::read(self.pid) {
            Ok(stat) => {
                let has_ended = stat.is_zombie() && stat.num_threads <= 1;
                Ok(stat.starttime == self.start_time && !has_ended)
            }
            Err(error) if error.is_gone() => Ok(false),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn a_process_is_alive_until_it_ends() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let identity = Identity::of(Pid(child.id() as i32)).unwrap();
        assert!(identity.alive().unwrap());
        let other_boot = Identity {
            boot_id: "x".into(),
            ..identity.clone()
        };
        let other_start = Identity {
            start_time: 1,
            ..identity.clone()
        };
        assert!(!other_boot.alive().unwrap() && !other_start.alive().unwrap());
        child.kill().unwrap();
        while !Stat::read(identity.pid).unwrap().is_zombie() {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        assert!(!identity.alive().unwrap());
        child.wait().unwrap();
        assert!(!identity.alive().unwrap());
    }
}
