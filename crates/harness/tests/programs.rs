//! Every program of tests/programs under every variant of checkpoint and restart.
#![forbid(unsafe_code)]

use rethaw_harness::matrix::{self, Variant};
use rethaw_harness::{Outcome, ensure_equal, programs};

macro_rules! programs {
    ($($name:ident)*) => {
        const LISTED: &[&str] = &[$(stringify!($name)),*];
        $(mod $name {
            use rethaw_harness::{Outcome, matrix::{Variant, run}};

            #[test]
            fn passes_alone() -> Outcome {
                run(stringify!($name), Variant::Alone)
            }
            #[test]
            fn notices_damage() -> Outcome {
                run(stringify!($name), Variant::Damaged)
            }
            #[test]
            fn stopped_and_restarted() -> Outcome {
                run(stringify!($name), Variant::Stopped)
            }
            #[test]
            fn stopped_and_restarted_twice() -> Outcome {
                run(stringify!($name), Variant::Twice)
            }
            #[test]
            fn checkpointed_and_continued() -> Outcome {
                run(stringify!($name), Variant::Continued)
            }
            #[test]
            fn killed_and_restarted() -> Outcome {
                run(stringify!($name), Variant::Killed)
            }
            #[test]
            fn isolated() -> Outcome {
                run(stringify!($name), Variant::Isolated)
            }
            #[test]
            fn compressed() -> Outcome {
                run(stringify!($name), Variant::Compressed)
            }
            #[test]
            fn paused() -> Outcome {
                run(stringify!($name), Variant::Paused)
            }
        })*
    };
}

programs! {
    aio
    clock_continues
    clock_vdso
    descriptor_owner
    epoll
    epoll_closed_number
    epoll_processes
    eventfd
    family_chain
    family_ended
    family_orphans
    family_sessions
    family_stopped
    file_appended
    file_attributes
    file_closed_is_free
    file_deleted_folder
    file_devices
    file_executable_deleted
    file_folder
    file_leases
    file_locks
    file_locks_shared
    file_mapping_deleted
    file_mapping_deleted_private
    file_mapping_library
    file_mapping_private
    file_mapping_shared
    file_of_proc
    file_offset
    file_other_name
    file_scratch
    file_shared_description
    file_shared_memory
    file_symbolic_link
    file_unlinked
    generated_code
    guard_pages
    heap
    huge_pages_reserved
    huge_pages_transparent
    inotify
    io_uring
    inotify_unread
    madvise_dontneed
    madvise_flags
    memory_anonymous
    memory_changing
    memory_droppable
    memory_file
    memory_file_sealed
    memory_forked
    memory_growing_down
    memory_locked
    memory_locked_future
    memory_many_mappings
    memory_policies
    memory_protection_keys
    memory_reserved
    memory_sealed
    memory_shared_sparse
    memory_sparse
    memory_vdso_moved
    mqueue
    pidfd
    pidfd_zombie
    pipe_ends
    pipe_in_flight
    pipe_splice
    process_attributes
    process_bounding
    process_controls
    process_controls_default
    process_folder
    process_ids
    process_landlock
    process_limits
    process_names
    process_no_children
    process_oom_score
    process_personality
    process_registrations
    process_scheduling
    process_sharing
    registers_amx
    registers_avx512
    registers_general
    registers_in_system_call
    registers_vector
    signal_alternate_stack
    signal_handlers
    signal_masks
    signal_on_alternate_stack
    signal_pending
    signal_pending_thread
    signalfd
    sleep_absolute
    sleep_relative
    socket_credentials
    socket_mailbox
    socket_mptcp
    socket_multicast
    socket_named
    socket_netlink
    socket_options
    socket_pair
    socket_queue
    socket_rights
    socket_shutdown
    socket_tcp
    socket_tcp_ending
    socket_tcp_full
    socket_tcp_urgent
    socket_tcp_waiting
    socket_udp
    socket_urgent
    socket_waiting
    stack_below_pointer
    stack_coroutines
    stack_growing
    stdio
    sysv_memory_moved
    sysv_messages
    sysv_semaphores
    sysv_shared_memory
    terminal_pair
    terminal_session
    thread_join
    thread_leader_ended
    thread_local_storage
    thread_priority_mutex
    thread_robust_mutex
    thread_rseq
    threads_many
    timer_descriptor
    timer_descriptor_cancelled
    timer_interval
    timer_interval_cpu
    timer_posix
    timer_posix_running
    wait_descriptor
    wait_for_signal
    wait_futex
    wait_futex_timeout
    wait_lock
    wait_poll_timeout
    wait_semaphore
}

/// Programs that are refused: tests/refused.rs.
const REFUSED: &[&str] = &[
    "fanotify",
    "inotify_nameless",
    "io_uring_buffers",
    "io_uring_eventfd",
    "io_uring_in_flight",
    "io_uring_registered",
    "memory_secret",
    "mqueue_notified",
    "pidfd_thread",
    "process_call_dispatch",
    "process_keyring",
    "process_not_dumpable",
    "process_sharing_memory",
    "process_sharing_siblings",
    "process_vfork_waiting",
    "socket_early",
    "terminal_unopened",
    "userfaultfd",
];

#[test]
fn what_does_not_come_back_is_told() -> Outcome {
    matrix::told("process_landlock", "landlock")
}

/// Programs of which a second checkpoint without a restart in between is refused.
const ONCE: &[&str] = &["socket_empty"];

#[test]
fn what_can_be_checkpointed_once_is() -> Outcome {
    ONCE.iter().try_for_each(|program| {
        let variants = [Variant::Alone, Variant::Damaged, Variant::Twice, Variant::Killed];
        variants
            .into_iter()
            .try_for_each(|variant| matrix::run(program, variant))
    })
}

#[test]
fn every_program_is_listed() -> Outcome {
    let mut listed: Vec<&str> = LISTED
        .iter()
        .copied()
        .chain(ONCE.iter().copied())
        .chain(REFUSED.iter().copied())
        .collect();
    listed.sort_unstable();
    ensure_equal!(programs::self_checking()?, listed, "programs in tests/programs");
    Ok(())
}
