//! What waits in a pseudo-terminal: taken out, and put in without being interpreted again.
//!
//! The kernel gives no way to look at a terminal's queues without emptying them; and of a line that is not complete
//! yet it does not even tell that it is there while the terminal is in canonical mode. All of this is as measured
//! and read on Linux 6.18 (drivers/tty/n_tty.c, pty.c):
//!
//! - What is written to one end goes through a buffer that a kernel thread empties. poll(2) on the other end waits
//!   for that thread, as long as nothing can be read there (`tty_buffer_flush_work`).
//! - Leaving canonical mode makes the bytes of an incomplete line readable; going back to it with bytes in the queue
//!   would make a line of them. So they are taken out, and put in again in canonical mode.
//! - What has to be put in is written to the master, under modes in which no character means anything but for two
//!   that do not occur: with them (STOP and START) it shows that the kernel thread has come to the end.

use rethaw_image::record::{TerminalInputV1, TerminalQueuesV1};
use rethaw_sys::terminal::{self, INPUT, LOCAL, Modes, OUTPUT};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

/// How an entry of the input ends; see [`TerminalInputV1::ending`].
const OPEN: u32 = 0;
const BY_ITS_LAST_BYTE: u32 = 1;
const BY_END_OF_FILE: u32 = 2;
const ENDINGS: [u32; 3] = [OPEN, BY_ITS_LAST_BYTE, BY_END_OF_FILE];

/// How output is stopped; see [`TerminalQueuesV1::stopped`].
const RUNS: u32 = 0;
const BY_CHARACTER: u32 = 1;
const BY_CALL: u32 = 2;

/// As much as a terminal's queue holds (N_TTY_BUF_SIZE less one).
const QUEUE: usize = 4095;
/// Far longer than the kernel needs for anything here.
const PATIENCE: Duration = Duration::from_secs(5);

/// Both ends, the slave not blocking.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ends<'a> {
    pub master: BorrowedFd<'a>,
    pub slave: BorrowedFd<'a>,
}

/// Whether a record is one that [`Ends::put`] can make.
pub(crate) fn is_valid(queues: &TerminalQueuesV1) -> bool {
    let fits = |line: &TerminalInputV1| {
        ENDINGS.contains(&line.ending) && (line.ending != BY_ITS_LAST_BYTE || !line.bytes.is_empty())
    };
    queues.stopped <= BY_CALL && queues.input.iter().all(fits)
}

impl Ends<'_> {
    /// Takes everything out, into `queues`, which is what was taken also where this fails. Output runs afterwards.
    pub fn take(self, modes: &Modes, queues: &mut TerminalQueuesV1) -> io::Result<()> {
        take_all(self.master, &mut queues.output)?;
        queues.stopped = self.start(modes)?;
        let mut rest = Vec::new();
        let outcome = self.take_input(modes, &mut queues.input, &mut rest);
        if !rest.is_empty() {
            queues.input.push(TerminalInputV1 {
                bytes: rest,
                ending: OPEN,
            });
        }
        terminal::set_modes(self.master, modes)?;
        outcome
    }

    fn take_input(
        self,
        modes: &Modes,
        lines: &mut Vec<TerminalInputV1>,
        rest: &mut Vec<u8>,
    ) -> io::Result<()> {
        if modes.flags(LOCAL) & libc::ICANON != 0 {
            while readable(self.slave)? {
                lines.push(self.take_line(modes)?);
            }
            let plain = modes.flags(LOCAL) & !(libc::ICANON | libc::ECHO | libc::ISIG);
            terminal::set_modes(self.master, &modes.with_flags(LOCAL, plain))?;
        }
        take_all(self.slave, rest)
    }

    /// Puts everything in. The queues are empty and output runs.
    pub fn put(self, queues: &TerminalQueuesV1, modes: &Modes) -> io::Result<()> {
        let outcome = self.put_input(&queues.input, modes).and_then(|()| {
            let verbatim = modes.flags(OUTPUT) & !libc::OPOST;
            terminal::set_modes(self.master, &modes.with_flags(OUTPUT, verbatim))?;
            write_all(self.slave, &queues.output)
        });
        terminal::set_modes(self.master, modes)?;
        outcome?;
        match queues.stopped {
            BY_CHARACTER => self.send_flow(modes, false),
            BY_CALL => terminal::set_flow(self.slave, true),
            _ => Ok(()),
        }
    }

    fn take_line(self, modes: &Modes) -> io::Result<TerminalInputV1> {
        let mut bytes = vec![0; 2 * QUEUE];
        let got = rustix::io::read(self.slave, &mut bytes)?;
        bytes.truncate(got);
        let by_last = bytes.last().is_some_and(|last| ends_line(*last, modes));
        Ok(TerminalInputV1 {
            bytes,
            ending: if by_last { BY_ITS_LAST_BYTE } else { BY_END_OF_FILE },
        })
    }

    /// Lets output run. Gives how it was stopped. The queue of output is empty, so that only that can keep the
    /// slave from being written to.
    fn start(self, modes: &Modes) -> io::Result<u32> {
        if writable(self.slave)? {
            return Ok(RUNS);
        }
        terminal::set_flow(self.slave, false)?;
        if writable(self.slave)? {
            return Ok(BY_CALL);
        }
        self.send_flow(modes, true)?;
        Ok(BY_CHARACTER)
    }

    /// Starts or stops output by a character, as the keyboard would.
    fn send_flow(self, modes: &Modes, start: bool) -> io::Result<()> {
        const EITHER: (u8, u8) = (1, 2);
        let (stop_by, start_by) = EITHER;
        let outcome =
            terminal::set_modes(self.master, &uninterpreted(modes, stop_by, start_by)).and_then(|()| {
                write_all(self.master, &[if start { start_by } else { stop_by }])?;
                self.until_flow(start)
            });
        terminal::set_modes(self.master, modes)?;
        outcome
    }

    fn until_flow(self, runs: bool) -> io::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while writable(self.slave)? != runs {
            if Instant::now() > deadline {
                return Err(io::Error::other("a pseudo-terminal does not take its input"));
            }
            std::thread::sleep(Duration::from_micros(200));
        }
        Ok(())
    }

    fn put_input(self, input: &[TerminalInputV1], modes: &Modes) -> io::Result<()> {
        if input.is_empty() {
            return Ok(());
        }
        let mut occurs = [false; 256];
        let bytes = input.iter().flat_map(|line| &line.bytes);
        bytes.for_each(|byte| occurs[usize::from(*byte)] = true);
        let eol = modes.character(libc::VEOL);
        let mut unused =
            (1..=255_u8).filter(|byte| !occurs[usize::from(*byte)] && ![b'\n', eol].contains(byte));
        let (Some(stop_by), Some(start_by), Some(end_by)) = (unused.next(), unused.next(), unused.next())
        else {
            return Err(io::Error::other(
                "every byte occurs in the input of a pseudo-terminal",
            ));
        };
        let mut quiet = uninterpreted(modes, stop_by, start_by).with_character(libc::VEOF, end_by);
        let mut stream = Vec::new();
        for line in input {
            stream.extend_from_slice(&line.bytes);
            match (line.ending, line.bytes.last()) {
                (BY_END_OF_FILE, _) => stream.push(end_by),
                (BY_ITS_LAST_BYTE, Some(last)) if *last != b'\n' => {
                    let set = quiet.character(libc::VEOL);
                    if set != 0 && set != *last {
                        return Err(io::Error::other(
                            "input of a pseudo-terminal with two ends of line",
                        ));
                    }
                    quiet = quiet.with_character(libc::VEOL, *last);
                }
                _ => {}
            }
        }
        terminal::set_modes(self.master, &quiet)?;
        write_all(self.master, &stream)?;
        // More than the queue holds waits before it, and the characters behind it would not be seen.
        if stream.len() < QUEUE {
            write_all(self.master, &[stop_by])?;
            self.until_flow(false)?;
            write_all(self.master, &[start_by])?;
            self.until_flow(true)?;
        }
        Ok(())
    }
}

