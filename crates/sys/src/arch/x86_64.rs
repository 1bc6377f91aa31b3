//! x86-64: registers, the call gadget, the signal frame, interrupted calls.

use std::arch::x86_64::__cpuid_count;

/// General registers of a thread: `struct user_regs_struct` (sys/user.h).
#[derive(Clone, Copy, Debug)]
pub struct Registers(pub libc::user_regs_struct);

/// Size of `struct user_regs_struct`.
pub const REGISTERS_SIZE: usize = size_of::<libc::user_regs_struct>();

/// Highest address of user space with 4-level page tables (one page less: TASK_SIZE).
pub const TASK_SIZE: u64 = 0x7fff_ffff_f000;

/// Selector of the 64-bit user code segment; 0x23 would be a 32-bit program.
const CS_64BIT: u64 = 0x33;

// Kernel-internal return values of interrupted calls (include/linux/errno.h); user space never sees them.
const ERESTARTSYS: i64 = -512;
const ERESTARTNOINTR: i64 = -513;
const ERESTARTNOHAND: i64 = -514;
const ERESTART_RESTARTBLOCK: i64 = -516;
const EINTR: i64 = -4;

/// Length of the `syscall` instruction.
const SYSCALL_LEN: u64 = 2;

/// How the call in which a thread was stopped goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interrupted {
    /// The thread was in user code, or its call had returned.
    No,
    /// The call is made again with the same arguments.
    Again(u64),
    /// The call has a kernel-private restart block with the remaining time (restart_syscall(2)).
    RestartBlock(u64),
    /// The call returned EINTR although no signal is there (epoll_wait, sigtimedwait: signal(7), "Interruption
    /// of system calls and library functions by stop signals").
    SpuriousEintr(u64),
}

impl Registers {
    /// From the bytes of an image.
    pub fn from_bytes(bytes: &[u8]) -> Option<Registers> {
        if bytes.len() != REGISTERS_SIZE {
            return None;
        }
        // SAFETY: user_regs_struct is plain integers, and the length was just checked; read_unaligned needs
        // no alignment.
        Some(Registers(unsafe {
            std::ptr::read_unaligned(bytes.as_ptr().cast())
        }))
    }

    /// As bytes for an image.
    pub fn to_bytes(&self) -> Vec<u8> {
        // SAFETY: user_regs_struct is 27 u64 without padding, alive for the duration of the borrow.
        unsafe { std::slice::from_raw_parts((&raw const self.0).cast::<u8>(), REGISTERS_SIZE) }.to_vec()
    }

    /// Whether the thread runs 64-bit code.
    pub fn is_64bit(&self) -> bool {
        self.0.cs == CS_64BIT
    }

    /// Instruction pointer.
    pub fn ip(&self) -> u64 {
        self.0.rip
    }

    /// Stack pointer.
    pub fn sp(&self) -> u64 {
        self.0.rsp
    }

    /// Moves the instruction pointer.
    pub fn set_ip(&mut self, ip: u64) {
        self.0.rip = ip;
    }

    /// Result of the last call.
    pub fn result(&self) -> i64 {
        self.0.rax as i64
    }

    /// Arguments of the call in which the thread is.
    pub fn arguments(&self) -> [u64; 6] {
        let r = &self.0;
        [r.rdi, r.rsi, r.rdx, r.r10, r.r8, r.r9]
    }

    /// Sets one argument of the call in which the thread is.
    pub fn set_argument(&mut self, index: usize, value: u64) {
        let r = &mut self.0;
        match index {
            0 => r.rdi = value,
            1 => r.rsi = value,
            2 => r.rdx = value,
            3 => r.r10 = value,
            4 => r.r8 = value,
            _ => r.r9 = value,
        }
    }

    /// Registers with which `number(arguments)` is called by the instruction at `gadget`.
    pub fn for_call(mut self, gadget: u64, sp: u64, number: u64, arguments: [u64; 6]) -> Registers {
        self.0.rip = gadget;
        self.0.rsp = sp;
        self.0.rax = number;
        // -1: not in a call, so that the kernel does not "restart" one when the thread runs on.
        self.0.orig_rax = u64::MAX;
        for (index, value) in arguments.into_iter().enumerate() {
            self.set_argument(index, value);
        }
        self
    }

