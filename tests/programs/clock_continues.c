/* CLOCK_MONOTONIC and CLOCK_BOOTTIME go on: not back, and not forward by more than really went by. */
#include "check.h"

static const clockid_t clocks[] = { CLOCK_MONOTONIC, CLOCK_BOOTTIME, CLOCK_MONOTONIC_RAW, CLOCK_MONOTONIC_COARSE };

int main(int argc, char **argv)
{
	check_init(argc, argv);
	double before[LENGTH(clocks)], real = check_clock(CLOCK_REALTIME);
	for (size_t i = 0; i < LENGTH(clocks); i++)
		before[i] = check_clock(clocks[i]);
	/* Not by check_wait: every reading on the way counts as well. */
	check_ready();
	double last = before[0];
	while (!check_go()) {
		double now = check_clock(CLOCK_MONOTONIC);
		CHECK(now >= last, "CLOCK_MONOTONIC went back by %.3f s", last - now);
		last = now;
		check_sleep(0.002);
	}
	double went_by = check_clock(CLOCK_REALTIME) - real;
	DAMAGE(before[1] += 1000);
	for (size_t i = 0; i < LENGTH(clocks); i++) {
		double passed = check_clock(clocks[i]) - before[i];
		CHECK(passed >= 0, "clock %d went back by %.3f s", clocks[i], -passed);
		CHECK(passed < went_by + 1, "clock %d went %.3f s forward in %.3f s", clocks[i], passed, went_by);
	}
	PASS();
}
