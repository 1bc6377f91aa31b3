/* setitimer: the real timer goes on with its remaining time and interval and keeps firing. */
#include "check.h"

static _Atomic int alarms;

static void handler(int signal)
{
	(void)signal;
	alarms++;
}

int main(int argc, char **argv)
{
	check_init(argc, argv);
	OK(sigaction(SIGALRM, &(struct sigaction){ .sa_handler = handler, .sa_flags = SA_RESTART }, NULL));
	struct itimerval now;
	/* The first signal comes after 3 s, then one every 50 ms. */
	double begin = check_clock(CLOCK_MONOTONIC);
	OK(setitimer(ITIMER_REAL, &(struct itimerval){ { 0, 50000 }, { 3, 0 } }, NULL));
	check_wait();
	DAMAGE(setitimer(ITIMER_REAL, &(struct itimerval){ 0 }, NULL));
	OK(getitimer(ITIMER_REAL, &now));
	EQUAL(now.it_interval.tv_sec, 0);
	EQUAL(now.it_interval.tv_usec, 50000);
	CHECK(now.it_value.tv_sec < 3 && (now.it_value.tv_sec || now.it_value.tv_usec), "the timer is not armed");
	while (!alarms && check_clock(CLOCK_MONOTONIC) < begin + 10)
		check_sleep(0.005);
	double took = check_clock(CLOCK_MONOTONIC) - begin;
	CHECK(took >= 2.99, "the first alarm came after %.3f s instead of 3", took);
	CHECK(took < 6, "the first alarm came after %.3f s instead of 3", took);
	int before = alarms;
	check_sleep(0.5);
	CHECK(alarms >= before + 3, "%d alarms in 0.5 s", alarms - before);
	PASS();
}
