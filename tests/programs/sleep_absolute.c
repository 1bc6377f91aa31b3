/* clock_nanosleep until a point of CLOCK_MONOTONIC or CLOCK_BOOTTIME ends at that point. */
#include "timed_wait.h"

static void until(clockid_t clock)
{
	struct timespec end = timed_wait_end(clock);
	EQUAL(clock_nanosleep(clock, TIMER_ABSTIME, &end, NULL), 0);
	double late = check_clock(clock) - ((double)end.tv_sec + (double)end.tv_nsec / 1e9);
	CHECK(late >= 0, "clock %d: %.6f s too early", clock, -late);
}

static void until_monotonic(void)
{
	until(CLOCK_MONOTONIC);
}

static void until_boottime(void)
{
	until(CLOCK_BOOTTIME);
}

int main(int argc, char **argv)
{
	check_init(argc, argv);
	struct timed_wait waits[] = {
		{ .name = "clock_nanosleep(MONOTONIC, ABSTIME)", .wait = until_monotonic },
		{ .name = "clock_nanosleep(BOOTTIME, ABSTIME)", .wait = until_boottime },
	};
	timed_wait_all(waits, LENGTH(waits));
	PASS();
}
