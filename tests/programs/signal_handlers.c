/* Handlers, flags and masks of all signals stay, ignored ones too, and the handlers still run. */
#include "check.h"

/* The kernel's own form, with its flags and its restorer address: sigaction(2), "C library/kernel differences". */
struct kernel_action {
	void *handler;
	unsigned long flags;
	void *restorer;
	uint64_t mask;
};

static _Atomic int delivered[65];

static void simple(int signal)
{
	delivered[signal]++;
}

static void with_info(int signal, siginfo_t *info, void *context)
{
	(void)context;
	delivered[signal] += info->si_signo == signal ? 1 : 100;
}

static void get(int signal, struct kernel_action *action)
{
	OK(syscall(SYS_rt_sigaction, signal, NULL, action, 8));
}

static void set_up(int signal)
{
	struct sigaction action = { 0 };
	int kind = signal % 4;
	if (kind == 0)
		action.sa_handler = SIG_IGN;
	else if (kind == 1)
		action.sa_handler = simple;
	else if (kind == 2)
		action.sa_sigaction = with_info;
	action.sa_flags = (kind == 2 ? SA_SIGINFO : 0) | (signal % 3 ? SA_RESTART : 0) |
			  (signal % 5 ? 0 : SA_NODEFER) | (signal % 7 ? 0 : SA_ONSTACK);
	sigaddset(&action.sa_mask, 1 + signal * 7 % 31);
	sigaddset(&action.sa_mask, SIGRTMIN + signal % 30);
	OK(sigaction(signal, &action, NULL));
}

int main(int argc, char **argv)
{
	check_init(argc, argv);
	struct kernel_action before[65] = { 0 };
	for (int signal = 1; signal <= 64; signal++) {
		if (signal != SIGKILL && signal != SIGSTOP && signal != 32 && signal != 33)
			set_up(signal);
		get(signal, &before[signal]);
	}
	OK(sigaction(SIGUSR2, &(struct sigaction){ .sa_handler = simple, .sa_flags = SA_RESETHAND }, NULL));
	get(SIGUSR2, &before[SIGUSR2]);
	check_wait();
	DAMAGE(signal(SIGHUP, SIG_DFL));
	for (int signal = 1; signal <= 64; signal++) {
		struct kernel_action now = { 0 };
		get(signal, &now);
		if (memcmp(&now, &before[signal], sizeof now))
			FAIL("signal %d: handler %p flags %lx mask %lx were %p %lx %lx", signal, now.handler, now.flags,
			     now.mask, before[signal].handler, before[signal].flags, before[signal].mask);
	}
	for (int signal = 1; signal <= 64; signal++)
		if (signal % 4 == 1 || signal % 4 == 2) {
			if (signal == SIGKILL || signal == SIGSTOP || signal == 32 || signal == 33)
				continue;
			raise(signal);
			EQUAL(delivered[signal], 1);
		}
	PASS();
}
