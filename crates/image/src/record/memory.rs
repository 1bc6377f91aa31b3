/// The address space of a process. Its pages are in the page stream `stream`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct MemoryV1 {
    /// Page stream with the private pages, by virtual address.
    #[prost(uint32, tag = "1")]
    pub stream: u32,
    /// Mappings in address order.
    #[prost(message, repeated, tag = "2")]
    pub mappings: Vec<MappingV1>,
    /// Fields of `struct prctl_mm_map`.
    #[prost(message, optional, tag = "3")]
    pub layout: Option<LayoutV1>,
    /// Auxiliary vector, raw.
    #[prost(bytes = "vec", tag = "4")]
    pub auxv: Vec<u8>,
    /// Target of /proc/PID/exe.
    #[prost(message, optional, tag = "5")]
    pub exe: Option<FileIdentityV1>,
    /// Contents of the vdso, to notice another kernel.
    #[prost(bytes = "vec", tag = "6")]
    pub vdso: Vec<u8>,
    /// mlockall(2) flags that apply to future mappings.
    #[prost(uint32, tag = "7")]
    pub lock_future: u32,
    /// Guard regions (MADV_GUARD_INSTALL).
    #[prost(message, repeated, tag = "8")]
    pub guards: Vec<GuardV1>,
    /// Protection keys that the program has allocated (pkey_alloc(2)): bit N for key N.
    #[prost(uint32, tag = "20")]
    pub protection_keys: u32,
    /// Object that is the executable, when its file is deleted or replaced, or in a place that may be gone; else 0.
    #[prost(uint32, tag = "40")]
    pub exe_object: u32,
}

/// A guard region: pages that fault although their mapping allows access.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct GuardV1 {
    /// First address.
    #[prost(uint64, tag = "1")]
    pub start: u64,
    /// First address after it.
    #[prost(uint64, tag = "2")]
    pub end: u64,
}

/// Boundaries that the kernel knows of an address space (PR_SET_MM_MAP).
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct LayoutV1 {
    #[prost(uint64, tag = "1")]
    /// Code.
    pub start_code: u64,
    #[prost(uint64, tag = "2")]
    /// End of code.
    pub end_code: u64,
    #[prost(uint64, tag = "3")]
    /// Data.
    pub start_data: u64,
    #[prost(uint64, tag = "4")]
    /// End of data.
    pub end_data: u64,
    #[prost(uint64, tag = "5")]
    /// Start of the heap.
    pub start_brk: u64,
    #[prost(uint64, tag = "6")]
    /// Program break.
    pub brk: u64,
    #[prost(uint64, tag = "7")]
    /// Bottom of the main stack.
    pub start_stack: u64,
    #[prost(uint64, tag = "8")]
    /// Arguments.
    pub arg_start: u64,
    #[prost(uint64, tag = "9")]
    /// End of arguments.
    pub arg_end: u64,
    #[prost(uint64, tag = "10")]
    /// Environment.
    pub env_start: u64,
    #[prost(uint64, tag = "11")]
    /// End of environment.
    pub env_end: u64,
}

/// What backs a mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum Backing {
    /// Not set: refused.
    Unknown = 0,
    /// Private anonymous memory.
    Anonymous = 1,
    /// A file by path; private pages that differ from it are in the image.
    File = 2,
    /// A shared memory object of this image (`object`): shared anonymous memory, memfd, deleted file.
    Object = 3,
    /// The vdso.
    Vdso = 4,
    /// The kernel's data pages of the vdso (one or more mappings).
    Vvar = 5,
    /// A file that is deleted or whose contents changed, private: all pages are in the image, and it
    /// comes back as anonymous memory.
    SavedFile = 6,
    /// A System V shared memory segment of this image (`segment`).
    Segment = 30,
    /// The ring of a context of asynchronous I/O, whose contents are in `ring`.
    AioRing = 31,
    /// An area of an io_uring instance (`io_ring`).
    IoRing = 60,
}

/// One mapping (VMA).
#[derive(Clone, PartialEq, prost::Message)]
pub struct MappingV1 {
    /// First address.
    #[prost(uint64, tag = "1")]
    pub start: u64,
    /// First address after it.
    #[prost(uint64, tag = "2")]
    pub end: u64,
    /// PROT_ bits.
    #[prost(uint32, tag = "3")]
    pub protection: u32,
    /// MAP_SHARED or not.
    #[prost(bool, tag = "4")]
    pub shared: bool,
    /// What backs it.
    #[prost(enumeration = "Backing", tag = "5")]
    pub backing: i32,
    /// File, for `Backing::File` and `Backing::SavedFile`.
    #[prost(message, optional, tag = "6")]
    pub file: Option<FileIdentityV1>,
    /// Offset in the file or object, in bytes.
    #[prost(uint64, tag = "7")]
    pub offset: u64,
    /// Object number, for `Backing::Object`; for `Backing::File` when the contents of the file are in the image too.
    #[prost(uint32, tag = "8")]
    pub object: u32,
    /// VmFlags of /proc/PID/smaps (two-letter codes) that are restored: gd lo nr ht hg nh dc wf dd mg sr rr um …
    #[prost(string, repeated, tag = "9")]
    pub flags: Vec<String>,
    /// Size of a huge page in bytes for MAP_HUGETLB, else 0.
    #[prost(uint64, tag = "10")]
    pub huge_page: u64,
    /// Name given by PR_SET_VMA_ANON_NAME, or the kernel's label (`[heap]`, `[stack]`).
    #[prost(string, tag = "11")]
    pub label: String,
    /// Protection key.
    #[prost(uint32, tag = "12")]
    pub protection_key: u32,
    /// Identifier of the segment, for `Backing::Segment`.
    #[prost(int32, tag = "30")]
    pub segment: i32,
    /// A shared mapping that can never be written to: its file was open for reading only, or the segment attached with
    /// SHM_RDONLY.
    #[prost(bool, tag = "31")]
    pub read_only: bool,
    /// Contents, for `Backing::AioRing`.
    #[prost(bytes = "vec", tag = "32")]
    pub ring: Vec<u8>,
    /// For `Backing::IoRing`: inode of the instance (`RingV1.inode`).
    #[prost(uint64, tag = "60")]
    pub io_ring: u64,
    /// NUMA policy of its own (mbind(2)).
    #[prost(message, optional, tag = "20")]
    pub policy: Option<NumaPolicyV1>,
}

