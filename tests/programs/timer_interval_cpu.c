/* setitimer: the virtual and the profiling timer keep their remaining processor time, and fire. */
#include "check.h"

static _Atomic int fired[NSIG];

static void handler(int signal)
{
	fired[signal]++;
}

static void check_armed(int which, long longest)
{
	struct itimerval now;
	OK(getitimer(which, &now));
	CHECK(now.it_value.tv_sec <= longest && now.it_value.tv_sec >= longest - 6, "timer %d: %ld.%06ld s are left", which,
	      (long)now.it_value.tv_sec, (long)now.it_value.tv_usec);
	EQUAL(now.it_interval.tv_sec, 4);
}

int main(int argc, char **argv)
{
	check_init(argc, argv);
	OK(sigaction(SIGVTALRM, &(struct sigaction){ .sa_handler = handler }, NULL));
	OK(sigaction(SIGPROF, &(struct sigaction){ .sa_handler = handler }, NULL));
	OK(setitimer(ITIMER_VIRTUAL, &(struct itimerval){ { 4, 0 }, { 100, 0 } }, NULL));
	OK(setitimer(ITIMER_PROF, &(struct itimerval){ { 4, 0 }, { 200, 0 } }, NULL));
	check_wait();
	DAMAGE(setitimer(ITIMER_PROF, &(struct itimerval){ 0 }, NULL));
	check_armed(ITIMER_VIRTUAL, 100);
	check_armed(ITIMER_PROF, 200);
	EQUAL(fired[SIGVTALRM] + fired[SIGPROF], 0);
	OK(setitimer(ITIMER_VIRTUAL, &(struct itimerval){ { 0, 0 }, { 0, 20000 } }, NULL));
	OK(setitimer(ITIMER_PROF, &(struct itimerval){ { 0, 0 }, { 0, 20000 } }, NULL));
	for (double end = check_clock(CLOCK_MONOTONIC) + 10; check_clock(CLOCK_MONOTONIC) < end;)
		if (fired[SIGVTALRM] && fired[SIGPROF])
			PASS();
	FAIL("no signal: %d %d", fired[SIGVTALRM], fired[SIGPROF]);
}
