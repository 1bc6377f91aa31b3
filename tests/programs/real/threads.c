/* A pool of POSIX threads with a queue: threads LOG ITERATIONS [WORK]
 *
 * Every iteration hands 64 pieces of work to 6 threads by a mutex and two conditions, and combines the results. One
 * line per iteration to stdout and to LOG.
 */
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { THREADS = 6, PIECES = 64 };

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t work = PTHREAD_COND_INITIALIZER, finished = PTHREAD_COND_INITIALIZER;
static int next = PIECES, done, ended, amount = 20000;
static uint64_t values[PIECES];
static __thread uint64_t calls;

static uint64_t compute(uint64_t value)
{
	size_t size = 64 + value % 4000;
	uint64_t *block = malloc(size * 8);
	for (size_t i = 0; i < size; i++)
		block[i] = value + i;
	for (int round = 0; round < amount; round++) {
		value ^= value << 13;
		value ^= value >> 7;
		value ^= value << 17;
		value += block[value % size];
	}
	free(block);
	calls++;
	return value;
}

static void *worker(void *unused)
{
	(void)unused;
	pthread_mutex_lock(&mutex);
	while (!ended) {
		if (next >= PIECES) {
			pthread_cond_wait(&work, &mutex);
			continue;
		}
		int mine = next++;
		uint64_t value = values[mine];
		pthread_mutex_unlock(&mutex);
		value = compute(value);
		pthread_mutex_lock(&mutex);
		values[mine] = value;
		if (++done == PIECES)
			pthread_cond_signal(&finished);
	}
	pthread_mutex_unlock(&mutex);
	return (void *)(uintptr_t)calls;
}

static uint64_t iterate(void)
{
	pthread_mutex_lock(&mutex);
	next = done = 0;
	pthread_cond_broadcast(&work);
	while (done < PIECES)
		pthread_cond_wait(&finished, &mutex);
	uint64_t sum = 0;
	for (int i = 0; i < PIECES; i++)
		sum = sum * 31 + values[i];
	pthread_mutex_unlock(&mutex);
	return sum;
}

int main(int argc, char **argv)
{
	if (argc < 3)
		return 2;
	FILE *log = fopen(argv[1], "w");
	int iterations = atoi(argv[2]);
	if (argc > 3)
		amount = atoi(argv[3]);
	if (!log)
		return 3;
	setvbuf(stdout, NULL, _IOLBF, 0);
	pthread_t threads[THREADS];
	for (int i = 0; i < PIECES; i++)
		values[i] = 88172645463325252u + (uint64_t)i;
	for (int i = 0; i < THREADS; i++)
		if (pthread_create(&threads[i], NULL, worker, NULL))
			return 4;
	uint64_t sum = 0, total = 0;
	for (int i = 0; i < iterations; i++) {
		sum ^= iterate();
		printf("iteration %d %016lx\n", i, (unsigned long)sum);
		fprintf(log, "iteration %d %016lx\n", i, (unsigned long)sum);
		fflush(log);
	}
	pthread_mutex_lock(&mutex);
	ended = 1;
	pthread_cond_broadcast(&work);
	pthread_mutex_unlock(&mutex);
	for (int i = 0; i < THREADS; i++) {
		void *count;
		pthread_join(threads[i], &count);
		total += (uintptr_t)count;
	}
	if (total != (uint64_t)iterations * PIECES)
		return 5;
	printf("final %016lx\n", (unsigned long)sum);
	fprintf(log, "final %016lx\n", (unsigned long)sum);
	return fclose(log) != 0;
}
