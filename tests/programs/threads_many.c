/* A hundred and fifty threads, some of which ended, keep their tids, and new ones can be made. */
#include "check.h"

enum { THREADS = 150 };
static volatile int stop;
static _Atomic pid_t tids[THREADS];
static _Atomic long steps[THREADS];

static void *worker(void *argument)
{
	size_t number = (size_t)argument;
	tids[number] = gettid();
	if (number % 5 == 4)
		return NULL; /* leaves a gap in the numbers */
	while (!stop) {
		EQUAL(syscall(SYS_gettid), tids[number]);
		steps[number]++;
		check_sleep(0.02);
	}
	return NULL;
}

int main(int argc, char **argv)
{
	check_init(argc, argv);
	pthread_t threads[THREADS], more[10];
	for (size_t i = 0; i < THREADS; i++)
		check_create(&threads[i], worker, (void *)i);
	for (size_t i = 4; i < THREADS; i += 5)
		pthread_join(threads[i], NULL);
	while (!tids[THREADS - 2])
		check_sleep(0.001);
	pid_t pid = getpid();
	check_wait();
	DAMAGE(tids[33]++);
	EQUAL(syscall(SYS_getpid), pid);
	EQUAL(syscall(SYS_gettid), pid);
	long before[THREADS];
	for (size_t i = 0; i < THREADS; i++)
		before[i] = steps[i];
	check_sleep(0.3);
	for (size_t i = 0; i < THREADS; i++)
		if (i % 5 != 4)
			CHECK(steps[i] > before[i], "thread %zu stands still", i);
	stop = 1;
	for (size_t i = 0; i < THREADS; i++)
		if (i % 5 != 4)
			pthread_join(threads[i], NULL);
	for (size_t i = 0; i < LENGTH(more); i++)
		check_create(&more[i], worker, (void *)i);
	for (size_t i = 0; i < LENGTH(more); i++)
		pthread_join(more[i], NULL);
	PASS();
}
