//! What would not come back from a checkpoint quite as it is: a sentence for each.

use super::freeze::FrozenProcess;
use crate::resource::descriptor::{Seen, writes};
use crate::resource::object::Object;
use crate::resource::socket::is_service;
use rethaw_image::record::{Backing, DescriptionKind, DescriptionV1, ProcessV1, RegularV1};
use rustix::fs::FileType;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Of descriptions and their records, in the same order.
pub(super) fn of_descriptions<'a>(
    seen: impl Iterator<Item = &'a Seen>,
    records: &[DescriptionV1],
) -> impl Iterator<Item = String> {
    seen.zip(records).filter_map(|(seen, record)| {
        let what = of_description(record)?;
        Some(format!(
            "{} (process {}, descriptor {}) {what}",
            seen.path().display(),
            seen.pid,
            seen.fd
        ))
    })
}

fn of_description(record: &DescriptionV1) -> Option<&'static str> {
    match record.kind.as_ref()? {
        DescriptionKind::Regular(file) if is_written_in_place(record.flags, file) => Some(
            "is written in place and not in the image: what is written to it between a checkpoint and a kill stays; \
             --save-open-files saves it",
        ),
        DescriptionKind::Inotify(inotify) if inotify.overflow => {
            Some("holds events that were not read: the program is told that some were lost (IN_Q_OVERFLOW)")
        }
        DescriptionKind::Unix(socket) if !socket.service && is_service(&socket.peer_name) => {
            Some("leads to a service of the machine, which the program finds closed and connects to again")
        }
        _ => None,
    }
}

/// Not only at its end.
fn is_written_in_place(flags: u32, file: &RegularV1) -> bool {
    let identity = file.file.clone().unwrap_or_default();
    let appends = flags & libc::O_APPEND as u32 != 0;
    let regular = FileType::from_raw_mode(identity.mode) == FileType::RegularFile;
    let at_end = u64::try_from(file.offset).is_ok_and(|offset| offset >= identity.size);
    regular && writes(flags) && !appends && !at_end && file.object == 0
}

/// Of processes and their records, in the same order.
pub(super) fn of_processes(frozen: &[FrozenProcess], records: &[ProcessV1]) -> Vec<String> {
    let mut found = Vec::new();
    for (frozen, record) in frozen.iter().zip(records) {
        let pid = frozen.pid;
        let mappings = record.memory.iter().flat_map(|memory| &memory.mappings);
        if mappings
            .into_iter()
            .any(|mapping| mapping.backing() == Backing::AioRing)
        {
            found.push(format!(
                "asynchronous I/O of process {pid} (io_submit): a request on a pipe, a socket or a poll that has not \
                 completed at the checkpoint never will"
            ));
        }
        let scheduling = record
            .threads
            .iter()
            .filter_map(|thread| thread.scheduling.as_ref());
        if scheduling
            .into_iter()
            .any(|scheduling| is_privileged(scheduling.policy, scheduling.nice))
        {
            found.push(format!(
                "real-time scheduling or a negative nice value of process {pid} comes back only where the user has \
                 the right to set it (ulimit -r, -e)"
            ));
        }
    }
    found
}

fn is_privileged(policy: u32, nice: i32) -> bool {
    const REAL_TIME: [i32; 3] = [libc::SCHED_FIFO, libc::SCHED_RR, libc::SCHED_DEADLINE];
    nice < 0 || REAL_TIME.contains(&policy.cast_signed())
}

/// Of files whose contents are saved.
pub(super) fn of_objects(objects: &[Object]) -> impl Iterator<Item = String> {
    let elsewhere = objects.iter().filter(|object| object.record.linked_elsewhere);
    elsewhere.map(|object| {
        let path = object.record.ghost.clone().unwrap_or_default().path;
        let path = Path::new(OsStr::from_bytes(&path));
        format!(
            "{} was deleted but has another name, which was not found: it comes back as a copy",
            path.display()
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rethaw_image::record::FileIdentityV1;

    #[test]
    fn a_file_that_is_written_in_place_and_not_saved_is_told() {
        let file = |offset, object| RegularV1 {
            file: Some(FileIdentityV1 {
                mode: libc::S_IFREG | 0o644,
                size: 100,
                ..FileIdentityV1::default()
            }),
            offset,
            object,
            ..RegularV1::default()
        };
        let (both, append) = (libc::O_RDWR as u32, libc::O_APPEND as u32);
        assert!(is_written_in_place(both, &file(0, 0)));
        assert!(!is_written_in_place(both | append, &file(0, 0)));
        assert!(!is_written_in_place(libc::O_RDONLY as u32, &file(0, 0)));
        assert!(!is_written_in_place(both, &file(100, 0)), "a log");
        assert!(!is_written_in_place(both, &file(0, 1)), "saved");
    }

    #[test]
    fn ordinary_scheduling_needs_no_right() {
        assert!(!is_privileged(0, 19) && !is_privileged(libc::SCHED_BATCH as u32, 0));
        assert!(is_privileged(0, -1) && is_privileged(libc::SCHED_FIFO as u32, 0));
    }
}
