/* Futex waits with a relative or an absolute time-out end by it, and at the right time. */
#include "timed_wait.h"
#include <linux/futex.h>
#include <semaphore.h>

static uint32_t word;

static void relative(void)
{
	struct timespec span = timed_wait_span();
	EQUAL(syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, 0, &span, NULL, 0), -1);
	EQUAL(errno, ETIMEDOUT);
}

static void absolute(void)
{
	struct timespec end = timed_wait_end(CLOCK_MONOTONIC);
	EQUAL(syscall(SYS_futex, &word, FUTEX_WAIT_BITSET_PRIVATE, 0, &end, NULL, 1), -1);
	EQUAL(errno, ETIMEDOUT);
}

static void condition(void)
{
	pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
	pthread_cond_t never;
	pthread_condattr_t attributes;
	pthread_condattr_init(&attributes);
	pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	pthread_cond_init(&never, &attributes);
	struct timespec end = timed_wait_end(CLOCK_MONOTONIC);
	pthread_mutex_lock(&mutex);
	EQUAL(pthread_cond_timedwait(&never, &mutex, &end), ETIMEDOUT);
}

static void semaphore(void)
{
	sem_t never;
	sem_init(&never, 0, 0);
	struct timespec end = timed_wait_end(CLOCK_MONOTONIC);
	EQUAL(sem_clockwait(&never, CLOCK_MONOTONIC, &end), -1);
	EQUAL(errno, ETIMEDOUT);
}

int main(int argc, char **argv)
{
	check_init(argc, argv);
	struct timed_wait waits[] = {
		{ .name = "FUTEX_WAIT", .wait = relative },
		{ .name = "FUTEX_WAIT_BITSET", .wait = absolute },
		{ .name = "pthread_cond_timedwait", .wait = condition },
		{ .name = "sem_clockwait", .wait = semaphore },
	};
	timed_wait_all(waits, LENGTH(waits));
	PASS();
}
