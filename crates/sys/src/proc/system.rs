//! The machine: which boot, which name, which processor.

use std::path::Path;
use std::time::Duration;

use super::parse::{Parsed, fixed_point, key_value, lines, words};
use super::{Error, Result};

/// The kernel's random name of this boot, such as `0f4d9c8e-…`; containers of one machine share it.
pub fn boot_id() -> Result<String> {
    line("/proc/sys/kernel/random/boot_id")
}

/// The node name of uname(2).
pub fn hostname() -> Result<String> {
    line("/proc/sys/kernel/hostname")
}

fn line(path: &str) -> Result<String> {
    Ok(String::from_utf8_lossy(&super::file(Path::new(path))?)
        .trim()
        .to_owned())
}

/// Whether the machine has swap space: /proc/swaps has a line below its heading.
pub fn has_swap() -> Result<bool> {
    Ok(lines(&super::file(Path::new("/proc/swaps"))?).count() > 1)
}

/// Time since boot with suspension, to the hundredth second, moved by the reader's time namespace.
pub fn uptime() -> Result<Duration> {
    let path = Path::new("/proc/uptime");
    parse_uptime(&super::file(path)?).map_err(|source| Error::parse(path, source))
}

fn parse_uptime(text: &[u8]) -> Parsed<Duration> {
    let hundredths = fixed_point("uptime", words(text).next().unwrap_or_default(), 2)?;
    Ok(Duration::from_millis(hundredths.saturating_mul(10)))
}

/// The processor, as the first entry of /proc/cpuinfo has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cpu {
    /// Such as `AMD EPYC 7763 64-Core Processor`; empty where the architecture does not tell.
    pub model: String,
    /// Instruction set extensions, in the kernel's spelling and order.
    pub flags: Vec<String>,
}

impl Cpu {
    /// Parses /proc/cpuinfo (x86 spells `flags`, arm64 `Features`).
    pub fn parse(text: &[u8]) -> Cpu {
        let mut cpu = Cpu::default();
        for (key, value) in lines(text).filter_map(key_value) {
            match key.trim_ascii() {
                b"model name" if cpu.model.is_empty() => {
                    cpu.model = String::from_utf8_lossy(value).into_owned();
                }
                b"flags" | b"Features" if cpu.flags.is_empty() => {
                    let owned = |word| String::from_utf8_lossy(word).into_owned();
                    cpu.flags = words(value).map(owned).collect();
                }
                _ => {}
            }
        }
        cpu
    }
}

/// Reads /proc/cpuinfo.
pub fn cpuinfo() -> Result<Cpu> {
    Ok(Cpu::parse(&super::file(Path::new("/proc/cpuinfo"))?))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn this_machine_is_described() {
        assert_eq!(boot_id().unwrap().len(), 36);
        assert_eq!(
            hostname().unwrap().as_bytes(),
            rustix::system::uname().nodename().to_bytes()
        );
        assert!(uptime().unwrap() > Duration::ZERO);
        assert_eq!(parse_uptime(b"12.34 56.78\n"), Ok(Duration::from_millis(12_340)));
        #[cfg(target_arch = "x86_64")]
        assert!(cpuinfo().unwrap().flags.iter().any(|flag| flag == "sse2"));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes: Vec<u8>) {
            let _ = parse_uptime(&bytes);
            let _ = Cpu::parse(&bytes);
        }
    }
}
