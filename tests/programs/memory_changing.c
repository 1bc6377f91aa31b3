/* Threads that write all the time see every word as they last wrote it. */
#include "check.h"

enum { WORDS = 1 << 19, THREADS = 3 };
static uint64_t *areas[THREADS];
static _Atomic uint64_t rounds[THREADS];
static volatile int stop;

static void *writer(void *argument)
{
	size_t number = (size_t)argument;
	uint64_t *word = areas[number];
	for (uint64_t round = 1; !stop; round++) {
		for (size_t i = 0; i < WORDS; i++) {
			if (word[i] != round - 1)
				FAIL("word %zu is %" PRIu64 " in round %" PRIu64, i, word[i], round);
			word[i] = round;
		}
		rounds[number] = round;
	}
	return NULL;
}

int main(int argc, char **argv)
{
	check_init(argc, argv);
	pthread_t threads[THREADS];
	for (size_t i = 0; i < THREADS; i++) {
		areas[i] = check_map(WORDS * 8, PROT_READ | PROT_WRITE, i == 2 ? MAP_SHARED : MAP_PRIVATE);
		check_create(&threads[i], writer, (void *)i);
	}
	check_sleep(0.05);
	check_wait();
	DAMAGE(areas[1][WORDS / 2] = 0; check_sleep(0.5));
	uint64_t before = rounds[0] + rounds[1] + rounds[2];
	while (rounds[0] + rounds[1] + rounds[2] < before + 6)
		check_sleep(0.01);
	stop = 1;
	for (size_t i = 0; i < THREADS; i++) {
		pthread_join(threads[i], NULL);
		for (size_t w = 0; w < WORDS; w++)
			EQUAL(areas[i][w], rounds[i]);
	}
	PASS();
}
