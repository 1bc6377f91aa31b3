//! Collects threads that an execve(2) has killed while the freezing thread cannot.
//!
//! A thread that executes a program kills the others and waits until they are collected, which their tracer has to do.
//! Until then it holds the mutex that PTRACE_SEIZE of any thread of its process waits for (cred_guard_mutex, ptrace(2)
//! "BUGS"): the two would wait for each other for ever (met on Linux 6.18). Any thread of the tracer may collect.

use super::release::has_died;
use rethaw_sys::proc::{Pid, Tid};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

#[derive(Debug, Default)]
struct Threads {
    seized: Vec<(Pid, Tid)>,
    collected: Vec<Tid>,
}

impl Threads {
    fn look(&mut self) {
        let collected = &mut self.collected;
        self.seized.retain(|&(pid, tid)| {
            let died = has_died(pid, tid);
            if died {
                collected.push(tid);
            }
            !died
        });
    }
}

/// Looks after seized threads until it is dropped.
#[derive(Debug)]
pub(super) struct Collector {
    threads: Arc<Mutex<Threads>>,
    end: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Collector {
    /// Starts it. None where there is no room for a thread: then it has to go without.
    pub fn start() -> Option<Collector> {
        const MOMENT: Duration = Duration::from_millis(10);
        let threads = Arc::new(Mutex::new(Threads::default()));
        let (end, ended) = mpsc::channel();
        let watched = Arc::clone(&threads);
        let look = move || {
            while ended.recv_timeout(MOMENT) == Err(RecvTimeoutError::Timeout) {
                lock(&watched).look();
            }
        };
        let builder = std::thread::Builder::new().name("rethaw-collect".to_owned());
        Some(Collector {
            threads,
            end: Some(end),
            thread: Some(builder.spawn(look).ok()?),
        })
    }

    /// To be told of every thread that is seized. The main thread of a process is not waited for by execve(2).
    pub fn note(&self, pid: Pid, tid: Tid) {
        if tid != pid.leader() {
            lock(&self.threads).seized.push((pid, tid));
        }
    }

    /// Whether it was this that collected a thread.
    pub fn has_collected(&self, tid: Tid) -> bool {
        lock(&self.threads).collected.contains(&tid)
    }
}

fn lock(threads: &Mutex<Threads>) -> MutexGuard<'_, Threads> {
    threads.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.end = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
