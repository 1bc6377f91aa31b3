//! Threads under ptrace as types: a [`Stopped`] thread can be looked at and changed; a running one cannot.
//!
//! All requests must come from the thread that seized the tracee (ptrace(2): "ptrace commands are always
//! sent to a specific tracee" by its tracer, and the tracer is a thread). "It died" is an ordinary result:
//! ESRCH, see "Death under ptrace" in ptrace(2).

use crate::arch::{ExtendedState, REGISTERS_SIZE, Registers};
use crate::proc::Tid;
use std::io;
use std::time::{Duration, Instant};

const NT_PRSTATUS: libc::c_long = 1;
const NT_X86_XSTATE: libc::c_long = 0x202;
const PTRACE_GET_RSEQ_CONFIGURATION: libc::c_uint = 0x420f;
const PTRACE_EVENT_STOP: i32 = 128;

/// Which children of a tracee are traced from their birth, and whether they die with the tracer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trace {
    /// Nothing special; the tracee runs on when the tracer dies.
    Plain,
    /// Children and new threads are stopped before their first instruction.
    Children,
    /// As `Children`, and the tracee is killed when the tracer dies.
    ChildrenKillOnExit,
}

impl Trace {
    fn options(self) -> libc::c_int {
        let children = libc::PTRACE_O_TRACEFORK
            | libc::PTRACE_O_TRACEVFORK
            | libc::PTRACE_O_TRACECLONE
            | libc::PTRACE_O_TRACESYSGOOD;
        match self {
            Trace::Plain => libc::PTRACE_O_TRACESYSGOOD,
            Trace::Children => children,
            Trace::ChildrenKillOnExit => children | libc::PTRACE_O_EXITKILL,
        }
    }
}

/// Why a tracee stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// By PTRACE_INTERRUPT, or newly born.
    Interrupt,
    /// In a group stop by this signal.
    Group(i32),
    /// About to receive this signal.
    Signal(i32),
    /// At the entry or exit of a system call.
    Syscall,
    /// A child or thread was made: its tid.
    Born(Tid),
    /// Another event (number).
    Event(i32),
}

/// What waiting for a tracee gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// It stopped.
    Stopped(Stop),
    /// It is gone; the raw wait status, when it was ours to collect.
    Gone(Option<i32>),
    /// Nothing within the time limit.
    TimedOut,
}

/// A seized thread that may run. Dropping it detaches nothing: the kernel lets go of it with the tracer.
#[derive(Debug)]
pub struct Running(pub Tid);

/// A thread in a ptrace stop.
#[derive(Debug)]
pub struct Stopped {
    tid: Tid,
    /// A stop signal that came in the middle of a remote call (SIGSTOP cannot be blocked) and is still owed.
    owed: i32,
}