    /// How the call in which these registers were stopped (in a ptrace stop before user code runs, that is
    /// before the kernel has applied its restart rules) goes on. `arch/x86/kernel/signal.c`,
    /// arch_do_signal_or_restart.
    pub fn interrupted(&self) -> Interrupted {
        let number = self.0.orig_rax;
        if (number as i64) < 0 {
            return Interrupted::No;
        }
        match self.0.rax as i64 {
            ERESTARTSYS | ERESTARTNOINTR | ERESTARTNOHAND => Interrupted::Again(number),
            ERESTART_RESTARTBLOCK => Interrupted::RestartBlock(number),
            EINTR if eintr_after_stop(number) => Interrupted::SpuriousEintr(number),
            _ => Interrupted::No,
        }
    }

    /// Lets the interrupted call `number` be made again.
    pub fn call_again(&mut self, number: u64) {
        self.0.rax = number;
        self.0.rip = self.0.rip.wrapping_sub(SYSCALL_LEN);
        self.0.orig_rax = u64::MAX;
    }

    /// Whether these registers, with the raw result of call `number`, mean that the call has a restart block.
    pub fn restarts(&self, number: u64) -> bool {
        Registers(libc::user_regs_struct {
            orig_rax: number,
            ..self.0
        })
        .interrupted()
            == Interrupted::RestartBlock(number)
    }

    /// Marks the thread as sleeping in call `number`, whose restart block the kernel has.
    pub fn sleeps_in(&mut self, number: u64) {
        self.0.orig_rax = number;
        self.0.rax = ERESTART_RESTARTBLOCK as u64;
    }

    /// Lets the call return `result`.
    pub fn call_returns(&mut self, result: i64) {
        self.0.orig_rax = u64::MAX;
        self.0.rax = result as u64;
    }

    /// Lets the interrupted call return EINTR.
    pub fn call_returns_eintr(&mut self) {
        self.0.rax = EINTR as u64;
        self.0.orig_rax = u64::MAX;
    }

    /// Marks the thread as not being in a call.
    pub fn leave_call(&mut self) {
        self.0.orig_rax = u64::MAX;
    }
}

/// Calls that return EINTR after a stop and SIGCONT without any handler (signal(7)).
fn eintr_after_stop(number: u64) -> bool {
    [
        libc::SYS_epoll_wait,
        libc::SYS_epoll_pwait,
        libc::SYS_epoll_pwait2,
        libc::SYS_rt_sigtimedwait,
    ]
    .contains(&(number as i64))
}

/// The code through which remote calls are made. After every call it returns through rt_sigreturn into a
/// signal frame that holds the thread's own state. So if this process is killed in the middle of a remote
/// call, the kernel lets the thread go, and the thread itself goes on where it was.
///
/// ```text
///  0  syscall                    ← CALL
///  2  mov  $15, %eax             (rt_sigreturn)
///  7  syscall
///  9  syscall                    ← CLONE: the child must not run the parent's code
/// 11  test %rax, %rax
/// 14  jnz  2
/// 16  mov  $60, %eax             (exit)
/// 21  syscall
/// ```
pub const GADGET: [u8; 24] = [
    0x0f, 0x05, 0xb8, 0x0f, 0, 0, 0, 0x0f, 0x05, 0x0f, 0x05, 0x48, 0x85, 0xc0, 0x75, 0xf2, 0xb8, 0x3c, 0, 0,
    0, 0x0f, 0x05, 0xcc,
];
/// Offset of the entry for ordinary calls.
pub const GADGET_CALL: u64 = 0;
/// Offset of the entry for calls that make a child.
pub const GADGET_CLONE: u64 = 9;

/// Loads the part of an extended state that is allotted on first use, see
/// [`Remote::load_extended_state`](crate::remote::Remote): `xrstor (%rdi); syscall`, with the features in edx:eax.
pub const LOADER: [u8; 5] = [0x0f, 0xae, 0x2f, 0x0f, 0x05];
/// Where it goes in a page of ours, behind the gadget.
pub const LOADER_OFFSET: u64 = 64;

/// Size of the signal frame without the extended state.
pub const FRAME_SIZE: usize = 8 + 40 + 256 + 8 + 128;

const FRAME_FLAGS: u64 = 1 | 2 | 4; // UC_FP_XSTATE | UC_SIGCONTEXT_SS | UC_STRICT_RESTORE_SS
const FP_XSTATE_MAGIC1: u32 = 0x4650_5853;
const FP_XSTATE_MAGIC2: u32 = 0x4650_5845;
/// Offset of `struct _fpx_sw_bytes` in the legacy area (arch/x86/include/uapi/asm/sigcontext.h).
const SW_BYTES: usize = 464;
/// XTILEDATA, allotted to a process only on request (arch_prctl ARCH_REQ_XCOMP_PERM).
pub(crate) const XFEATURE_XTILEDATA: u64 = 1 << 18;

