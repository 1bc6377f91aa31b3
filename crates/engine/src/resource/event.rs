//! eventfd, timerfd and signalfd: what /proc/PID/fdinfo shows is all that they are.

use super::descriptor::Seen;
use crate::Result;
use crate::error::Context;
use rethaw_image::record::{DescriptionKind, DescriptionV1, EventFdV1, TimerFdV1};
use rustix::event::{EventfdFlags, eventfd};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

pub(crate) fn collect_eventfd(seen: &Seen) -> Result<DescriptionKind> {
    let found = seen
        .info
        .eventfd
        .ok_or_else(|| seen.refused("an eventfd that the kernel does not describe"))?;
    Ok(DescriptionKind::EventFd(EventFdV1 {
        count: found.count,
        semaphore: found.semaphore.unwrap_or(false),
    }))
}

pub(crate) fn rebuild_eventfd(record: &EventFdV1) -> Result<OwnedFd> {
    let name = || "cannot rebuild an eventfd".to_owned();
    let mut flags = EventfdFlags::CLOEXEC;
    flags.set(EventfdFlags::SEMAPHORE, record.semaphore);
    let fd = eventfd(0, flags).context(name)?;
    if record.count > 0 {
        rustix::io::write(&fd, &record.count.to_ne_bytes()).context(name)?;
    }
    Ok(fd)
}

pub(crate) fn collect_signalfd(seen: &Seen) -> Result<DescriptionKind> {
    let mask = seen
        .info
        .sigmask
        .ok_or_else(|| seen.refused("a signalfd that the kernel does not describe"))?;
    Ok(DescriptionKind::SignalFd(mask))
}

pub(crate) fn rebuild_signalfd(mask: u64) -> Result<OwnedFd> {
    rethaw_sys::descriptor::signalfd(mask).context(|| "cannot rebuild a signalfd".to_owned())
}

pub(crate) fn collect_timerfd(seen: &Seen) -> Result<DescriptionKind> {
    let found = seen
        .info
        .timerfd
        .ok_or_else(|| seen.refused("a timerfd that the kernel does not describe"))?;
    Ok(DescriptionKind::TimerFd(TimerFdV1 {
        clock: found.clock,
        settime_flags: found.settime_flags as i32,
        remaining_ns: found.value.as_nanos() as u64,
        interval_ns: found.interval.as_nanos() as u64,
        ticks: found.ticks,
    }))
}

/// Makes a timerfd, armed with what was left. An absolute timer becomes a relative one that expires at the
/// same moment (the clocks go on); unread expirations are set by TFD_IOC_SET_TICKS.
pub(crate) fn rebuild_timerfd(record: &TimerFdV1) -> Result<OwnedFd> {
    let name = || "cannot rebuild a timerfd".to_owned();
    let clock = match record.clock {
        libc::CLOCK_REALTIME => TimerfdClockId::Realtime,
        libc::CLOCK_BOOTTIME => TimerfdClockId::Boottime,
        libc::CLOCK_REALTIME_ALARM => TimerfdClockId::RealtimeAlarm,
        libc::CLOCK_BOOTTIME_ALARM => TimerfdClockId::BoottimeAlarm,
        _ => TimerfdClockId::Monotonic,
    };
    let fd = timerfd_create(clock, TimerfdFlags::CLOEXEC).context(name)?;
    let left = if record.remaining_ns == 0 {
        record.interval_ns
    } else {
        record.remaining_ns
    };
    let spec = Itimerspec {
        it_interval: timespec(record.interval_ns),
        it_value: timespec(left),
    };
    if left > 0 {
        timerfd_settime(&fd, TimerfdTimerFlags::empty(), &spec).context(name)?;
    }
    if record.ticks > 0 {
        rethaw_sys::descriptor::set_timer_ticks(fd.as_fd(), record.ticks).context(name)?;
    }
    Ok(fd)
}

fn timespec(ns: u64) -> Timespec {
    Timespec::try_from(Duration::from_nanos(ns)).unwrap_or_default()
}

/// Sets status flags that a rebuilt object does not get at its making.
pub(crate) fn set_flags(fd: &OwnedFd, record: &DescriptionV1) -> Result<()> {
    const SETTABLE: u32 = (libc::O_NONBLOCK | libc::O_APPEND | libc::O_DIRECT) as u32;
    let flags = rustix::fs::OFlags::from_bits_retain(record.flags & SETTABLE);
    rustix::fs::fcntl_setfl(fd, flags).context(|| "cannot set the flags of a descriptor".to_owned())
}
