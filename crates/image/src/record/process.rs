use super::{DescriptorV1, MemoryV1, NumaPolicyV1, PathFolderV1};

/// One process with its threads. Pids are those that the program sees.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ProcessV1 {
    /// Process id.
    #[prost(int32, tag = "1")]
    pub pid: i32,
    /// Parent's pid; 0 when the parent is outside of the computation.
    #[prost(int32, tag = "2")]
    pub ppid: i32,
    /// Process group; 0 when it is the launcher's.
    #[prost(int32, tag = "3")]
    pub pgid: i32,
    /// Session; 0 when it is the launcher's.
    #[prost(int32, tag = "4")]
    pub sid: i32,
    /// Signal sent to the parent at exit.
    #[prost(int32, tag = "5")]
    pub exit_signal: i32,
    /// Threads, the leader first.
    #[prost(message, repeated, tag = "6")]
    pub threads: Vec<ThreadV1>,
    /// Address space.
    #[prost(message, optional, tag = "7")]
    pub memory: Option<MemoryV1>,
    /// Descriptor table.
    #[prost(message, repeated, tag = "8")]
    pub descriptors: Vec<DescriptorV1>,
    /// Current folder and root.
    #[prost(message, optional, tag = "9")]
    pub folders: Option<PathFolderV1>,
    /// Signal actions, for signals 1 to 64 in order.
    #[prost(message, repeated, tag = "10")]
    pub actions: Vec<SignalActionV1>,
    /// Signals pending for the whole process: raw siginfo (128 bytes each), in queue order.
    #[prost(bytes = "vec", repeated, tag = "11")]
    pub pending: Vec<Vec<u8>>,
    /// ITIMER_REAL, ITIMER_VIRTUAL, ITIMER_PROF.
    #[prost(message, repeated, tag = "12")]
    pub interval_timers: Vec<IntervalTimerV1>,
    /// POSIX timers.
    #[prost(message, repeated, tag = "13")]
    pub posix_timers: Vec<PosixTimerV1>,
    /// Resource limits by number (RLIMIT_CPU = 0 …).
    #[prost(message, repeated, tag = "14")]
    pub limits: Vec<LimitV1>,
    /// /proc/PID/oom_score_adj.
    #[prost(int32, tag = "15")]
    pub oom_score_adj: i32,
    /// personality(2).
    #[prost(uint32, tag = "16")]
    pub personality: u32,
    /// PR_GET_DUMPABLE.
    #[prost(uint32, tag = "17")]
    pub dumpable: u32,
    /// PR_GET_CHILD_SUBREAPER.
    #[prost(bool, tag = "18")]
    pub child_subreaper: bool,
    /// Object that is the current folder, when it is deleted; else 0.
    #[prost(uint32, tag = "35")]
    pub deleted_folder: u32,
    /// The current folder and those above it, when it is in a volatile place: made again when they are gone.
    #[prost(message, repeated, tag = "36")]
    pub volatile_folders: Vec<super::FolderV1>,
    /// PR_GET_THP_DISABLE.
    #[prost(bool, tag = "19")]
    pub thp_disabled: bool,
    /// /proc/PID/coredump_filter.
    #[prost(uint32, tag = "20")]
    pub coredump_filter: u32,
    /// Stopped by a stop signal (its number), 0 when it ran.
    #[prost(int32, tag = "21")]
    pub stopped_by: i32,
    /// A process that has ended and was not yet waited for: its raw wait status. Of such a process only its
    /// numbers, exit signal and name are kept.
    #[prost(int32, optional, tag = "22")]
    pub zombie_status: Option<i32>,
    /// Umask.
    #[prost(uint32, tag = "23")]
    pub umask: u32,
    /// Autogroup nice etc. are not saved; membarrier registrations are (MEMBARRIER_CMD_GET_REGISTRATIONS).
    #[prost(uint32, tag = "24")]
    pub membarrier: u32,
    /// Foreign tag for a reader: PR_GET_MDWE bits.
    #[prost(uint32, tag = "25")]
    pub memory_deny_write_execute: u32,
    /// PR_GET_MEMORY_MERGE.
    #[prost(bool, tag = "26")]
    pub memory_merge: bool,
    /// Features of the extended state that the process has asked for (ARCH_GET_XCOMP_PERM of arch_prctl(2)): AMX.
    #[prost(uint64, tag = "29")]
    pub extended_features: u64,
    /// Name (comm) of a process that has ended; others have it in their threads.
    #[prost(bytes = "vec", tag = "27")]
    pub zombie_name: Vec<u8>,
    /// Its parent has been told, by wait(2), that it was stopped.
    #[prost(bool, tag = "28")]
    pub stop_was_waited_for: bool,
    /// The process whose descriptor table it shares (CLONE_FILES): the first of those that do; 0 for none.
    #[prost(int32, tag = "41")]
    pub descriptors_of: i32,
    /// The process whose current folder, root and umask it shares (CLONE_FS), in the same way.
    #[prost(int32, tag = "42")]
    pub folders_of: i32,
    /// PR_GET_THP_DISABLE, with its flags (Linux 6.18); `thp_disabled` says the same without them.
    #[prost(uint32, tag = "40")]
    pub thp_disable: u32,
    /// The current folder, when it is one of /proc that tells of a process.
    #[prost(message, optional, tag = "90")]
    pub proc_folder: Option<super::ProcFileV1>,
    /// It had restricted itself by landlock(7), as far as could be seen. The restrictions themselves are shown nowhere.
    #[prost(bool, tag = "91")]
    pub landlocked: bool,
}