/// One ptrace request without result data.
fn request(request: libc::c_uint, tid: Tid, address: usize, data: usize) -> io::Result<libc::c_long> {
    // SAFETY: every caller passes either integers or the address of a buffer that outlives the call and has
    // the size that the request writes or reads (ptrace(2)).
    let result = unsafe { libc::ptrace(request, tid.0, address, data) };
    if result == -1 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

/// Waits for `tid` without blocking.
fn poll_status(tid: Tid) -> io::Result<Option<i32>> {
    let mut status = 0;
    // SAFETY: `status` is a live c_int.
    match unsafe { libc::waitpid(tid.0, &raw mut status, libc::__WALL | libc::WNOHANG) } {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(None),
        _ => Ok(Some(status)),
    }
}

impl Running {
    /// Seizes a thread (PTRACE_SEIZE): it runs on.
    ///
    /// # Errors
    /// EPERM when the thread belongs to another user, is not dumpable, is traced already, or Yama forbids
    /// it; ESRCH when it is gone.
    pub fn seize(tid: Tid, trace: Trace) -> io::Result<Running> {
        request(libc::PTRACE_SEIZE, tid, 0, trace.options() as usize)?;
        Ok(Running(tid))
    }

    /// A child that is traced from birth ([`Trace::Children`]).
    pub fn born(tid: Tid) -> Running {
        Running(tid)
    }

    /// Asks the thread to stop (PTRACE_INTERRUPT). No signal is involved.
    pub fn interrupt(&self) -> io::Result<()> {
        request(libc::PTRACE_INTERRUPT, self.0, 0, 0).map(drop)
    }

    /// Waits until the thread stops or ends, or the deadline has passed.
    pub fn wait(&self, deadline: Instant) -> io::Result<Wait> {
        let mut pause = Duration::from_micros(5);
        loop {
            if let Some(wait) = self.poll()? {
                return Ok(wait);
            }
            if Instant::now() >= deadline {
                return Ok(Wait::TimedOut);
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(2));
        }
    }

    /// Waits for a stop that follows at once, such as those of a remote call: first without sleeping, because
    /// it usually comes within microseconds.
    ///
    /// A killed leader cannot be waited for until all other threads of its process have been (a zombie leader
    /// stays one, wait(2) "delay_group_leader"); so a thread that is found dead counts as gone.
    pub fn wait_soon(&self) -> io::Result<Wait> {
        const SPINS: u32 = 2000;
        for _ in 0..SPINS {
            if let Some(wait) = self.poll()? {
                return Ok(wait);
            }
            std::thread::yield_now();
        }
        loop {
            match self.wait(Instant::now() + Duration::from_millis(20))? {
                Wait::TimedOut if self.is_dead() => return Ok(Wait::Gone(None)),
                Wait::TimedOut => {}
                other => return Ok(other),
            }
        }
    }

    /// Whether /proc shows the thread as dead or not at all.
    fn is_dead(&self) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.0)).unwrap_or_default();
        let state = stat.rsplit(") ").next().and_then(|rest| rest.chars().next());
        matches!(state, None | Some('Z' | 'X'))
    }

    fn poll(&self) -> io::Result<Option<Wait>> {
        match poll_status(self.0) {
            Ok(Some(status)) => self.decode(status).map(Some),
            Ok(None) => Ok(None),
            Err(e) if e.raw_os_error() == Some(libc::ECHILD) => Ok(Some(Wait::Gone(None))),
            Err(e) => Err(e),
        }
    }

    fn decode(&self, status: i32) -> io::Result<Wait> {
        if !libc::WIFSTOPPED(status) {
            return Ok(Wait::Gone(Some(status)));
        }
        let signal = libc::WSTOPSIG(status);
        let stop = match status >> 16 {
            0 if signal == libc::SIGTRAP | 0x80 => Stop::Syscall,
            0 => Stop::Signal(signal),
            PTRACE_EVENT_STOP if signal == libc::SIGTRAP => Stop::Interrupt,
            PTRACE_EVENT_STOP => Stop::Group(signal),
            libc::PTRACE_EVENT_FORK | libc::PTRACE_EVENT_VFORK | libc::PTRACE_EVENT_CLONE => {
                Stop::Born(self.event_tid()?)
            }
            event => Stop::Event(event),
        };
        Ok(Wait::Stopped(stop))
    }

    fn event_tid(&self) -> io::Result<Tid> {
        let mut message: libc::c_ulong = 0;
        request(libc::PTRACE_GETEVENTMSG, self.0, 0, &raw mut message as usize)?;
        Ok(Tid(message as i32))
    }

    /// Treats the thread as stopped, after [`Wait::Stopped`].
    pub fn into_stopped(self) -> Stopped {
        Stopped { tid: self.0, owed: 0 }
    }
}

impl Stopped {
    /// Its thread id.
    pub fn tid(&self) -> Tid {
        self.tid
    }

    /// Lets it run on, with `signal` delivered when it is not 0.
    pub fn resume(self, signal: i32) -> io::Result<Running> {
        request(libc::PTRACE_CONT, self.tid, 0, signal as usize)?;
        Ok(Running(self.tid))
    }

    /// Lets it run to the next entry or exit of a system call.
    pub fn resume_to_syscall(&mut self) -> io::Result<Wait> {
        request(libc::PTRACE_SYSCALL, self.tid, 0, 0)?;
        Running(self.tid).wait_soon()
    }

