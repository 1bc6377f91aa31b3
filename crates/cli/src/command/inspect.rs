//! `rethaw inspect`: what is in an image.

use crate::duration::show_bytes;
use crate::failure::{Failure, Result};
use crate::message;
use crate::options::InspectArgs;
use crate::state::{Text, show_command};
use rethaw_image::record::{
    Backing, ComputationV1, DescriptionKind, DescriptionV1, MappingV1, MessageQueueV1, PipeV1, ProcessV1,
    SegmentV1, SemaphoreSetV1, SharedObjectV1,
};
use rethaw_image::{Folder, ImageReader, SectionKind};
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

#[derive(Serialize)]
struct Report {
    #[serde(serialize_with = "crate::state::path_as_text::serialize")]
    image: PathBuf,
    computation: String,
    generation: u64,
    command: Vec<Text>,
    start_folder: Text,
    taken: Option<Taken>,
    pause_ms: f64,
    sizes: Sizes,
    processes: Vec<Process>,
    /// Bytes of address space by kind, over all processes.
    memory: BTreeMap<&'static str, u64>,
    shared_objects: usize,
    pipes: usize,
    system_v_ipc: usize,
    descriptors: Vec<Descriptor>,
}

#[derive(Serialize)]
struct Taken {
    host: String,
    kernel: String,
    cpu_model: String,
    unix_seconds: i64,
    rethaw: String,
    slurm_job: String,
}

#[derive(Serialize)]
struct Sizes {
    file: u64,
    records: u64,
    data_pages: u64,
    zero_pages: u64,
    stored_pages: u64,
}

#[derive(Serialize)]
struct Process {
    pid: i32,
    parent: i32,
    name: String,
    threads: Vec<Thread>,
    mappings: usize,
    memory: BTreeMap<&'static str, u64>,
    descriptors: usize,
    cwd: String,
    zombie: bool,
}

#[derive(Serialize)]
struct Thread {
    tid: i32,
    name: String,
}

#[derive(Serialize)]
struct Descriptor {
    kind: &'static str,
    what: String,
    /// Where it is open, as "pid:fd".
    open: Vec<String>,
}

/// See the module.
pub fn inspect(args: &InspectArgs) -> Result<ExitCode> {
    let report = look(&image_of(&args.image)?)?;
    if args.json {
        message::print_json(&report);
    } else {
        message::print(&show(&report));
    }
    Ok(ExitCode::SUCCESS)
}

fn image_of(path: &Path) -> Result<PathBuf> {
    if !path.is_dir() {
        return Ok(path.to_path_buf());
    }
    let newest = Folder::open(path)?.generations()?.into_iter().next();
    let image = newest.and_then(|newest| newest.images.into_iter().next());
    let none = || Failure::said(format!("there is no complete checkpoint in {}", path.display()));
    Ok(image.ok_or_else(none)?.path)
}

fn look(path: &Path) -> Result<Report> {
    let reader = ImageReader::open(path)?;
    let none = || Failure::said(format!("{} is of nothing", path.display()));
    let computation: ComputationV1 = reader.records(SectionKind::Computation)?.pop().ok_or_else(none)?;
    let processes: Vec<ProcessV1> = reader.records(SectionKind::Process)?;
    let descriptions: Vec<DescriptionV1> = reader.records(SectionKind::Description)?;
    let processes_shown: Vec<Process> = processes.iter().map(look_at_process).collect();
    Ok(Report {
        image: path.to_path_buf(),
        computation: reader.identity().computation.clone(),
        generation: reader.identity().generation,
        command: computation.command.iter().map(|word| Text::new(word)).collect(),
        start_folder: Text::new(&computation.start_folder),
        taken: computation.taken.map(|taken| Taken {
            host: taken.host,
            kernel: taken.kernel,
            cpu_model: taken.cpu_model,
            unix_seconds: taken.unix_seconds,
            rethaw: taken.rethaw,
            slurm_job: taken.slurm_job,
        }),
        pause_ms: computation.pause_ns as f64 / 1e6,
        sizes: sizes(&reader)?,
        memory: add_up(processes_shown.iter().map(|process| &process.memory)),
        processes: processes_shown,
        shared_objects: reader.records::<SharedObjectV1>(SectionKind::SharedObject)?.len(),
        pipes: reader.records::<PipeV1>(SectionKind::Pipe)?.len(),
        system_v_ipc: reader.records::<SegmentV1>(SectionKind::Segment)?.len()
            + reader.records::<SemaphoreSetV1>(SectionKind::SemaphoreSet)?.len()
            + reader.records::<MessageQueueV1>(SectionKind::MessageQueue)?.len(),
        descriptors: descriptions
            .iter()
            .map(|one| look_at_description(one, &processes))
            .collect(),
    })
}

fn sizes(reader: &ImageReader) -> Result<Sizes> {
    let sizes = reader.sizes()?;
    Ok(Sizes {
        file: sizes.file,
        records: sizes.sections.iter().map(|section| section.bytes).sum(),
        data_pages: sizes.streams.iter().map(|stream| stream.data_bytes).sum(),
        zero_pages: sizes.streams.iter().map(|stream| stream.zero_bytes).sum(),
        stored_pages: sizes.streams.iter().map(|stream| stream.stored_bytes).sum(),
    })
}

