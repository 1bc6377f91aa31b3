// sanitized LOG: built with AddressSanitizer: threads that allocate and free, and children whose mistakes it must find.
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static unsigned long sums[4];

static void pause_ms(long milliseconds)
{
	nanosleep(&(struct timespec){ 0, milliseconds * 1000000 }, NULL);
}

static void *churn(void *argument)
{
	unsigned long number = (unsigned long)argument, seed = number + 1;
	char *kept[64] = { 0 };
	for (int step = 0; step < 400; step++) {
		for (int i = 0; i < 50; i++) {
			seed = seed * 6364136223846793005u + 1442695040888963407u;
			unsigned long size = (seed >> 33) % 5000 + 1, slot = (seed >> 20) % 64;
			free(kept[slot]);
			kept[slot] = malloc(size);
			memset(kept[slot], (int)step, size);
			sums[number] = sums[number] * 31 + size + (unsigned char)kept[slot][size - 1];
		}
		pause_ms(5);
	}
	for (int slot = 0; slot < 64; slot++)
		free(kept[slot]);
	return NULL;
}

// A child that does wrong: status 1 says that the sanitizer found it.
static int found(int kind)
{
	pid_t child = fork();
	if (child == 0) {
		fclose(stderr);
		volatile char *memory = malloc(100);
		static volatile int sink;
		char local[10];
		if (kind == 0)
			free((void *)memory);
		sink = kind == 2 ? ((volatile char *)local)[10 + kind] : memory[kind == 1 ? 100 : 50];
		_exit(0);
	}
	int status;
	waitpid(child, &status, 0);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

int main(int argc, char **argv)
{
	FILE *log = fopen(argc > 1 ? argv[1] : "/dev/null", "w");
	pthread_t threads[4];
	for (unsigned long i = 0; i < 4; i++)
		pthread_create(&threads[i], NULL, churn, (void *)i);
	for (int i = 0; i < 12; i++) {
		fprintf(log, "mistake %d: status %d\n", i % 4, found(i % 4));
		fflush(log);
		pause_ms(100);
	}
	for (int i = 0; i < 4; i++) {
		pthread_join(threads[i], NULL);
		fprintf(log, "thread %d: %016lx\n", i, sums[i]);
	}
	return fclose(log);
}
