/* A child made by vfork that does something else first is refused soon, and nobody else stands still for it. */
#include "check.h"
#include <sys/wait.h>

struct shared {
	atomic_bool end;
	_Atomic double longest;
};

/* Notes the longest time between two looks at the clock. */
static void tick(struct shared *shared)
{
	double last = check_clock(CLOCK_MONOTONIC);
	while (!shared->end) {
		check_sleep(0.002);
		double now = check_clock(CLOCK_MONOTONIC);
		if (now - last > shared->longest)
			shared->longest = now - last;
		last = now;
	}
	_exit(0);
}

int main(int argc, char **argv)
{
	check_init(argc, argv);
	struct shared *shared = check_map(4096, PROT_READ | PROT_WRITE, MAP_SHARED);
	pid_t ticking = fork();
	OK(ticking);
	if (ticking == 0)
		tick(shared);
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
	pid_t child = vfork();
	OK(child);
	if (child == 0) {
		check_wait();
		_exit(7);
	}
	int status;
	EQUAL(waitpid(child, &status, 0), child);
	EQUAL(status, 7 << 8);
	shared->end = true;
	EQUAL(waitpid(ticking, &status, 0), ticking);
	CHECK(shared->longest < 1.5, "another process stood still for %f s", shared->longest);
	PASS();
}
