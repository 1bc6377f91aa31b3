//! A queue between the thread that does the I/O and one that blocks in poll(2).

#[cfg(test)]
mod tests;

use crate::{Error, Result};
use rustix::event::{EventfdFlags, eventfd};
use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// What has come for somebody, in order. Its descriptor is readable while something waits, or nothing can come any more.
#[derive(Debug)]
pub struct Mailbox<T> {
    shared: Arc<Shared<T>>,
}

#[derive(Debug)]
struct Shared<T> {
    queue: Mutex<Queue<T>>,
    filled: Condvar,
    /// Its counter is not 0 as long as the queue is not empty or closed.
    ready: OwnedFd,
}

#[derive(Debug)]
struct Queue<T> {
    waiting: VecDeque<T>,
    /// Why nothing comes any more.
    closed: Option<String>,
}

impl<T> Clone for Mailbox<T> {
    fn clone(&self) -> Self {
        Mailbox {
            shared: Arc::clone(&self.shared),
        }
    }
}

impl<T> Mailbox<T> {
    pub(crate) fn new() -> Result<Mailbox<T>> {
        let ready = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
            .map_err(|e| Error::io("make an eventfd", e))?;
        let queue = Queue {
            waiting: VecDeque::new(),
            closed: None,
        };
        Ok(Mailbox {
            shared: Arc::new(Shared {
                queue: Mutex::new(queue),
                filled: Condvar::new(),
                ready,
            }),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Queue<T>> {
        // Whoever panicked had changed nothing by halves.
        self.shared.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn signal(&self) {
        // Fails only if the counter is about to overflow: it is readable then.
        let _ = rustix::io::write(&self.shared.ready, &1u64.to_ne_bytes());
        self.shared.filled.notify_all();
    }

    /// Adds one, if somebody may still read it.
    pub(crate) fn put(&self, message: T) {
        let mut queue = self.lock();
        if queue.closed.is_none() {
            queue.waiting.push_back(message);
            self.signal();
        }
    }

    /// Nothing comes after what waits already. The first reason stays.
    pub(crate) fn close(&self, why: &str) {
        let mut queue = self.lock();
        if queue.closed.is_none() {
            queue.closed = Some(why.to_string());
            self.signal();
        }
    }

    /// Closes it when dropped, so also when the thread that fills it panics.
    pub(crate) fn closing(&self, why: &'static str) -> Closing<T> {
        Closing(self.clone(), why)
    }

    /// Why nothing comes any more.
    pub(crate) fn closed(&self) -> Option<String> {
        self.lock().closed.clone()
    }

    /// The next one; none if none has come in time. `Duration::ZERO` does not wait, None waits for ever.
    pub fn take(&self, timeout: Option<Duration>) -> Result<Option<T>> {
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let mut queue = self.lock();
        loop {
            if let Some(message) = queue.waiting.pop_front() {
                if queue.waiting.is_empty() && queue.closed.is_none() {
                    let _ = rustix::io::read(&self.shared.ready, &mut [0; 8]);
                }
                return Ok(Some(message));
            }
            if let Some(why) = &queue.closed {
                return Err(Error::Lost(why.clone()));
            }
            queue = match deadline {
                None => self
                    .shared
                    .filled
                    .wait(queue)
                    .unwrap_or_else(PoisonError::into_inner),
                Some(deadline) => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return Ok(None);
                    }
                    let wait = self.shared.filled.wait_timeout(queue, left);
                    wait.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }
}

/// See [`Mailbox::closing`].
pub(crate) struct Closing<T>(Mailbox<T>, &'static str);

impl<T> Drop for Closing<T> {
    fn drop(&mut self) {
        self.0.close(self.1);
    }
}

impl<T> AsFd for Mailbox<T> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.shared.ready.as_fd()
    }
}