/// Modes in which input is taken as it is, but for these characters (and, in canonical mode, the line feed). IXON
/// is never cleared where it was set: that would start output that is stopped.
fn uninterpreted(modes: &Modes, stop_by: u8, start_by: u8) -> Modes {
    let canonical = modes.flags(LOCAL) & libc::ICANON;
    let mut quiet = modes.with_flags(INPUT, libc::IXON).with_flags(LOCAL, canonical);
    if canonical != 0 {
        for which in 0..Modes::CHARACTERS_LEN {
            quiet = quiet.with_character(which, 0);
        }
    }
    quiet
        .with_character(libc::VSTOP, stop_by)
        .with_character(libc::VSTART, start_by)
}

fn take_all(from: BorrowedFd<'_>, all: &mut Vec<u8>) -> io::Result<()> {
    loop {
        readable(from)?;
        let waiting = terminal::waiting(from)?;
        if waiting == 0 {
            return Ok(());
        }
        let mut bytes = vec![0; waiting];
        let got = rustix::io::read(from, &mut bytes)?;
        all.extend_from_slice(&bytes[..got]);
    }
}

fn ends_line(byte: u8, modes: &Modes) -> bool {
    let is = |which: usize| byte != 0 && byte == modes.character(which);
    byte == b'\n' || is(libc::VEOL) || is(libc::VEOL2)
}

fn now(fd: BorrowedFd<'_>, events: PollFlags) -> io::Result<PollFlags> {
    let mut fds = [PollFd::from_borrowed_fd(fd.as_fd(), events)];
    poll(&mut fds, Some(&Timespec::default()))?;
    Ok(fds[0].revents())
}

/// Also waits until all that was written to the other end has arrived, unless something can be read already.
fn readable(fd: BorrowedFd<'_>) -> io::Result<bool> {
    Ok(now(fd, PollFlags::IN)?.contains(PollFlags::IN))
}

fn writable(fd: BorrowedFd<'_>) -> io::Result<bool> {
    Ok(now(fd, PollFlags::OUT)?.contains(PollFlags::OUT))
}

/// Waits where the terminal is full for the moment.
fn write_all(to: BorrowedFd<'_>, mut bytes: &[u8]) -> io::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while !bytes.is_empty() {
        let chunk = &bytes[..bytes.len().min(QUEUE / 4)];
        if writable(to)? {
            match rustix::io::write(to, chunk) {
                Ok(written) => bytes = &bytes[written..],
                Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        } else if Instant::now() > deadline {
            return Err(io::Error::other("a pseudo-terminal does not take all bytes"));
        } else {
            std::thread::sleep(Duration::from_micros(200));
        }
    }
    Ok(())
}
