//! What cannot be checkpointed is refused by a sentence that says what it is, which process has it where, and what to do;
//! `rethaw check` says the same; the program runs on unharmed, and no image is left. The list of all refusals with their
//! tests is in docs/kernel.md.
#![forbid(unsafe_code)]

use rethaw_harness::Outcome;
use rethaw_harness::matrix::Refusal;

/// A test for each: name, program, kind, what it is called, the beginning of where it is; `second` where something else is
/// refused before it.
macro_rules! refusals {
    ($($name:ident: $program:literal $kind:literal, $what:literal, $place:literal $(, $second:ident)?;)*) => {
        $(#[test]
        fn $name() -> Outcome {
            let second: &[&str] = &[$(stringify!($second))?];
            Refusal { name: stringify!($name), program: $program, kind: $kind, what: $what, place: $place, second: !second.is_empty() }.is_told()
        })*
    };
}

refusals! {
    fanotify: "refused-files" "fanotify", "a fanotify instance", "descriptor ";
    kernel_object: "refused-files" "kernel-object", "a kernel object (anon_inode:[landlock-ruleset])", "descriptor ";
    perf: "refused-files" "perf", "a performance counter (perf)", "descriptor ";
    userfaultfd: "refused-files" "userfaultfd", "a userfaultfd instance", "descriptor ";
    userfaultfd_mapping: "refused-files" "userfaultfd", "a userfaultfd mapping", "address 0x", second;
    secret_memory: "refused-files" "secret-memory", "secret memory (memfd_secret)", "descriptor ";
    file_system_in_the_making: "refused-files" "file-system-in-the-making", "a mount in the making (fsopen)",
        "descriptor ", second;
    kvm: "refused-files" "kvm", "a virtual machine (KVM)", "descriptor ";
    bpf: "refused-files" "bpf", "a BPF object", "descriptor ";
    device: "refused-files" "device", "a device", "descriptor ";
    block_device: "refused-files" "block-device", "a block device", "descriptor ";
    deleted_socket: "refused-files" "deleted-socket", "a deleted file of an unusual type", "descriptor ";
    covered_file: "refused-files" "covered", "a file whose name leads to another file by now", "descriptor ", second;
    covered_mapping: "refused-files" "covered", "a shared mapping of a file whose name leads to another file",
        "address 0x", second;
    covered_folder: "refused-files" "covered", "a current folder whose name leads to another one", "current folder";
    folder_of_outside: "refused-files" "folder-of-outside", "a current folder", "current folder";
    file_of_outside: "refused-files" "file-of-outside", "a file of /proc about a process outside", "descriptor ";
    file_of_thread: "refused-files" "file-of-thread", "a file of /proc about a single thread", "descriptor ";
    namespace_left: "refused-files" "namespace-left", "a namespace that the process is not in", "descriptor ", second;
    pidfd_of_thread: "refused-files" "pidfd-of-thread", "a pidfd of a single thread", "descriptor ";
    pidfd_of_ended_thread: "pidfd_thread" "", "thread", "descriptor ";
    pidfd_of_outside: "refused-files" "pidfd-of-outside", "a pidfd of a process outside", "descriptor ";
    epoll_of_closed: "refused-files" "epoll-of-closed", "an epoll instance that watches a file", "descriptor ";
    pipe_from_outside: "refused-files" "pipe-from-outside", "a pipe whose other end writes outside", "descriptor ";
    pipe_to_outside: "refused-files" "pipe-to-outside", "a pipe whose other end reads outside", "descriptor ";
    inotify_nameless: "inotify_nameless" "", "whose path was not found", "descriptor ";
    io_uring_in_flight: "io_uring_in_flight" "", "operations in flight", "descriptor ";
    io_uring_eventfd: "io_uring_eventfd" "", "a registered eventfd", "descriptor ";
    io_uring_buffers: "io_uring_buffers" "", "provided buffers", "descriptor ";
    io_uring_registered: "io_uring_registered" "", "a registered io_uring descriptor", "thread ";
    message_queue: "mqueue_notified" "", "(mq_notify)", "descriptor ";
    fanotify_marked: "fanotify" "", "fanotify", "descriptor ";
    userfaultfd_used: "userfaultfd" "", "userfaultfd", "descriptor ";
    secret_used: "memory_secret" "", "secret memory", "";

    mapping_secret: "refused-memory" "secret", "secret memory (memfd_secret)", "address 0x";
    mapping_of_device: "refused-memory" "of-device", "a mapping of a device", "address 0x";
    no_stack: "refused-memory" "no-stack", "no main stack", "memory map";
    protected_stack: "refused-memory" "protected-stack", "a main stack that it cannot write to", "memory map";
    thirty_two_bits: "refused-memory" "thirty-two-bits", "a 32-bit program", "thread ";

    keyring: "process_keyring" "", "keyring", "";
    seccomp: "refused-processes" "seccomp", "seccomp in force", "seccomp";
    own_users: "refused-processes" "own-mounts", "user ids of its own", "namespace user:";
    own_network: "refused-processes" "own-network", "user ids of its own", "namespace user:";
    root_folder: "refused-processes" "root-folder", "a root folder of its own", "root folder", second;
    folder_of_siblings: "refused-processes" "folder-of-siblings", "shares its current folder", "shared with process ";
    descriptors_of_thread: "refused-processes" "descriptors-of-thread", "a thread with descriptors of its own", "thread ";
    folder_of_threads: "refused-processes" "folder-of-threads", "two threads that share a current folder", "thread ";
    traced: "refused-processes" "traced", "is traced by process", "";
    main_thread_ended: "refused-processes" "main-thread-ended", "has unmapped its vdso", "main thread";
    segment_outside: "refused-processes" "segment-outside", "outside of the computation has attached", "segment ";
    segment_forbidden: "refused-processes" "segment-forbidden", "may not ask for", "segment ";
    segment_of_reaper: "refused-processes" "segment-of-reaper", "that no process has attached", "segment ";
    own_ipc: "refused-processes" "own-ipc", "System V IPC of their own", "IPC namespace", second;
    long_queue: "refused-processes" "long-queue", "more bytes than one takes", "message queue ";
    long_message: "refused-processes" "long-message", "longer than one may be", "message queue ";
    call_dispatch: "process_call_dispatch" "", "syscall user dispatch", "thread ";
    not_dumpable: "process_not_dumpable" "", "not dumpable", "the process itself";
    sharing_memory: "process_sharing_memory" "", "shares its memory", "shared with process ";
    sharing_descriptors: "process_sharing_siblings" "", "shares its descriptors", "shared with process ";
    vfork_waiting: "process_vfork_waiting" "", "a child made by vfork", "thread ";

    packet: "refused-sockets" "packet", "a packet socket", "descriptor ", second;
    icmp: "refused-sockets" "icmp", "an internet socket of protocol", "descriptor ", second;
    vsock: "refused-sockets" "vsock", "a vsock socket", "descriptor ";
    other_family: "refused-sockets" "other-family", "a socket of address family", "descriptor ";
    filter: "refused-sockets" "filter", "a socket with an eBPF filter", "descriptor ";
    mptcp: "refused-sockets" "mptcp", "an MPTCP connection", "descriptor ";
    mptcp_waiting: "refused-sockets" "mptcp-waiting", "an MPTCP socket with connections", "descriptor ";
    tcp_with_itself: "refused-sockets" "tcp-with-itself", "a TCP connection of a socket with itself", "descriptor ";
    tcp_error: "refused-sockets" "tcp-error", "a TCP connection with an error", "descriptor ";
    tcp_early: "refused-sockets" "tcp-early", "has not accepted yet, with bytes in it", "descriptor ";
    tcp_early_and_closed: "refused-sockets" "tcp-early-and-closed", "that it has not accepted yet, with bytes in it",
        "descriptor ";
    tcp_from_outside: "refused-sockets" "tcp-from-outside", "outside of the computation, that is not accepted yet",
        "descriptor ";
    udp_incomplete: "refused-sockets" "udp-incomplete", "a UDP socket with a message that is not complete", "descriptor ";
    multicast: "refused-sockets" "multicast", "only some senders of the multicast group 232.1.2.3", "descriptor ";
    netlink: "refused-sockets" "netlink", "a netlink socket with a message", "descriptor ";
    unix_error: "refused-sockets" "unix-error", "a socket with an error", "descriptor ";
    unix_error_before_message: "refused-sockets" "unix-error-before-message", "a socket with an error", "descriptor ";
    unix_closed_early: "refused-sockets" "unix-closed-early", "that was closed before it was accepted", "descriptor ";
    unix_from_outside: "refused-sockets" "unix-from-outside", "a connection from outside of the computation",
        "descriptor ";
    unix_early: "socket_early" "", "on which something was sent", "descriptor ";
    unix_empty_again: "socket_empty" "", "a socket in which empty messages wait", "descriptor ";
    unix_of_other_network: "refused-sockets" "unix-of-other-network", "a Unix socket of another network namespace",
        "descriptor ", second;

    terminal_hung_up: "refused-terminals" "hung-up-as-tty", "a terminal that has hung up, opened as /dev/tty",
        "descriptor ";
    terminal_not_own: "refused-terminals" "not-own-any-more", "/dev/tty of a terminal that is not the process's own",
        "descriptor ";
    terminal_discipline: "refused-terminals" "discipline", "a line discipline of its own", "descriptor ";
    terminal_exclusive: "refused-terminals" "exclusive", "a terminal in exclusive mode", "descriptor ";
    terminal_control_byte: "refused-terminals" "control-byte", "a control byte that was not read yet", "descriptor ";
    terminal_session_outside: "refused-terminals" "session-outside", "the controlling terminal of a session outside",
        "descriptor ";
    terminal_unopened: "terminal_unopened" "", "whose slave was not opened yet", "descriptor ";
}
