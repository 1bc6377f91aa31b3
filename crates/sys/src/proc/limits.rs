//! `/proc/PID/limits`: resource limits. prlimit(2) asks for more privilege than this file.

use super::parse::{Parsed, decimal, lines, unexpected, words};
use super::{Pid, Result};

/// No limit (RLIM_INFINITY).
pub const UNLIMITED: u64 = u64::MAX;

/// The limits' names in the file, at the index that is their RLIMIT_ number (getrlimit(2), fs/proc/base.c).
const NAMES: [&[u8]; 16] = [
    b"Max cpu time",
    b"Max file size",
    b"Max data size",
    b"Max stack size",
    b"Max core file size",
    b"Max resident set",
    b"Max processes",
    b"Max open files",
    b"Max locked memory",
    b"Max address space",
    b"Max file locks",
    b"Max pending signals",
    b"Max msgqueue size",
    b"Max nice priority",
    b"Max realtime priority",
    b"Max realtime timeout",
];

/// One limit; [`UNLIMITED`] for none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// In force; the process may change it.
    pub soft: u64,
    /// The most that the soft limit may be raised to.
    pub hard: u64,
}

/// All limits of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Indexed by RLIMIT_ number, in that limit's unit (bytes, seconds, microseconds, pieces).
    pub by_resource: [Limit; 16],
}

impl Limits {
    /// Parses `/proc/PID/limits`. All sixteen must be there.
    pub fn parse(text: &[u8]) -> Parsed<Limits> {
        let mut found = [None; 16];
        for line in lines(text) {
            let numbered = NAMES.iter().enumerate();
            let mut named = numbered.filter_map(|(at, name)| Some((at, line.strip_prefix(*name)?)));
            if let Some((at, values)) = named.next() {
                found[at] = Some(limit(values)?);
            }
        }
        let mut by_resource = [Limit {
            soft: UNLIMITED,
            hard: UNLIMITED,
        }; 16];
        for (place, found) in by_resource.iter_mut().zip(found) {
            *place = found.ok_or_else(|| unexpected("limit", text))?;
        }
        Ok(Limits { by_resource })
    }

    /// Reads the file.
    pub fn read(pid: Pid) -> Result<Limits> {
        super::parsed(pid, "limits", Limits::parse)
    }
}

fn limit(values: &[u8]) -> Parsed<Limit> {
    let mut values = words(values).map(|word| match word {
        b"unlimited" => Ok(UNLIMITED),
        number => decimal("limit", number),
    });
    let mut next = || values.next().unwrap_or_else(|| Err(unexpected("limit", b"")));
    Ok(Limit {
        soft: next()?,
        hard: next()?,
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn own_limits_agree_with_getrlimit() {
        let limits = Limits::read(Pid::own()).unwrap();
        for (resource, limit) in limits.by_resource.iter().enumerate() {
            let mut own = libc::rlimit {
                rlim_cur: 0,
                rlim_max: 0,
            };
            let number = resource as libc::__rlimit_resource_t;
            // SAFETY: the kernel writes one rlimit to `own`, which outlives the call.
            let returned = unsafe { libc::getrlimit(number, &mut own) };
            assert_eq!(returned, 0);
            assert_eq!(
                (limit.soft, limit.hard),
                (own.rlim_cur, own.rlim_max),
                "RLIMIT {resource}"
            );
        }
    }

    #[test]
    fn a_missing_line_is_an_error() {
        let text = std::fs::read("/proc/self/limits").unwrap();
        assert!(Limits::parse(&text).is_ok());
        assert!(Limits::parse(&text[..text.len() / 2]).is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes: Vec<u8>, name in 0..NAMES.len()) {
            let _ = Limits::parse(&bytes);
            let _ = Limits::parse(&[NAMES[name], &bytes].concat());
        }
    }
}
