//! What the kernel says of this process.

use std::time::Duration;

/// A number of /proc/self/status in KiB.
pub fn status_kib(name: &str) -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = text.lines().find(|line| line.starts_with(name)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Processor time of the threads of this process with this name.
pub fn thread_time(name: &str) -> Duration {
    let mut total = Duration::ZERO;
    for task in std::fs::read_dir("/proc/self/task").unwrap().flatten() {
        let comm = std::fs::read_to_string(task.path().join("comm")).unwrap_or_default();
        if comm.trim_end() == name {
            let text = std::fs::read_to_string(task.path().join("schedstat")).unwrap();
            let nanos: u64 = text.split_whitespace().next().unwrap().parse().unwrap();
            total += Duration::from_nanos(nanos);
        }
    }
    total
}

/// Processor time of this thread.
pub fn own_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

pub fn ms(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1000.0)
}
