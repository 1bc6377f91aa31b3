//! Resource limits.

use rethaw_image::record::LimitV1;
use rethaw_sys::proc::{Limits, Pid};
use rethaw_sys::task;

pub(crate) fn collect(limits: &Limits) -> Vec<LimitV1> {
    limits
        .by_resource
        .iter()
        .map(|limit| LimitV1 {
            soft: limit.soft,
            hard: limit.hard,
        })
        .collect()
}

/// A hard limit cannot be raised without privilege: then the launcher's holds.
pub(crate) fn rebuild(pid: Pid, records: &[LimitV1], warnings: &mut Vec<String>) {
    for (resource, wanted) in (0..).zip(records) {
        if task::set_limit(pid, resource, wanted.soft, wanted.hard).is_ok() {
            continue;
        }
        let now = Limits::read(pid)
            .ok()
            .and_then(|all| all.by_resource.get(resource as usize).copied());
        let Some(now) = now else { continue };
        let (soft, hard) = (wanted.soft.min(now.hard), wanted.hard.min(now.hard));
        if task::set_limit(pid, resource, soft, hard).is_err() || soft < wanted.soft {
            warnings.push(format!(
                "resource limit {resource} is lower here than it was ({soft} instead of {})",
                wanted.soft
            ));
        }
    }
}