fn look_at_process(process: &ProcessV1) -> Process {
    let mappings = process
        .memory
        .as_ref()
        .map(|memory| &memory.mappings[..])
        .unwrap_or_default();
    let threads: Vec<Thread> = process
        .threads
        .iter()
        .map(|thread| Thread {
            tid: thread.tid,
            name: lossy(&thread.comm),
        })
        .collect();
    Process {
        pid: process.pid,
        parent: process.ppid,
        name: threads
            .first()
            .map(|leader| leader.name.clone())
            .unwrap_or_default(),
        threads,
        mappings: mappings.len(),
        memory: add_up(mappings.iter().map(kind_of_memory)),
        descriptors: process.descriptors.len(),
        cwd: process
            .folders
            .as_ref()
            .map(|folders| lossy(&folders.cwd))
            .unwrap_or_default(),
        zombie: process.zombie_status.is_some(),
    }
}

fn kind_of_memory(mapping: &MappingV1) -> BTreeMap<&'static str, u64> {
    let kind = match (Backing::try_from(mapping.backing), mapping.label.as_str()) {
        (_, "[heap]") => "heap",
        (_, "[stack]") => "stack",
        _ if mapping.huge_page > 0 => "huge pages",
        (Ok(Backing::Anonymous), _) if mapping.protection == 0 => "guard",
        (Ok(Backing::Anonymous), _) => "anonymous",
        (Ok(Backing::File), _) if mapping.shared => "shared file",
        (Ok(Backing::File | Backing::SavedFile), _) => "private file",
        (Ok(Backing::Object | Backing::Segment | Backing::AioRing | Backing::IoRing), _) => "shared memory",
        (Ok(Backing::Vdso | Backing::Vvar), _) => "vdso",
        (Ok(Backing::Unknown) | Err(_), _) => "unknown",
    };
    BTreeMap::from([(kind, mapping.end.saturating_sub(mapping.start))])
}

fn add_up<M>(parts: impl Iterator<Item = M>) -> BTreeMap<&'static str, u64>
where
    M: std::borrow::Borrow<BTreeMap<&'static str, u64>>,
{
    let mut sum: BTreeMap<&'static str, u64> = BTreeMap::new();
    for part in parts {
        for (kind, bytes) in part.borrow() {
            let total = sum.entry(kind).or_default();
            *total = total.saturating_add(*bytes);
        }
    }
    sum
}

fn look_at_description(description: &DescriptionV1, processes: &[ProcessV1]) -> Descriptor {
    let (kind, what) = match &description.kind {
        Some(DescriptionKind::Launcher(number)) => {
            let names = ["stdin", "stdout", "stderr"];
            let name = names.get(*number as usize).map(|name| (*name).to_string());
            (
                "launcher's",
                name.unwrap_or_else(|| format!("descriptor {number}")),
            )
        }
        Some(DescriptionKind::Regular(file)) => ("file", path_and_offset(file)),
        Some(DescriptionKind::Device(path)) => ("device", lossy(path)),
        Some(DescriptionKind::Pipe(end)) if !end.path.is_empty() => ("fifo", lossy(&end.path)),
        Some(DescriptionKind::Pipe(end)) => ("pipe", format!("number {}", end.pipe)),
        Some(DescriptionKind::EventFd(event)) => ("eventfd", format!("count {}", event.count)),
        Some(DescriptionKind::Epoll(epoll)) => ("epoll", format!("{} watched", epoll.watches.len())),
        Some(DescriptionKind::TimerFd(timer)) => ("timerfd", format!("clock {}", timer.clock)),
        Some(DescriptionKind::SignalFd(mask)) => ("signalfd", format!("mask {mask:#x}")),
        Some(DescriptionKind::Object(file)) => ("memfd", format!("object {}", file.object)),
        Some(DescriptionKind::Terminal(path)) => ("terminal", lossy(path)),
        Some(DescriptionKind::Unix(socket)) => ("Unix socket", unix_socket(socket)),
        Some(DescriptionKind::Socket(socket)) => ("socket", socket_name(socket)),
        Some(DescriptionKind::EndedProcess(_)) => ("pidfd", "of an ended process".to_string()),
        Some(DescriptionKind::Inotify(inotify)) => ("inotify", format!("{} watched", inotify.watches.len())),
        Some(DescriptionKind::Queue(queue)) => ("POSIX message queue", lossy(&queue.name)),
        Some(DescriptionKind::Ring(ring)) => ("io_uring", format!("{} entries", ring.sq_entries)),
        Some(DescriptionKind::TcpConnection(connection)) => ("TCP connection", connection_name(connection)),
        Some(DescriptionKind::Master(number)) => ("terminal", format!("master of /dev/pts/{number}")),
        Some(DescriptionKind::Slave(number)) => ("terminal", format!("/dev/pts/{number}")),
        Some(DescriptionKind::Controlling(number)) => ("terminal", format!("/dev/tty of /dev/pts/{number}")),
        Some(DescriptionKind::PidFd(pid)) => ("pidfd", format!("process {pid}")),
        #[allow(unreachable_patterns)]
        Some(_) => ("other", String::new()),
        None => ("unknown", String::new()),
    };
    Descriptor {
        kind,
        what,
        open: where_open(description.id, processes),
    }
}