/// One thread.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ThreadV1 {
    /// Thread id.
    #[prost(int32, tag = "1")]
    pub tid: i32,
    /// General registers: `struct user_regs_struct` of the architecture, with the interrupted call already
    /// arranged to be restarted.
    #[prost(bytes = "vec", tag = "2")]
    pub registers: Vec<u8>,
    /// Extended state in the standard (not compacted) XSAVE layout, as NT_X86_XSTATE gives it.
    #[prost(bytes = "vec", tag = "3")]
    pub xstate: Vec<u8>,
    /// Blocked signals.
    #[prost(uint64, tag = "4")]
    pub blocked: u64,
    /// Signals pending for this thread: raw siginfo (128 bytes each), in queue order.
    #[prost(bytes = "vec", repeated, tag = "5")]
    pub pending: Vec<Vec<u8>>,
    /// Alternate signal stack: `stack_t` (24 bytes).
    #[prost(bytes = "vec", tag = "6")]
    pub alternate_stack: Vec<u8>,
    /// clear_child_tid address.
    #[prost(uint64, tag = "7")]
    pub tid_address: u64,
    /// Robust futex list: head and length.
    #[prost(uint64, tag = "8")]
    pub robust_list: u64,
    /// Length given to set_robust_list.
    #[prost(uint64, tag = "9")]
    pub robust_list_len: u64,
    /// Restartable sequences registration; address 0 when there is none.
    #[prost(message, optional, tag = "10")]
    pub rseq: Option<RseqV1>,
    /// Name (comm), at most 15 bytes.
    #[prost(bytes = "vec", tag = "11")]
    pub comm: Vec<u8>,
    /// Scheduling.
    #[prost(message, optional, tag = "12")]
    pub scheduling: Option<SchedulingV1>,
    /// Credentials.
    #[prost(message, optional, tag = "13")]
    pub credentials: Option<CredentialsV1>,
    /// PR_GET_PDEATHSIG.
    #[prost(int32, tag = "14")]
    pub parent_death_signal: i32,
    /// PR_GET_NO_NEW_PRIVS.
    #[prost(bool, tag = "15")]
    pub no_new_privs: bool,
    /// A timed call that the freeze interrupted; it goes on with what is left.
    #[prost(message, optional, tag = "16")]
    pub interrupted: Option<InterruptedCallV1>,
    /// Current folder and root of its own (unshare(2), CLONE_FS).
    #[prost(message, optional, tag = "24")]
    pub folders: Option<PathFolderV1>,
    /// Umask of its own, if it has folders of its own.
    #[prost(uint32, tag = "25")]
    pub umask: u32,
    /// NUMA policy; none is the machine's default.
    #[prost(message, optional, tag = "20")]
    pub memory_policy: Option<NumaPolicyV1>,
    /// PR_GET_TSC; 0 stands for PR_TSC_ENABLE.
    #[prost(uint32, tag = "21")]
    pub timestamp_counter: u32,
    /// PR_MCE_KILL_GET and 1; 0 stands for the machine's default.
    #[prost(uint32, tag = "22")]
    pub machine_check: u32,
}

/// A system call with a relative time-out that was interrupted by the freeze. At restart the call is made
/// again with the remaining time, so that a sleep ends when it would have ended.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct InterruptedCallV1 {
    /// System call number.
    #[prost(uint64, tag = "1")]
    pub number: u64,
    /// Nanoseconds that were left.
    #[prost(uint64, tag = "2")]
    pub remaining_ns: u64,
}

