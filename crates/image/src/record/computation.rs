use super::{FolderV1, OutsideTerminalV1};

/// What the image is of: one record per image.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ComputationV1 {
    /// Random identity of the computation, the same in all its checkpoints; 16 lower-case hex digits.
    #[prost(string, tag = "1")]
    pub id: String,
    /// The command line, as given to the kernel (not necessarily UTF-8).
    #[prost(bytes = "vec", repeated, tag = "2")]
    pub command: Vec<Vec<u8>>,
    /// Folder in which the program was started.
    #[prost(bytes = "vec", tag = "3")]
    pub start_folder: Vec<u8>,
    /// Process whose end is the end of the computation; its pid as the program sees it.
    #[prost(int32, tag = "4")]
    pub main_pid: i32,
    /// Where and when the checkpoint was taken.
    #[prost(message, optional, tag = "5")]
    pub taken: Option<TakenV1>,
    /// The clocks at the freeze.
    #[prost(message, optional, tag = "6")]
    pub clocks: Option<ClocksV1>,
    /// User and groups of the computation.
    #[prost(uint32, tag = "7")]
    pub uid: u32,
    /// Group of the computation.
    #[prost(uint32, tag = "8")]
    pub gid: u32,
    /// CPU features that the frozen program may depend on (`XCR0` mask of the saved extended state).
    #[prost(uint64, tag = "9")]
    pub xfeatures: u64,
    /// Flags of /proc/cpuinfo of the machine, sorted, for the check at restart.
    #[prost(string, repeated, tag = "10")]
    pub cpu_flags: Vec<String>,
    /// Size in bytes of the extended state in use by the threads.
    #[prost(uint32, tag = "11")]
    pub xstate_size: u32,
    /// The program already ran in namespaces of its own when the checkpoint was taken.
    #[prost(bool, tag = "12")]
    pub isolated: bool,
    /// How long all threads stood still, in nanoseconds, as far as it was known when this was written.
    #[prost(uint64, tag = "13")]
    pub pause_ns: u64,
    /// The main process had ended (others go on): its raw wait status, or -1 where the kernel did not tell.
    #[prost(int32, optional, tag = "14")]
    pub main_status: Option<i32>,
    /// The number of the process outside that orphans and the main process see as their parent (getppid(2)); 0 or 1
    /// for the init of the program's namespaces.
    #[prost(int32, tag = "15")]
    pub parent_pid: i32,
    /// The terminal that it has from its launcher.
    #[prost(message, optional, tag = "25")]
    pub terminal: Option<OutsideTerminalV1>,
    /// Folders that lie beside what the program has open in volatile places: made again when they are gone.
    #[prost(message, repeated, tag = "100")]
    pub neighbours: Vec<FolderV1>,
}

/// Where and when a checkpoint was taken.
#[derive(Clone, PartialEq, prost::Message)]
pub struct TakenV1 {
    /// Host name.
    #[prost(string, tag = "1")]
    pub host: String,
    /// /proc/sys/kernel/random/boot_id.
    #[prost(string, tag = "2")]
    pub boot_id: String,
    /// Kernel release, as `uname -r`.
    #[prost(string, tag = "3")]
    pub kernel: String,
    /// Seconds since the epoch.
    #[prost(int64, tag = "4")]
    pub unix_seconds: i64,
    /// Version of rethaw.
    #[prost(string, tag = "5")]
    pub rethaw: String,
    /// Model name of the processor.
    #[prost(string, tag = "6")]
    pub cpu_model: String,
    /// Slurm job id, or empty.
    #[prost(string, tag = "7")]
    pub slurm_job: String,
    /// IP addresses of the node.
    #[prost(string, repeated, tag = "8")]
    pub addresses: Vec<String>,
}

/// Clock readings in nanoseconds, as the program saw them (inside its time namespace).
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct ClocksV1 {
    /// CLOCK_REALTIME.
    #[prost(int64, tag = "1")]
    pub realtime_ns: i64,
    /// CLOCK_MONOTONIC.
    #[prost(int64, tag = "2")]
    pub monotonic_ns: i64,
    /// CLOCK_BOOTTIME.
    #[prost(int64, tag = "3")]
    pub boottime_ns: i64,
}