    /// Asks for another stop, at the next return to user code.
    pub fn request_stop(&mut self) -> io::Result<()> {
        request(libc::PTRACE_INTERRUPT, self.tid, 0, 0).map(drop)
    }

    /// Notes a stop signal that was taken from the thread.
    pub fn owe(&mut self, signal: i32) {
        self.owed = signal;
    }

    /// The stop signal that is owed to it, or 0.
    pub fn owed(&self) -> i32 {
        self.owed
    }

    /// Brings a thread that is stopped elsewhere (after remote calls) to a stop in which the kernel applies
    /// its restart rules when it runs on, without letting it execute anything.
    pub fn park(&mut self) -> io::Result<Wait> {
        request(libc::PTRACE_INTERRUPT, self.tid, 0, 0)?;
        loop {
            request(libc::PTRACE_CONT, self.tid, 0, 0)?;
            match Running(self.tid).wait_soon()? {
                Wait::Stopped(Stop::Signal(signal)) => self.owe(signal),
                other => return Ok(other),
            }
        }
    }

    /// Lets go of it; it runs on (or goes back to its group stop).
    pub fn detach(self) -> io::Result<()> {
        self.detach_with(0)
    }

    /// As [`Stopped::detach`] from a stop before the delivery of `signal`, which it then gets.
    pub fn detach_with(self, signal: i32) -> io::Result<()> {
        request(libc::PTRACE_DETACH, self.tid, 0, signal as usize).map(drop)
    }

    /// Changes what happens with its children and at the death of the tracer.
    pub fn set_trace(&mut self, trace: Trace) -> io::Result<()> {
        request(libc::PTRACE_SETOPTIONS, self.tid, 0, trace.options() as usize).map(drop)
    }

    /// General registers.
    pub fn registers(&self) -> io::Result<Registers> {
        // SAFETY: user_regs_struct is plain integers; all zero is a valid value.
        let mut registers: libc::user_regs_struct = unsafe { std::mem::zeroed() };
        let mut iov = libc::iovec {
            iov_base: (&raw mut registers).cast(),
            iov_len: REGISTERS_SIZE,
        };
        request(
            libc::PTRACE_GETREGSET,
            self.tid,
            NT_PRSTATUS as usize,
            &raw mut iov as usize,
        )?;
        Ok(Registers(registers))
    }

    /// Sets the general registers (fs_base and gs_base included).
    pub fn set_registers(&mut self, registers: &Registers) -> io::Result<()> {
        let mut iov = libc::iovec {
            iov_base: (&raw const registers.0).cast_mut().cast(),
            iov_len: REGISTERS_SIZE,
        };
        request(
            libc::PTRACE_SETREGSET,
            self.tid,
            NT_PRSTATUS as usize,
            &raw mut iov as usize,
        )
        .map(drop)
    }

    /// FPU, SSE, AVX, AVX-512, AMX, PKRU state in the standard XSAVE layout.
    pub fn extended_state(&self) -> io::Result<ExtendedState> {
        let mut buffer = vec![0_u8; 16 * 1024]; // AMX needs 11 KiB
        let mut iov = libc::iovec {
            iov_base: buffer.as_mut_ptr().cast(),
            iov_len: buffer.len(),
        };
        request(
            libc::PTRACE_GETREGSET,
            self.tid,
            NT_X86_XSTATE as usize,
            &raw mut iov as usize,
        )?;
        buffer.truncate(iov.iov_len);
        Ok(ExtendedState(buffer))
    }

    /// Sets the extended state. The kernel checks it: EINVAL for features that this processor lacks.
    pub fn set_extended_state(&mut self, state: &ExtendedState) -> io::Result<()> {
        let mut iov = libc::iovec {
            iov_base: state.0.as_ptr().cast_mut().cast(),
            iov_len: state.0.len(),
        };
        request(
            libc::PTRACE_SETREGSET,
            self.tid,
            NT_X86_XSTATE as usize,
            &raw mut iov as usize,
        )
        .map(drop)
    }