/// Extended state (XSAVE, standard layout) of a thread and what the kernel says of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExtendedState(pub Vec<u8>);

impl ExtendedState {
    /// Features that the kernel enables for programs (XCR0), which ptrace leaves in the software bytes.
    pub fn enabled_features(&self) -> u64 {
        self.u64_at(SW_BYTES)
    }

    /// Features that are in use (XSTATE_BV).
    pub fn used_features(&self) -> u64 {
        self.u64_at(512)
    }

    fn u64_at(&self, offset: usize) -> u64 {
        self.0
            .get(offset..offset + 8)
            .and_then(|b| b.try_into().ok())
            .map_or(0, u64::from_le_bytes)
    }

    /// The state as rt_sigreturn(2) wants it: marked with magic numbers, and cut to the size that the kernel
    /// reserves for a thread (`fpstate->user_size`; more would make it ignore everything beyond SSE).
    fn for_frame(&self) -> Vec<u8> {
        let mut features = self.enabled_features();
        if self.used_features() & XFEATURE_XTILEDATA == 0 {
            features &= !XFEATURE_XTILEDATA;
        }
        let size = xstate_size(features).clamp(576, self.0.len().max(576));
        let mut area = self.0.clone();
        area.resize(size, 0);
        area[SW_BYTES..SW_BYTES + 48].fill(0);
        area[SW_BYTES..SW_BYTES + 4].copy_from_slice(&FP_XSTATE_MAGIC1.to_le_bytes());
        area[SW_BYTES + 4..SW_BYTES + 8].copy_from_slice(&(size as u32 + 4).to_le_bytes());
        area[SW_BYTES + 8..SW_BYTES + 16].copy_from_slice(&features.to_le_bytes());
        area[SW_BYTES + 16..SW_BYTES + 20].copy_from_slice(&(size as u32).to_le_bytes());
        area.extend_from_slice(&FP_XSTATE_MAGIC2.to_le_bytes());
        area
    }
}

/// Size in bytes of the standard XSAVE layout of `features` (CPUID leaf 0xD).
fn xstate_size(features: u64) -> usize {
    let mut size = 576;
    for feature in (2..63).filter(|f| features & (1 << f) != 0) {
        let leaf = __cpuid_count(0xd, feature);
        size = size.max((leaf.eax + leaf.ebx) as usize);
    }
    size
}

/// The signal frame that brings a thread back to `registers`, to be written at `address` (64-byte aligned).
/// The stack pointer for the gadget is `address + 8`.
///
/// rt_sigreturn also sets the alternate stack; the flags given here are invalid, which it ignores, so the
/// thread keeps its own.
pub fn signal_frame(address: u64, registers: &Registers, state: &ExtendedState, blocked: u64) -> Vec<u8> {
    let state_offset = FRAME_SIZE.next_multiple_of(64);
    let r = &registers.0;
    let mut frame = Vec::with_capacity(state_offset + state.0.len() + 4);
    let words = |frame: &mut Vec<u8>, words: &[u64]| {
        for word in words {
            frame.extend_from_slice(&word.to_le_bytes());
        }
    };
    words(&mut frame, &[0]); // return address, already popped
    words(&mut frame, &[FRAME_FLAGS, 0, 0, 0x7fff_0000, 0]); // uc_flags, uc_link, uc_stack
    words(
        &mut frame,
        &[r.r8, r.r9, r.r10, r.r11, r.r12, r.r13, r.r14, r.r15],
    );
    words(
        &mut frame,
        &[
            r.rdi, r.rsi, r.rbp, r.rbx, r.rdx, r.rax, r.rcx, r.rsp, r.rip, r.eflags,
        ],
    );
    words(&mut frame, &[r.cs & 0xffff | (r.ss & 0xffff) << 48, 0, 0, 0, 0]); // segments, err, trapno, oldmask, cr2
    words(&mut frame, &[address + state_offset as u64]);
    words(&mut frame, &[0; 8]);
    words(&mut frame, &[blocked]);
    frame.resize(state_offset, 0);
    frame.extend_from_slice(&state.for_frame());
    frame
}