/// struct rseq registration (PTRACE_GET_RSEQ_CONFIGURATION, Linux 5.13).
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct RseqV1 {
    /// Address of struct rseq.
    #[prost(uint64, tag = "1")]
    pub address: u64,
    /// Its size.
    #[prost(uint32, tag = "2")]
    pub size: u32,
    /// Abort signature.
    #[prost(uint32, tag = "3")]
    pub signature: u32,
    /// Registration flags.
    #[prost(uint32, tag = "4")]
    pub flags: u32,
}

/// Scheduling of a thread.
#[derive(Clone, PartialEq, prost::Message)]
pub struct SchedulingV1 {
    /// SCHED_OTHER = 0, …
    #[prost(uint32, tag = "1")]
    pub policy: u32,
    /// Nice value.
    #[prost(int32, tag = "2")]
    pub nice: i32,
    /// Real-time priority.
    #[prost(uint32, tag = "3")]
    pub priority: u32,
    /// CPU affinity mask, little-endian bit string.
    #[prost(bytes = "vec", tag = "4")]
    pub affinity: Vec<u8>,
    /// The thread could use every CPU of its machine (then it gets all of the next one too).
    #[prost(bool, tag = "5")]
    pub all_cpus: bool,
    /// I/O priority (ioprio_get).
    #[prost(uint32, tag = "6")]
    pub io_priority: u32,
    /// Timer slack in nanoseconds.
    #[prost(uint64, tag = "7")]
    pub timer_slack_ns: u64,
    /// SCHED_FLAG_RESET_ON_FORK and others.
    #[prost(uint64, tag = "8")]
    pub flags: u64,
}

/// Credentials of a thread.
#[derive(Clone, PartialEq, prost::Message)]
pub struct CredentialsV1 {
    /// Real, effective, saved, file-system uid.
    #[prost(uint32, repeated, tag = "1")]
    pub uids: Vec<u32>,
    /// Real, effective, saved, file-system gid.
    #[prost(uint32, repeated, tag = "2")]
    pub gids: Vec<u32>,
    /// Supplementary groups.
    #[prost(uint32, repeated, tag = "3")]
    pub groups: Vec<u32>,
    /// Capability sets: inheritable, permitted, effective, bounding, ambient.
    #[prost(uint64, repeated, tag = "4")]
    pub capabilities: Vec<u64>,
    /// Secure bits.
    #[prost(uint32, tag = "5")]
    pub secure_bits: u32,
}

/// `struct sigaction` as the kernel keeps it.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct SignalActionV1 {
    /// SIG_DFL, SIG_IGN, or address.
    #[prost(uint64, tag = "1")]
    pub handler: u64,
    /// SA_ flags.
    #[prost(uint64, tag = "2")]
    pub flags: u64,
    /// Restorer address.
    #[prost(uint64, tag = "3")]
    pub restorer: u64,
    /// Signals blocked in the handler.
    #[prost(uint64, tag = "4")]
    pub mask: u64,
}

/// setitimer(2) state.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct IntervalTimerV1 {
    /// Time left, in microseconds.
    #[prost(uint64, tag = "1")]
    pub value_us: u64,
    /// Interval, in microseconds.
    #[prost(uint64, tag = "2")]
    pub interval_us: u64,
}

/// timer_create(2) state.
#[derive(Clone, PartialEq, prost::Message)]
pub struct PosixTimerV1 {
    /// Kernel timer id.
    #[prost(int32, tag = "1")]
    pub id: i32,
    /// Clock.
    #[prost(int32, tag = "2")]
    pub clock: i32,
    /// SIGEV_ kind.
    #[prost(int32, tag = "3")]
    pub notify: i32,
    /// Signal.
    #[prost(int32, tag = "4")]
    pub signal: i32,
    /// sigev_value.
    #[prost(uint64, tag = "5")]
    pub value: u64,
    /// Thread to notify (SIGEV_THREAD_ID).
    #[prost(int32, tag = "6")]
    pub thread: i32,
    /// Time left in nanoseconds; 0 when disarmed.
    #[prost(uint64, tag = "7")]
    pub remaining_ns: u64,
    /// Interval in nanoseconds.
    #[prost(uint64, tag = "8")]
    pub interval_ns: u64,
}

/// One resource limit; `u64::MAX` is infinity.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct LimitV1 {
    /// Soft limit.
    #[prost(uint64, tag = "1")]
    pub soft: u64,
    /// Hard limit.
    #[prost(uint64, tag = "2")]
    pub hard: u64,
}
