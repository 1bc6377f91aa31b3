/* Counts, slowly: counter LOG LINES [MIB]
 *
 * Every 5 ms one line to LOG and to stdout. Holds MIB mebibytes of memory and checks them as it goes. Says `signal N`
 * for the signals that batch systems and terminals send; SIGQUIT ends it with status 7. LOG.ready appears at the start.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static volatile sig_atomic_t seen[65];

static void handler(int signal)
{
	seen[signal]++;
}

static void say_signals(void)
{
	for (int signal = 1; signal < 65; signal++)
		for (; seen[signal]; seen[signal]--)
			dprintf(1, "signal %d\n", signal);
}

static void pause_ms(long milliseconds)
{
	struct timespec left = { 0, milliseconds * 1000000 };
	while (nanosleep(&left, &left) == -1 && errno == EINTR)
		;
}

int main(int argc, char **argv)
{
	if (argc < 3)
		return 2;
	static const int signals[] = { SIGHUP, SIGINT, SIGTERM, SIGQUIT, SIGUSR1, SIGUSR2, SIGWINCH };
	for (size_t i = 0; i < sizeof signals / sizeof *signals; i++)
		sigaction(signals[i], &(struct sigaction){ .sa_handler = handler, .sa_flags = SA_RESTART }, NULL);
	long lines = atol(argv[2]);
	size_t words = (argc > 3 ? (size_t)atol(argv[3]) : 0) << 17;
	uint64_t *ballast = malloc(words * 8 + 8), value = 88172645463325252u;
	for (size_t i = 0; i < words; i++) {
		value ^= value << 13;
		value ^= value >> 7;
		value ^= value << 17;
		ballast[i] = value ^ i;
	}
	FILE *log = fopen(argv[1], "w");
	char ready[4096];
	snprintf(ready, sizeof ready, "%s.ready", argv[1]);
	FILE *mark = fopen(ready, "w");
	if (!log || !mark || fclose(mark))
		return 3;
	value = 88172645463325252u;
	size_t checked = 0;
	for (long line = 0; line < lines; line++) {
		for (size_t end = checked + 4096; checked < end && words; checked++) {
			if (checked >= words) {
				checked = 0;
				value = 88172645463325252u;
				break;
			}
			value ^= value << 13;
			value ^= value >> 7;
			value ^= value << 17;
			if (ballast[checked] != (value ^ checked))
				return 4;
		}
		fprintf(log, "line %ld\n", line);
		fflush(log);
		dprintf(1, "line %ld\n", line);
		pause_ms(5);
		if (seen[SIGQUIT])
			return 7;
		say_signals();
	}
	dprintf(1, "final %ld\n", lines);
	fprintf(log, "final %ld\n", lines);
	return fclose(log) != 0;
}
