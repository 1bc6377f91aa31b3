/* Ends in the ways that a checkpoint may meet in the middle: ending MODE READY ROUNDS [THREADS]
 *
 *   wait      ROUNDS seconds with THREADS threads that sleep, and many mappings, so that freezing takes a while
 *   exec      a thread other than the main one executes the program anew, ROUNDS times, then status 7
 *   exit      a thread other than the main one ends all after some milliseconds, with status 42
 *   children  ROUNDS children with threads, one after the other, each ended by a thread of its own, then status 7
 *
 * READY appears when all threads are there.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { MAPPINGS = 300, PAGES = 8 };

static const char *mode, *ready;
static int rounds, threads;

static void pause_us(long microseconds)
{
	nanosleep(&(struct timespec){ microseconds / 1000000, microseconds % 1000000 * 1000 }, NULL);
}

/* Some threads compute, others sleep. */
static void *live(void *number)
{
	for (volatile uintptr_t i = 0;; i++)
		if ((uintptr_t)number % 4)
			pause();
		else if (i % 1000 == 0)
			pause_us(500);
	return NULL;
}

static void *end_all(void *status)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	pause_us(2000 + now.tv_nsec / 1000 % 30000);
	_exit((int)(intptr_t)status);
	return NULL;
}

static void *execute(void *unused)
{
	struct timespec now;
	char left[16], count[16];
	clock_gettime(CLOCK_MONOTONIC, &now);
	pause_us(2000 + now.tv_nsec / 1000 % 30000);
	snprintf(left, sizeof left, "%d", rounds - 1);
	snprintf(count, sizeof count, "%d", threads);
	execl("/proc/self/exe", "ending", mode, ready, left, count, (char *)NULL);
	_exit(3);
	return unused;
}

static void start(void *(*function)(void *), void *argument)
{
	pthread_t thread;
	pthread_attr_t small;
	pthread_attr_init(&small);
	pthread_attr_setstacksize(&small, 65536);
	if (pthread_create(&thread, &small, function, argument))
		_exit(4);
}

static void start_threads(void)
{
	for (uintptr_t i = 1; i < (uintptr_t)threads; i++)
		start(live, (void *)i);
}

static void say_ready(void)
{
	int fd = open(ready, O_CREAT | O_WRONLY, 0600);
	if (fd < 0 || close(fd))
		_exit(5);
}

static void one_child(void)
{
	pid_t child = fork();
	if (child == 0) {
		start_threads();
		start(end_all, (void *)0);
		for (;;)
			pause();
	}
	int status;
	if (child < 0 || waitpid(child, &status, 0) != child || status != 0)
		_exit(6);
}

int main(int argc, char **argv)
{
	if (argc < 4)
		return 2;
	mode = argv[1];
	ready = argv[2];
	rounds = atoi(argv[3]);
	threads = argc > 4 ? atoi(argv[4]) : 8;
	if (!strcmp(mode, "children")) {
		say_ready();
		while (rounds--)
			one_child();
		return 7;
	}
	if (!strcmp(mode, "wait"))
		for (int i = 0; i < MAPPINGS; i++) {
			/* Differing protections keep neighbours apart. */
			char *pages = mmap(NULL, PAGES * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
			memset(pages, i, PAGES * 4096);
			mprotect(pages, 4096, PROT_READ);
		}
	start_threads();
	if (!strcmp(mode, "exec")) {
		if (rounds == 0)
			return 7;
		start(execute, NULL);
	} else if (!strcmp(mode, "exit")) {
		start(end_all, (void *)42);
	}
	say_ready();
	for (int i = 0; i < rounds || strcmp(mode, "wait"); i++)
		sleep(1);
	return 0;
}
