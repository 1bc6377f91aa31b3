/* Frame of a self-checking test program.
 *
 *   program BASE
 *
 * It sets its state up, calls check_wait() (which creates BASE.ready and returns once BASE.go exists),
 * checks that everything is as before, and ends with PASS, FAIL or SKIP in BASE.result and on stdout.
 * With CHECK_BREAK in the environment, DAMAGE() spoils the state after the wait: the program must then
 * say FAIL, which shows that its checks can.
 */
#ifndef CHECK_H
#define CHECK_H
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define UNUSED __attribute__((unused))
#define LENGTH(array) (sizeof(array) / sizeof((array)[0]))

static const char *check_base = "check";

static UNUSED void check_path(char *path, const char *suffix)
{
	snprintf(path, PATH_MAX, "%s.%s", check_base, suffix);
}

/* Creates BASE.suffix with this text, complete or not at all. */
static UNUSED void check_publish(const char *suffix, const char *text)
{
	char path[PATH_MAX], temporary[PATH_MAX];
	check_path(path, suffix);
	snprintf(temporary, sizeof temporary, "%s.%s.part", check_base, suffix);
	int fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	if (fd < 0 || write(fd, text, strlen(text)) < 0 || close(fd) < 0 || rename(temporary, path) < 0)
		dprintf(2, "cannot write %s: %s\n", path, strerror(errno));
}

/* Ends the process with this verdict, once, from whatever thread comes first. */
static UNUSED __attribute__((format(printf, 2, 3), noreturn)) void check_end(int status, const char *format, ...)
{
	static atomic_flag ended = ATOMIC_FLAG_INIT;
	while (atomic_flag_test_and_set(&ended))
		pause();
	char text[1024];
	va_list arguments;
	va_start(arguments, format);
	vsnprintf(text, sizeof text - 1, format, arguments);
	va_end(arguments);
	strcat(text, "\n");
	check_publish("result", text);
	dprintf(1, "%s", text);
	_exit(status);
}

#define PASS() check_end(0, "PASS")
#define FAIL(format, ...) check_end(1, "FAIL: %s:%d: " format, __FILE__, __LINE__, ##__VA_ARGS__)
#define SKIP(format, ...) check_end(0, "SKIP: " format, ##__VA_ARGS__)