/// A NUMA policy (set_mempolicy(2)).
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct NumaPolicyV1 {
    /// MPOL_ number with its flags.
    #[prost(uint32, tag = "1")]
    pub mode: u32,
    /// Memory nodes, little-endian bit string.
    #[prost(bytes = "vec", tag = "2")]
    pub nodes: Vec<u8>,
}

/// A file as it was at the checkpoint.
#[derive(Clone, PartialEq, prost::Message)]
pub struct FileIdentityV1 {
    /// Absolute path.
    #[prost(bytes = "vec", tag = "1")]
    pub path: Vec<u8>,
    /// Device.
    #[prost(uint64, tag = "2")]
    pub dev: u64,
    /// Inode number.
    #[prost(uint64, tag = "3")]
    pub ino: u64,
    /// Size in bytes.
    #[prost(uint64, tag = "4")]
    pub size: u64,
    /// Modification time in nanoseconds since the epoch.
    #[prost(int64, tag = "5")]
    pub mtime_ns: i64,
    /// Mode bits with file type.
    #[prost(uint32, tag = "6")]
    pub mode: u32,
    /// GNU build id, for ELF files; empty otherwise.
    #[prost(bytes = "vec", tag = "7")]
    pub build_id: Vec<u8>,
    /// Access time in nanoseconds since the epoch; 0 when it was not asked for.
    #[prost(int64, tag = "8")]
    pub atime_ns: i64,
    /// When it was made, in nanoseconds since the epoch; 0 when the file system does not tell.
    #[prost(int64, tag = "9")]
    pub born_ns: i64,
}

/// An extended attribute of a file.
#[derive(Clone, PartialEq, prost::Message)]
pub struct AttributeV1 {
    /// Name, with its prefix `user.`.
    #[prost(bytes = "vec", tag = "1")]
    pub name: Vec<u8>,
    /// Value.
    #[prost(bytes = "vec", tag = "2")]
    pub value: Vec<u8>,
}

/// A shared memory object whose contents are in the image, in page stream `stream` by offset.
#[derive(Clone, PartialEq, prost::Message)]
pub struct SharedObjectV1 {
    /// Number within the image.
    #[prost(uint32, tag = "1")]
    pub object: u32,
    /// Page stream.
    #[prost(uint32, tag = "2")]
    pub stream: u32,
    /// Size in bytes.
    #[prost(uint64, tag = "3")]
    pub size: u64,
    /// Made by memfd_create (then it has a name and seals) and not by an anonymous shared mapping.
    #[prost(bool, tag = "4")]
    pub memfd: bool,
    /// Name of the memfd.
    #[prost(bytes = "vec", tag = "5")]
    pub name: Vec<u8>,
    /// F_GET_SEALS, 0 when there are none.
    #[prost(uint32, tag = "6")]
    pub seals: u32,
    /// Huge page size in bytes, or 0.
    #[prost(uint64, tag = "7")]
    pub huge_page: u64,
    /// A deleted file outside of shared memory: made again unlinked in the same folder.
    #[prost(message, optional, tag = "8")]
    pub ghost: Option<FileIdentityV1>,
    /// The file has its name (in `ghost`): where it is still there, it is used, else it is made again.
    #[prost(bool, tag = "9")]
    pub named: bool,
    /// Permissions of a memfd; 0 when they are not known.
    #[prost(uint32, tag = "10")]
    pub mode: u32,
    /// Extended attributes of the user.
    #[prost(message, repeated, tag = "11")]
    pub attributes: Vec<AttributeV1>,
    /// The folders in which a named file is, from the top: they are made again where they are gone.
    #[prost(message, repeated, tag = "12")]
    pub folders: Vec<super::FolderV1>,
    /// Mapped so that its contents can change without its modification time.
    #[prost(bool, tag = "13")]
    pub mapped_writable: bool,
    /// The program could write to it, through a descriptor or a shared mapping.
    #[prost(bool, tag = "14")]
    pub writable: bool,
    /// This name was deleted, but the file had another one, which was not found.
    #[prost(bool, tag = "15")]
    pub linked_elsewhere: bool,
    /// It is mapped privately, so that its contents must be those that it had.
    #[prost(bool, tag = "16")]
    pub mapped_private: bool,
    /// The named file is in no volatile place, but small: its contents are for the case that it is gone or replaced.
    #[prost(bool, tag = "17")]
    pub spare: bool,
}
