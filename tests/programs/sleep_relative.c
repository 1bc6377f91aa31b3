/* nanosleep and clock_nanosleep sleep as long as they were told, in all. */
#include "timed_wait.h"

static void by_nanosleep(void)
{
	struct timespec span = timed_wait_span();
	EQUAL(nanosleep(&span, NULL), 0);
}

static void by_clock_monotonic(void)
{
	struct timespec span = timed_wait_span();
	EQUAL(clock_nanosleep(CLOCK_MONOTONIC, 0, &span, NULL), 0);
}

static void by_clock_realtime(void)
{
	struct timespec span = timed_wait_span(), left;
	EQUAL(clock_nanosleep(CLOCK_REALTIME, 0, &span, &left), 0);
}

static void by_clock_boottime(void)
{
	struct timespec span = timed_wait_span();
	EQUAL(clock_nanosleep(CLOCK_BOOTTIME, 0, &span, NULL), 0);
}

int main(int argc, char **argv)
{
	check_init(argc, argv);
	struct timed_wait waits[] = {
		{ .name = "nanosleep", .wait = by_nanosleep },
		{ .name = "clock_nanosleep(MONOTONIC)", .wait = by_clock_monotonic },
		{ .name = "clock_nanosleep(REALTIME)", .wait = by_clock_realtime },
		{ .name = "clock_nanosleep(BOOTTIME)", .wait = by_clock_boottime },
	};
	timed_wait_all(waits, LENGTH(waits));
	PASS();
}