/* The condition holds, or the program fails with the message and errno. */
#define CHECK(condition, format, ...)                                                                  \
	do {                                                                                           \
		if (!(condition))                                                                      \
			FAIL("%s: " format " (errno %d: %s)", #condition, ##__VA_ARGS__, errno, strerror(errno)); \
	} while (0)

/* Two integers are equal, or the program fails with both. */
#define EQUAL(got, wanted)                                                                             \
	do {                                                                                           \
		long long got_ = (long long)(got), wanted_ = (long long)(wanted);                      \
		if (got_ != wanted_)                                                                   \
			FAIL("%s is %lld, not %s = %lld (errno %d)", #got, got_, #wanted, wanted_, errno); \
	} while (0)

/* A call of the set-up works, or the program fails with errno. */
#define OK(call)                                                                                       \
	do {                                                                                           \
		if ((call) == -1)                                                                      \
			FAIL("%s: %s", #call, strerror(errno));                                        \
	} while (0)

#define DAMAGE(statement)                                                                              \
	do {                                                                                           \
		if (getenv("CHECK_BREAK")) {                                                           \
			statement;                                                                     \
		}                                                                                      \
	} while (0)

static UNUSED void check_init(int argc, char **argv)
{
	if (argc < 2) {
		dprintf(2, "usage: %s BASE\n", argv[0]);
		_exit(2);
	}
	check_base = argv[1];
}

static UNUSED bool check_go(void)
{
	char path[PATH_MAX];
	check_path(path, "go");
	return access(path, F_OK) == 0;
}

static UNUSED void check_sleep(double seconds)
{
	struct timespec left = { (time_t)seconds, (long)((seconds - (time_t)seconds) * 1e9) };
	while (nanosleep(&left, &left) == -1 && errno == EINTR)
		;
}

static UNUSED void check_ready(void)
{
	char text[32];
	snprintf(text, sizeof text, "%d\n", getpid());
	check_publish("ready", text);
}

/* Says ready and waits to be told to go on. */
static UNUSED void check_wait(void)
{
	int errno_before = errno;
	check_ready();
	while (!check_go())
		check_sleep(0.01);
	errno = errno_before;
}

/* Waits until the thread sleeps in the kernel, so that it is where the test wants it. */
static UNUSED void check_asleep(pid_t tid)
{
	char path[64], line[512];
	for (int seen = 0, tries = 0; seen < 5; tries++) {
		snprintf(path, sizeof path, "/proc/self/task/%d/stat", tid);
		FILE *file = fopen(path, "re");
		char *state = file && fgets(line, sizeof line, file) ? strrchr(line, ')') : NULL;
		if (file)
			fclose(file);
		seen = state && state[2] == 'S' ? seen + 1 : 0;
		if (tries > 1500)
			FAIL("thread %d does not go to sleep", tid);
		check_sleep(0.002);
	}
}

static UNUSED double check_clock(clockid_t clock)
{
	struct timespec now;
	clock_gettime(clock, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static UNUSED void check_create(pthread_t *thread, void *(*routine)(void *), void *argument)
{
	int error = pthread_create(thread, NULL, routine, argument);
	if (error)
		FAIL("pthread_create: %s", strerror(error));
}

/* Starts a thread whose routine stores its tid first, and waits until it sleeps. */
static UNUSED void check_create_asleep(pthread_t *thread, void *(*routine)(void *), _Atomic pid_t *tid)
{
	*tid = 0;
	check_create(thread, routine, (void *)tid);
	while (*tid == 0)
		check_sleep(0.001);
	check_asleep(*tid);
}

/* A pattern that differs from page to page and from seed to seed. */
static UNUSED void check_fill(void *memory, size_t bytes, uint64_t seed)
{
	uint64_t *word = memory;
	for (size_t i = 0; i < bytes / 8; i++)
		word[i] = (i + 1) * 0x9e3779b97f4a7c15u ^ seed;
}

static UNUSED void check_filled(const void *memory, size_t bytes, uint64_t seed)
{
	const uint64_t *word = memory;
	for (size_t i = 0; i < bytes / 8; i++)
		if (word[i] != ((i + 1) * 0x9e3779b97f4a7c15u ^ seed))
			FAIL("memory differs at %p, byte %zu of %zu", memory, i * 8, bytes);
}

static UNUSED void check_zero(const void *memory, size_t bytes)
{
	const unsigned char *byte = memory;
	for (size_t i = 0; i < bytes; i++)
		if (byte[i])
			FAIL("memory at %p is not zero at byte %zu", memory, i);
}

static UNUSED void *check_map(size_t bytes, int protection, int flags)
{
	void *memory = mmap(NULL, bytes, protection, flags | MAP_ANONYMOUS, -1, 0);
	CHECK(memory != MAP_FAILED, "mmap of %zu bytes", bytes);
	return memory;
}

/* Opens BASE.suffix, made new. */
static UNUSED int check_open(const char *suffix, int flags)
{
	char path[PATH_MAX];
	check_path(path, suffix);
	int fd = open(path, flags | O_CREAT | O_TRUNC, 0644);
	CHECK(fd >= 0, "open %s", path);
	return fd;
}

/* First line of this file, without the newline; the program fails if it cannot be read. */
static UNUSED void check_read_line(const char *path, char *line, size_t size)
{
	FILE *file = fopen(path, "re");
	CHECK(file, "open %s", path);
	if (!fgets(line, (int)size, file))
		line[0] = 0;
	line[strcspn(line, "\n")] = 0;
	fclose(file);
}

/* Protection, name and VmFlags of the mapping that holds this address, from /proc/self/smaps. */
static UNUSED void check_mapping(const void *address, char *head, char *vmflags, size_t size)
{
	FILE *file = fopen("/proc/self/smaps", "re");
	CHECK(file, "open smaps");
	char line[8192];
	bool inside = false;
	head[0] = vmflags[0] = 0;
	while (fgets(line, sizeof line, file)) {
		unsigned long from, to;
		if (sscanf(line, "%lx-%lx ", &from, &to) == 2) {
			inside = from <= (uintptr_t)address && (uintptr_t)address < to;
			if (inside)
				snprintf(head, size, "%s", strchr(line, ' ') + 1);
		} else if (inside && strncmp(line, "VmFlags:", 8) == 0) {
			snprintf(vmflags, size, "%s", line + 8);
		}
	}
	fclose(file);
	head[strcspn(head, "\n")] = 0;
	vmflags[strcspn(vmflags, "\n")] = 0;
}

#endif
