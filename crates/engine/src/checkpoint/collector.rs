//! Collects threads that an execve(2) has killed while the freezing thread cannot.
//!
//! A thread that executes a program kills the others and waits until they are collected, which their tracer has to do.
//! Until then it holds the mutex that PTRACE_SEIZE of any thread of its process waits for (cred_guard_mutex, ptrace(2)
//! "BUGS"): the two would wait for each other for ever (met on Linux 6.18). Any thread of the tracer may collect.

use super::release::has_died;
use rethaw_sys::proc::{Pid, Tid};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// Looks after seized threads until it is dropped.
#[derive(Debug)]
pub(super) struct Collector {
    seized: Arc<Mutex<Vec<(Pid, Tid)>>>,
    end: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Collector {
    /// Starts it. None where there is no room for a thread: then it has to go without.
    pub fn start() -> Option<Collector> {
        const MOMENT: Duration = Duration::from_millis(10);
        let seized = Arc::new(Mutex::new(Vec::new()));
        let (end, ended) = mpsc::channel();
        let threads = Arc::clone(&seized);
        let look = move || {
            while ended.recv_timeout(MOMENT) == Err(RecvTimeoutError::Timeout) {
                let mut threads = threads.lock().unwrap_or_else(PoisonError::into_inner);
                threads.retain(|&(pid, tid)| !has_died(pid, tid));
            }
        };
        let builder = std::thread::Builder::new().name("rethaw-collect".to_owned());
        Some(Collector {
            seized,
            end: Some(end),
            thread: Some(builder.spawn(look).ok()?),
        })
    }

    /// To be told of every thread that is seized. The main thread of a process is not waited for by execve(2).
    pub fn note(&self, pid: Pid, tid: Tid) {
        if tid != pid.leader() {
            self.seized
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push((pid, tid));
        }
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.end = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
