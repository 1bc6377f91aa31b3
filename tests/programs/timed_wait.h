/* Threads that wait with a time-out: each wait must end by its time-out, and at the right time.
 *
 * The time is that of CLOCK_MONOTONIC as the program sees it, before, during and after the checkpoint.
 */
#ifndef TIMED_WAIT_H
#define TIMED_WAIT_H
#include "check.h"

enum { WAIT_MS = 4000, LATE_MS = 3000 };

struct timed_wait {
	const char *name;
	void (*wait)(void); /* returns when the time is over; fails the program if it ends in another way */
	pthread_t thread;
	_Atomic pid_t tid;
	_Atomic bool done;
	double waited_ms;
};

static UNUSED struct timespec timed_wait_span(void)
{
	return (struct timespec){ WAIT_MS / 1000, WAIT_MS % 1000 * 1000000L };
}

static UNUSED struct timespec timed_wait_end(clockid_t clock)
{
	struct timespec end;
	clock_gettime(clock, &end);
	end.tv_sec += WAIT_MS / 1000;
	return end;
}

static void *timed_wait_thread(void *tid)
{
	struct timed_wait *this = (struct timed_wait *)((char *)tid - offsetof(struct timed_wait, tid));
	double begin = check_clock(CLOCK_MONOTONIC);
	this->tid = gettid();
	this->wait();
	this->waited_ms = (check_clock(CLOCK_MONOTONIC) - begin) * 1000;
	this->done = true;
	return NULL;
}

static UNUSED void timed_wait_all(struct timed_wait *waits, size_t count)
{
	for (size_t i = 0; i < count; i++)
		check_create_asleep(&waits[i].thread, timed_wait_thread, &waits[i].tid);
	check_wait();
	for (size_t i = 0; i < count; i++) {
		pthread_join(waits[i].thread, NULL);
		DAMAGE(waits[i].waited_ms -= 10);
		CHECK(waits[i].waited_ms >= WAIT_MS - 2, "%s waited only %.1f of %d ms", waits[i].name, waits[i].waited_ms,
		      WAIT_MS);
		CHECK(waits[i].waited_ms < WAIT_MS + LATE_MS, "%s waited %.1f instead of %d ms", waits[i].name,
		      waits[i].waited_ms, WAIT_MS);
	}
}

#endif
