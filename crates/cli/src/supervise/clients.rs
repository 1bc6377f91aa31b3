//! What clients of the control socket ask of a running computation.

use super::Supervisor;
use super::schedule::Why;
use super::writing::Order;
use crate::control::{Checked, Reply, Request, Status, accept_request, send};
use crate::duration::Interval;
use crate::failure::{Failure, Result, status};
use crate::message;
use crate::sink::Sink;
use crate::state::LastCheckpoint;
use std::os::unix::net::UnixStream;
use std::time::Instant;

impl Supervisor {
    /// Answers all that have connected. A client that misbehaves is dropped.
    pub(super) fn serve_clients(&mut self) {
        while let Some(stream) = self.accept() {
            match accept_request(&stream) {
                Ok(Some(request)) => self.serve(request, stream),
                Ok(None) => {}
                Err(error) => message::warn(format!("ignored a request: {error}")),
            }
        }
    }

    fn accept(&self) -> Option<UnixStream> {
        Some(self.registration.as_ref()?.listener.accept().ok()?.0)
    }

    fn serve(&mut self, request: Request, stream: UnixStream) {
        match request {
            Request::Status => answer(stream, &Reply::Status(Box::new(self.status()))),
            Request::Checkpoint { stop, wait: true } => {
                self.order(Order {
                    why: Why::Request,
                    stop,
                    waiters: vec![stream],
                });
            }
            Request::Checkpoint { stop, wait: false } => {
                self.order(Order {
                    why: Why::Request,
                    stop,
                    waiters: vec![],
                });
                answer(stream, &Reply::Accepted);
            }
            Request::Check => self.checks.push(stream),
            Request::Kill => self.kill(stream),
            Request::Interval { seconds } => self.set_interval(seconds, stream),
        }
    }

    /// Answers who wants to know what would stop a checkpoint. While one is being written, the program may stand still.
    pub(super) fn answer_checks(&mut self) {
        if self.checks.is_empty() || self.writing.is_some() {
            return;
        }
        let reply = match self.check() {
            Ok(checked) => Reply::Checked(checked),
            Err(failure) => failed(&failure),
        };
        for stream in std::mem::take(&mut self.checks) {
            answer(stream, &reply);
        }
    }

    /// Looks for what would stop a checkpoint.
    pub(super) fn check(&mut self) -> Result<Checked> {
        let options = self.engine_options(0, false);
        Ok(rethaw_engine::checkpoint::check(&mut self.tree, &options)?.into())
    }

    fn kill(&mut self, stream: UnixStream) {
        message::note("killed on request");
        match self.tree.kill() {
            Ok(()) => self.farewell.push((stream, Reply::Accepted)),
            Err(error) => tell_failure(vec![stream], &error.into()),
        }
    }

    fn set_interval(&mut self, seconds: f64, stream: UnixStream) {
        self.settings.interval = Interval::from_seconds(seconds);
        self.schedule.interval = self.settings.interval;
        self.state.interval_seconds = self.settings.interval.seconds();
        if let Sink::Dmtcp(image) = &mut self.sink {
            image.set_interval(self.state.interval_seconds);
        }
        self.remember();
        if let Some(registration) = &mut self.registration
            && let Err(failure) = registration.set_interval(self.state.interval_seconds)
        {
            message::warn(failure);
        }
        answer(stream, &Reply::Accepted);
    }

    fn status(&self) -> Status {
        let seconds_until = |moment: Instant| moment.saturating_duration_since(Instant::now()).as_secs_f64();
        Status {
            computation: self.state.computation.clone(),
            command: self.state.command.clone(),
            checkpoints: self.sink.shown(),
            main: self.state.main.clone(),
            processes: self.tree.processes().unwrap_or_default(),
            resident_bytes: self.resident_bytes(),
            interval_seconds: self.state.interval_seconds,
            next_in_seconds: self.schedule.next().map(|(due, _)| seconds_until(due)),
            writing: self.writing.as_ref().map(|writing| writing.generation),
            last: self.state.last.clone(),
            job_ends_in_seconds: self.schedule.job_end.map(seconds_until),
        }
    }
}

/// A client that has gone is no reason to fail.
pub(super) fn answer(mut stream: UnixStream, reply: &Reply) {
    let _ = send(&mut stream, reply);
}

/// The checkpoint that they waited for is durable.
pub(super) fn tell_success(waiters: Vec<UnixStream>, last: &LastCheckpoint) {
    for stream in waiters {
        answer(stream, &Reply::Checkpoint(last.clone()));
    }
}

/// It is not.
pub(super) fn tell_failure(waiters: Vec<UnixStream>, failure: &Failure) {
    for stream in waiters {
        answer(stream, &failed(failure));
    }
}

fn failed(failure: &Failure) -> Reply {
    Reply::Failed {
        sentence: failure.to_string(),
        refused: failure.status() == status::REFUSED,
    }
}
