/* A POSIX timer with a short interval fires on; a pending signal of a timer and its overrun do not get lost. */
#include "check.h"

static _Atomic long ticks;

static void handler(int signal)
{
	(void)signal;
	ticks++;
}

int main(int argc, char **argv)
{
	check_init(argc, argv);
	OK(sigaction(SIGRTMIN, &(struct sigaction){ .sa_handler = handler, .sa_flags = SA_RESTART }, NULL));
	sigset_t blocked;
	sigemptyset(&blocked);
	sigaddset(&blocked, SIGRTMIN + 1);
	sigprocmask(SIG_BLOCK, &blocked, NULL);
	timer_t ticking, held;
	OK(timer_create(CLOCK_MONOTONIC, &(struct sigevent){ .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMIN }, &ticking));
	OK(timer_create(CLOCK_MONOTONIC, &(struct sigevent){ .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMIN + 1 }, &held));
	struct itimerspec time = { { 0, 10000000 }, { 0, 10000000 } };
	OK(timer_settime(ticking, 0, &time, NULL));
	OK(timer_settime(held, 0, &time, NULL));
	check_sleep(0.1);
	check_wait();
	DAMAGE(timer_delete(ticking));
	long before = ticks;
	check_sleep(0.5);
	CHECK(ticks > before + 5, "%ld ticks in 0.5 s", ticks - before);
	sigset_t all;
	sigfillset(&all);
	sigprocmask(SIG_BLOCK, &all, NULL);
	siginfo_t info;
	struct timespec second = { 1, 0 };
	EQUAL(sigtimedwait(&blocked, &info, &second), SIGRTMIN + 1);
	EQUAL(info.si_code, SI_TIMER);
	CHECK(info.si_overrun >= 5, "overrun %d", info.si_overrun);
	EQUAL(sigtimedwait(&blocked, &info, &second), SIGRTMIN + 1);
	PASS();
}
