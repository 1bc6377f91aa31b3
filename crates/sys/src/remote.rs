//! Remote system calls: a stopped thread is pointed at a `syscall` instruction, runs one call, and gets its
//! registers back. Nothing lives in the program; what is borrowed from it is put back.

use crate::arch::{
    ExtendedState, FRAME_SIZE, GADGET, GADGET_CALL, GADGET_CLONE, Interrupted, LOADER, LOADER_OFFSET,
    Registers, XFEATURE_XTILEDATA, signal_frame,
};
use crate::memory::ForcedMemory;
use crate::proc::{Pid, Tid};
use crate::ptrace::{Running, Stop, Stopped, Trace, Wait};
use std::io;

/// A place in a process where remote calls can be made: the gadget's address and some memory for arguments
/// and the signal frame.
#[derive(Debug)]
pub struct Foothold {
    memory: ForcedMemory,
    gadget: u64,
    scratch: u64,
    /// What was there before, to be put back.
    borrowed: Vec<(u64, Vec<u8>)>,
}

/// Memory that a foothold needs: arguments, then the signal frame with the extended state.
pub const SCRATCH_SIZE: u64 = 16 * 1024;
/// The part of it that callers may use for arguments.
pub const ARGUMENTS_SIZE: u64 = 3 * 1024;
/// Bytes that the gadget needs.
pub const GADGET_SIZE: u64 = 32;

impl Foothold {
    /// Borrows `GADGET_SIZE` bytes at `gadget` (executable, not used by the program) and `SCRATCH_SIZE` bytes
    /// at `scratch` (64-byte aligned).
    pub fn borrow(pid: Pid, gadget: u64, scratch: u64) -> io::Result<Foothold> {
        let memory = ForcedMemory::open(pid)?;
        let mut borrowed = Vec::new();
        for (address, len) in [(gadget, GADGET_SIZE), (scratch, SCRATCH_SIZE)] {
            let mut bytes = vec![0; len as usize];
            memory.read(address, &mut bytes)?;
            borrowed.push((address, bytes));
        }
        memory.write(gadget, &GADGET)?;
        Ok(Foothold {
            memory,
            gadget,
            scratch,
            borrowed,
        })
    }

    /// Uses memory that is ours in a process that we build.
    pub fn own(pid: Pid, gadget: u64, scratch: u64) -> io::Result<Foothold> {
        let memory = ForcedMemory::open(pid)?;
        memory.write(gadget, &GADGET)?;
        memory.write(gadget + LOADER_OFFSET, &LOADER)?;
        Ok(Foothold {
            memory,
            gadget,
            scratch,
            borrowed: Vec::new(),
        })
    }

    /// Puts back what was borrowed. No thread may be inside a [`Remote`] any more.
    pub fn give_back(self) -> io::Result<()> {
        self.put_back(&self.memory)
    }

    /// Puts back what was borrowed in a copy of the process.
    pub fn clean_copy(&self, copy: Pid) -> io::Result<()> {
        self.put_back(&ForcedMemory::open(copy)?)
    }

    fn put_back(&self, memory: &ForcedMemory) -> io::Result<()> {
        self.borrowed
            .iter()
            .try_for_each(|(address, bytes)| memory.write(*address, bytes))
    }

    /// Address for arguments.
    pub fn arguments(&self) -> u64 {
        self.scratch
    }

    /// Memory of the process, whatever its protection.
    pub fn memory(&self) -> &ForcedMemory {
        &self.memory
    }

    fn frame(&self) -> u64 {
        self.scratch + ARGUMENTS_SIZE
    }
}

/// One thread in which calls are made. Made from a thread in a stop by PTRACE_INTERRUPT; ends in such a stop,
/// with all that the thread had.
#[derive(Debug)]
pub struct Remote<'a> {
    thread: &'a mut Stopped,
    foothold: &'a Foothold,
    registers: Registers,
    blocked: u64,
    born: Option<Tid>,
}

