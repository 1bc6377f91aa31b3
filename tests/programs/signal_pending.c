/* Blocked signals that are pending stay pending: standard ones once, real-time ones queued with their values. */
#include "check.h"

static void take(int signal, int code, int value)
{
	sigset_t set;
	siginfo_t info;
	sigemptyset(&set);
	sigaddset(&set, signal);
	struct timespec none = { 0 };
	if (sigtimedwait(&set, &info, &none) != signal)
		FAIL("signal %d is not pending any more", signal);
	EQUAL(info.si_code, code);
	EQUAL(info.si_pid, getpid());
	EQUAL(info.si_uid, getuid());
	if (code == SI_QUEUE)
		EQUAL(info.si_value.sival_int, value);
}

int main(int argc, char **argv)
{
	check_init(argc, argv);
	sigset_t all, pending;
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, NULL);
	kill(getpid(), SIGUSR1);
	kill(getpid(), SIGUSR1); /* merged with the first */
	kill(getpid(), SIGTERM);
	for (int i = 0; i < 20; i++)
		OK(sigqueue(getpid(), SIGRTMIN + 3 + i % 2, (union sigval){ .sival_int = 1000 + i }));
	OK(sigqueue(getpid(), SIGUSR2, (union sigval){ .sival_int = 77 }));
	check_wait();
	DAMAGE(take(SIGRTMIN + 3, SI_QUEUE, 1000));
	sigpending(&pending);
	for (int signal = 1; signal <= SIGRTMAX; signal++) {
		bool wanted = signal == SIGUSR1 || signal == SIGUSR2 || signal == SIGTERM ||
			      signal == SIGRTMIN + 3 || signal == SIGRTMIN + 4;
		if (sigismember(&pending, signal) != wanted)
			FAIL("signal %d pending: %d", signal, !wanted);
	}
	take(SIGUSR1, SI_USER, 0);
	take(SIGTERM, SI_USER, 0);
	take(SIGUSR2, SI_QUEUE, 77);
	for (int i = 0; i < 20; i += 2)
		take(SIGRTMIN + 3, SI_QUEUE, 1000 + i);
	for (int i = 1; i < 20; i += 2)
		take(SIGRTMIN + 4, SI_QUEUE, 1000 + i);
	sigpending(&pending);
	EQUAL(sigisemptyset(&pending), 1);
	PASS();
}
