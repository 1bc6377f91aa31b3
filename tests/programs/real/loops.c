/* Loops whose speed is compared with and without rethaw: loops compute|system-call|fork-exec ROUNDS
 *
 * Prints the seconds that the loop took.
 */
#define _GNU_SOURCE
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static double now(void)
{
	struct timespec time;
	clock_gettime(CLOCK_MONOTONIC, &time);
	return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static int compute(long rounds)
{
	uint64_t value = 88172645463325252u;
	for (long i = 0; i < rounds; i++) {
		value ^= value << 13;
		value ^= value >> 7;
		value ^= value << 17;
	}
	return value == 0;
}

static int system_call(long rounds)
{
	for (long i = 0; i < rounds; i++)
		if (syscall(SYS_getppid) < 0)
			return 1;
	return 0;
}

static int fork_exec(long rounds)
{
	for (long i = 0; i < rounds; i++) {
		int status;
		pid_t child = fork();
		if (child == 0) {
			execl("/bin/true", "true", (char *)NULL);
			_exit(127);
		}
		if (child < 0 || waitpid(child, &status, 0) != child || status != 0)
			return 1;
	}
	return 0;
}

int main(int argc, char **argv)
{
	if (argc < 3)
		return 2;
	long rounds = atol(argv[2]);
	int (*loop)(long) = !strcmp(argv[1], "compute") ? compute : !strcmp(argv[1], "fork-exec") ? fork_exec : system_call;
	double begin = now();
	int failed = loop(rounds);
	printf("%.6f\n", now() - begin);
	return failed;
}