/// Signals that may be blocked: all (the kernel leaves out SIGKILL and SIGSTOP).
const ALL_SIGNALS: u64 = u64::MAX;

impl<'a> Remote<'a> {
    /// Begins. From here on the thread comes back to itself even if this process is killed.
    pub fn begin(thread: &'a mut Stopped, foothold: &'a Foothold) -> io::Result<Remote<'a>> {
        let registers = thread.registers()?;
        let blocked = thread.blocked()?;
        let state = thread.extended_state()?;
        let frame = signal_frame(foothold.frame(), &going_on(&registers), &state, blocked);
        debug_assert!(frame.len() > FRAME_SIZE && frame.len() as u64 <= SCRATCH_SIZE - ARGUMENTS_SIZE);
        foothold.memory.write(foothold.frame(), &frame)?;
        let mut remote = Remote {
            thread,
            foothold,
            registers,
            blocked,
            born: None,
        };
        // The registers first: with them the thread returns through the frame, which also restores the mask.
        remote.point_at(GADGET_CALL, libc::SYS_getpid as u64, [0; 6])?;
        remote.thread.set_blocked(ALL_SIGNALS)?;
        Ok(remote)
    }

    /// Begins in a thread that is ours and is killed with this process: it need not come back to itself.
    pub fn begin_disposable(thread: &'a mut Stopped, foothold: &'a Foothold) -> io::Result<Remote<'a>> {
        let registers = thread.registers()?;
        let blocked = thread.blocked()?;
        thread.set_blocked(ALL_SIGNALS)?;
        Ok(Remote {
            thread,
            foothold,
            registers,
            blocked,
            born: None,
        })
    }

    fn point_at(&mut self, entry: u64, number: u64, arguments: [u64; 6]) -> io::Result<()> {
        let sp = self.foothold.frame() + 8;
        let registers = self
            .registers
            .for_call(self.foothold.gadget + entry, sp, number, arguments);
        self.thread.set_registers(&registers)
    }

    /// Makes one call in the thread. The outer error is ours (the thread is gone), the inner one the call's.
    pub fn call(&mut self, number: libc::c_long, arguments: [u64; 6]) -> io::Result<io::Result<u64>> {
        self.run(GADGET_CALL, number, arguments)
    }

    /// Makes one call and treats both errors alike.
    pub fn must(&mut self, number: libc::c_long, arguments: [u64; 6]) -> io::Result<u64> {
        self.call(number, arguments)?
    }

    /// Makes one call that makes a child or thread, which is traced and stopped before its first instruction
    /// ([`Trace::Children`](crate::ptrace::Trace)). Gives it and its id as the caller sees it.
    pub fn spawn(&mut self, number: libc::c_long, arguments: [u64; 6]) -> io::Result<(Stopped, i32)> {
        self.born = None;
        let inside = self.run(GADGET_CLONE, number, arguments)?? as i32;
        let tid = self
            .born
            .take()
            .ok_or_else(|| io::Error::other("a remote clone made no traced child"))?;
        let child = Running::born(tid);
        match child.wait_soon()? {
            Wait::Stopped(_) => Ok((child.into_stopped(), inside)),
            _ => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn run(&mut self, entry: u64, number: libc::c_long, arguments: [u64; 6]) -> io::Result<io::Result<u64>> {
        self.point_at(entry, number as u64, arguments)?;
        self.run_to_syscall_stop()?;
        self.run_to_syscall_stop()?;
        let result = self.thread.registers()?.result();
        Ok(if (-4095..0).contains(&result) {
            Err(io::Error::from_raw_os_error(-result as i32))
        } else {
            Ok(result as u64)
        })
    }

    /// Makes a call that would sleep, and interrupts it at once: what is left is the kernel's restart block, with
    /// the time at which the call is to end. Gives the raw result, see
    /// [`Registers::sleeps_in`](crate::arch::Registers::sleeps_in).
    pub fn call_interrupted(&mut self, number: libc::c_long, arguments: [u64; 6]) -> io::Result<i64> {
        self.point_at(GADGET_CALL, number as u64, arguments)?;
        self.run_to_syscall_stop()?;
        self.thread.request_stop()?;
        self.run_to_syscall_stop()?;
        Ok(self.thread.registers()?.result())
    }

    /// Runs to the next entry or exit of the call. Other stops on the way (a birth, a stop request that was
    /// still pending) are passed over; signals are all blocked.
    fn run_to_syscall_stop(&mut self) -> io::Result<()> {
        loop {
            match self.thread.resume_to_syscall()? {
                Wait::Stopped(Stop::Syscall) => return Ok(()),
                Wait::Stopped(Stop::Born(tid)) => self.born = Some(tid),
                // All signals are blocked, but SIGSTOP cannot be.
                Wait::Stopped(Stop::Signal(signal)) => self.thread.owe(signal),
                Wait::Stopped(_) => {}
                Wait::Gone(_) | Wait::TimedOut => return Err(io::Error::from_raw_os_error(libc::ESRCH)),
            }
        }
    }

    /// Lets the thread itself load the AMX tiles of a state, if it uses any. The kernel gives a thread room for them when it
    /// first uses them, and takes no state that has them before (EINVAL, measured on Linux 6.18). Only in memory of ours.
    pub fn load_extended_state(&mut self, state: &ExtendedState) -> io::Result<()> {
        const AREA: u64 = 4096;
        if state.used_features() & XFEATURE_XTILEDATA == 0 {
            return Ok(());
        }
        if AREA + state.0.len() as u64 > SCRATCH_SIZE {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let area = self.foothold.scratch + AREA;
        self.foothold.memory.write(area, &state.0)?;
        // The features are what becomes the number of a call, which the kernel does not have.
        let arguments = [area, 0, 0, 0, 0, 0];
        self.point_at(LOADER_OFFSET, XFEATURE_XTILEDATA, arguments)?;
        self.run_to_syscall_stop()?;
        self.run_to_syscall_stop()
    }

    /// Bytes for the arguments of the next call; gives their address.
    pub fn put(&mut self, offset: u64, bytes: &[u8]) -> io::Result<u64> {
        if offset + bytes.len() as u64 > ARGUMENTS_SIZE {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let address = self.foothold.scratch + offset;
        self.foothold.memory.write(address, bytes)?;
        Ok(address)
    }

    /// Bytes that a call wrote.
    pub fn get<const N: usize>(&self, offset: u64) -> io::Result<[u8; N]> {
        let mut bytes = [0; N];
        self.foothold
            .memory
            .read(self.foothold.scratch + offset, &mut bytes)?;
        Ok(bytes)
    }

    /// Lets the thread's children be traced from birth, or no longer.
    pub fn set_trace(&mut self, trace: Trace) -> io::Result<()> {
        self.thread.set_trace(trace)
    }

    /// Ends: the thread is parked in a stop with its own registers and mask.
    pub fn end(self) -> io::Result<()> {
        match self.thread.park()? {
            Wait::Stopped(_) => {}
            _ => return Err(io::Error::from_raw_os_error(libc::ESRCH)),
        }
        // The mask first: should this process be killed in between, the frame restores the rest.
        self.thread.set_blocked(self.blocked)?;
        self.thread.set_registers(&self.registers)
    }
}

/// Registers with which a thread goes on that returns through a signal frame, where the kernel's restart
/// rules do not apply any more.
fn going_on(registers: &Registers) -> Registers {
    let mut going_on = *registers;
    match registers.interrupted() {
        Interrupted::No => going_on.leave_call(),
        Interrupted::Again(number) | Interrupted::SpuriousEintr(number) => going_on.call_again(number),
        // rt_sigreturn drops the restart block, so that restart_syscall would return EINTR: the same as after
        // a signal with a handler.
        Interrupted::RestartBlock(_) => going_on.call_returns_eintr(),
    }
    going_on
}