fn socket_name(socket: &rethaw_image::record::SocketV1) -> String {
    let name = &socket.address;
    match socket.listens {
        true => format!("listens at {name}"),
        false if name.is_empty() => "not bound".to_string(),
        false => format!("bound to {name}"),
    }
}

fn unix_socket(socket: &rethaw_image::record::UnixSocketV1) -> String {
    let name = socket
        .bound
        .as_ref()
        .map(|bound| lossy(&bound.name).replace('\0', "@"));
    let bound = match (name, socket.listens) {
        (Some(name), true) => format!("listens at {name}"),
        (Some(name), false) => format!("bound to {name}"),
        (None, _) => "not bound".to_string(),
    };
    let connected = match socket.peer {
        _ if socket.peer_closed => ", its other end is closed".to_string(),
        _ if socket.service => format!(", connected to {}", lossy(&socket.peer_name)),
        0 => String::new(),
        peer => format!(", connected to {peer}"),
    };
    let waiting = match socket.queue.len() {
        0 => String::new(),
        messages => format!(", in flight {messages}"),
    };
    format!("{bound}{connected}{waiting}")
}

fn connection_name(connection: &rethaw_image::record::TcpConnectionV1) -> String {
    let socket = connection.socket.clone().unwrap_or_default();
    let ends = format!("{} to {}", socket.address, socket.peer_address);
    match connection.queue.len() {
        0 => ends,
        bytes => format!("{ends}, {bytes} bytes wait"),
    }
}

fn path_and_offset(file: &rethaw_image::record::RegularV1) -> String {
    let path = file
        .file
        .as_ref()
        .map(|identity| lossy(&identity.path))
        .unwrap_or_default();
    format!("{path} at {}", file.offset)
}

fn where_open(description: u32, processes: &[ProcessV1]) -> Vec<String> {
    let open_in = |process: &ProcessV1| {
        let pid = process.pid;
        let here = process
            .descriptors
            .iter()
            .filter(move |slot| slot.description == description);
        here.map(move |slot| format!("{pid}:{}", slot.fd))
            .collect::<Vec<_>>()
    };
    processes.iter().flat_map(open_in).collect()
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn show(report: &Report) -> String {
    let mut text = format!(
        "{}\ncheckpoint {} of computation {}\ncommand: {}\nfolder:  {}\n",
        report.image.display(),
        report.generation,
        report.computation,
        show_command(&report.command),
        String::from_utf8_lossy(report.start_folder.bytes()),
    );
    text += &report.taken.as_ref().map(show_taken).unwrap_or_default();
    let sizes = &report.sizes;
    text += &format!(
        "size:    {} in all: {} of records, {} of pages for {} of memory ({} more are zero)\n",
        show_bytes(sizes.file),
        show_bytes(sizes.records),
        show_bytes(sizes.stored_pages),
        show_bytes(sizes.data_pages),
        show_bytes(sizes.zero_pages),
    );
    text += &format!("address space: {}\n", show_memory(&report.memory));
    for process in &report.processes {
        text += &show_process(process);
    }
    text += &format!(
        "{} shared memory object(s), {} System V IPC object(s), {} pipe(s)\n",
        report.shared_objects, report.system_v_ipc, report.pipes
    );
    text += "open files:\n";
    for one in &report.descriptors {
        text += &format!("  {:<12} {}  [{}]\n", one.kind, one.what, one.open.join(" "));
    }
    text
}

fn show_taken(taken: &Taken) -> String {
    let job = match taken.slurm_job.as_str() {
        "" => String::new(),
        job => format!(", Slurm job {job}"),
    };
    format!(
        "taken:   {} on {} (Linux {}, {}) by rethaw {}{job}\n",
        message::show_time(taken.unix_seconds),
        taken.host,
        taken.kernel,
        taken.cpu_model,
        taken.rethaw
    )
}

fn show_process(process: &Process) -> String {
    if process.zombie {
        return format!(
            "process {} (parent {}): ended, not yet waited for\n",
            process.pid, process.parent
        );
    }
    format!(
        "process {} (parent {}) {}: {} thread(s), {} descriptor(s), {} mapping(s), in {}\n  {}\n",
        process.pid,
        process.parent,
        process.name,
        process.threads.len(),
        process.descriptors,
        process.mappings,
        process.cwd,
        show_memory(&process.memory),
    )
}

fn show_memory(memory: &BTreeMap<&'static str, u64>) -> String {
    let parts: Vec<String> = memory
        .iter()
        .map(|(kind, bytes)| format!("{kind} {}", show_bytes(*bytes)))
        .collect();
    parts.join(", ")
}
