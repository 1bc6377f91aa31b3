//! Memory nodes: `/proc/PID/numa_maps`, `statm`, and the machine's list.

use super::parse::{Parsed, decimal, hex, lines, unexpected, words};
use super::{Error, Pid, Result};
use std::path::Path;

/// First addresses of the mappings that numa_maps(5) shows with another policy than the default, ascending.
pub fn numa_policies(pid: Pid) -> Result<Vec<u64>> {
    super::parsed(pid, "numa_maps", |text| {
        let mut found = Vec::new();
        for line in lines(text) {
            let mut fields = words(line);
            let start = hex("address", fields.next().unwrap_or_default())?;
            let policy = fields.next().ok_or_else(|| unexpected("policy", line))?;
            if policy != b"default" {
                found.push(start);
            }
        }
        Ok(found)
    })
}

/// Bytes in memory, roughly: the second number of `statm`.
pub fn resident_bytes(pid: Pid) -> Result<u64> {
    let pages: u64 = super::parsed(pid, "statm", |text| {
        decimal("resident pages", words(text).nth(1).unwrap_or_default())
    })?;
    Ok(pages.saturating_mul(rustix::param::page_size() as u64))
}

/// Number of nodes that have memory.
pub fn memory_nodes() -> Result<u32> {
    let path = Path::new("/sys/devices/system/node/has_memory");
    count(super::file(path)?.trim_ascii()).map_err(|source| Error::parse(path, source))
}

/// Counts a list such as `0-1,3`.
fn count(list: &[u8]) -> Parsed<u32> {
    let mut total: u32 = 0;
    for range in list.split(|byte| *byte == b',').filter(|range| !range.is_empty()) {
        let mut ends = range.splitn(2, |byte| *byte == b'-');
        let first: u32 = decimal("node", ends.next().unwrap_or_default())?;
        let last = ends.next().map_or(Ok(first), |last| decimal("node", last))?;
        total = total.saturating_add(last.saturating_sub(first).saturating_add(1));
    }
    Ok(total)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn nodes_are_counted() {
        for (list, wanted) in [("0", 1), ("0-1", 2), ("0-1,4,6-7", 5), ("", 0)] {
            assert_eq!(count(list.as_bytes()).unwrap(), wanted, "{list}");
        }
        assert!(count(b"x").is_err());
    }

    #[test]
    fn own_memory_is_there() {
        assert!(resident_bytes(Pid::own()).unwrap() > 0);
    }
}