    /// Blocked signals: the mask that holds after a temporary one (sigsuspend, ppoll …) is gone
    /// (PTRACE_GETSIGMASK, Linux 3.11).
    pub fn blocked(&self) -> io::Result<u64> {
        let mut mask = 0_u64;
        request(libc::PTRACE_GETSIGMASK, self.tid, 8, &raw mut mask as usize)?;
        Ok(mask)
    }

    /// Sets the blocked signals.
    pub fn set_blocked(&mut self, mask: u64) -> io::Result<()> {
        request(libc::PTRACE_SETSIGMASK, self.tid, 8, &raw const mask as usize).map(drop)
    }

    /// Pending signals in queue order without taking them: raw siginfo (PTRACE_PEEKSIGINFO, Linux 3.10).
    /// `shared`: those of the process, else those of the thread.
    pub fn pending(&self, shared: bool) -> io::Result<Vec<Vec<u8>>> {
        #[repr(C)]
        struct PeekSiginfoArgs {
            offset: u64,
            flags: u32,
            count: i32,
        }
        const BATCH: usize = 32;
        let mut all = Vec::new();
        loop {
            let args = PeekSiginfoArgs {
                offset: all.len() as u64,
                flags: u32::from(shared),
                count: BATCH as i32,
            };
            let mut buffer = vec![0_u8; BATCH * 128];
            let got = request(
                libc::PTRACE_PEEKSIGINFO,
                self.tid,
                &raw const args as usize,
                buffer.as_mut_ptr() as usize,
            )? as usize;
            all.extend(buffer.chunks(128).take(got).map(<[u8]>::to_vec));
            if got < BATCH {
                return Ok(all);
            }
        }
    }

    /// Registration of restartable sequences (Linux 5.13): (address, size, signature, flags), or `None`.
    pub fn rseq(&self) -> io::Result<Option<(u64, u32, u32, u32)>> {
        #[repr(C)]
        #[derive(Default)]
        struct RseqConfiguration {
            pointer: u64,
            size: u32,
            signature: u32,
            flags: u32,
            pad: u32,
        }
        let mut found = RseqConfiguration::default();
        let size = size_of::<RseqConfiguration>();
        match request(
            PTRACE_GET_RSEQ_CONFIGURATION,
            self.tid,
            size,
            &raw mut found as usize,
        ) {
            Ok(_) if found.pointer == 0 => Ok(None),
            Ok(_) => Ok(Some((found.pointer, found.size, found.signature, found.flags))),
            Err(e) if e.raw_os_error() == Some(libc::EIO) => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Whether the thread gets its own system calls as signals (PR_SET_SYSCALL_USER_DISPATCH, Linux 5.11), so that
    /// none can be made in it. Before Linux 6.4 that is not told.
    pub fn dispatches_calls(&self) -> io::Result<bool> {
        const PTRACE_GET_SYSCALL_USER_DISPATCH_CONFIG: libc::c_uint = 0x4211;
        // struct ptrace_sud_config: mode, selector, offset, length.
        let mut found = [0_u64; 4];
        let (size, data) = (size_of_val(&found), &raw mut found as usize);
        match request(PTRACE_GET_SYSCALL_USER_DISPATCH_CONFIG, self.tid, size, data) {
            Ok(_) => Ok(found[0] != 0),
            Err(e) if matches!(e.raw_os_error(), Some(libc::EIO | libc::EINVAL)) => Ok(false),
            Err(e) => Err(e),
        }
    }

    /// Writes one word even where the mapping is read-only (a private copy of the page is made).
    pub fn poke(&mut self, address: u64, word: u64) -> io::Result<()> {
        request(libc::PTRACE_POKEDATA, self.tid, address as usize, word as usize).map(drop)
    }
}

/// Asks every traced thread of a list to die at once (SIGKILL) and collects it.
pub fn kill_and_reap(tid: Tid) {
    // SAFETY: kill has no memory arguments.
    unsafe { libc::kill(tid.0, libc::SIGKILL) };
    let running = Running(tid);
    while let Ok(Wait::Stopped(_)) = running.wait_soon() {}
}
