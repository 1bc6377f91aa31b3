/* Names of threads, and what /proc/self shows: cmdline (also a rewritten one), environ, exe, auxv, stat's addresses. */
#include "check.h"
#include <sys/prctl.h>

static volatile int stop;
static _Atomic int named;

static void *worker(void *argument)
{
	char wanted[32], now[32] = "";
	snprintf(wanted, sizeof wanted, "worker (%zu) x", (size_t)argument);
	OK(prctl(PR_SET_NAME, wanted));
	named++;
	while (!stop)
		check_sleep(0.002);
	OK(prctl(PR_GET_NAME, now));
	CHECK(strcmp(now, wanted) == 0, "the thread is called %s", now);
	return NULL;
}

static size_t content(const char *path, char *data, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	CHECK(fd >= 0, "open %s", path);
	size_t length = 0;
	for (ssize_t part; (part = read(fd, data + length, size - length)) > 0;)
		length += (size_t)part;
	close(fd);
	return length;
}

/* Fields 26 to 28 and 45 to 51 of /proc/self/stat: code, stack, data, heap, arguments and environment. */
static void addresses(unsigned long *values)
{
	char text[2048] = "";
	content("/proc/self/stat", text, sizeof text - 1);
	char *field = strrchr(text, ')') + 2;
	for (int number = 3, kept = 0; number <= 51; number++) {
		unsigned long value = strtoul(field, NULL, 10);
		if ((number >= 26 && number <= 28) || (number >= 45 && number <= 51))
			values[kept++] = value;
		field += strcspn(field, " ") + 1;
	}
}

int main(int argc, char **argv)
{
	check_init(argc, argv);
	static const char *files[] = { "/proc/self/cmdline", "/proc/self/environ", "/proc/self/auxv" };
	static char before[3][131072], now[131072], link[PATH_MAX], link_now[PATH_MAX];
	char *base = strdup(check_base);
	check_base = base;
	memset(argv[1], 'z', strlen(argv[1])); /* as setproctitle does */
	pthread_t threads[5];
	for (size_t i = 0; i < LENGTH(threads); i++)
		check_create(&threads[i], worker, (void *)i);
	while (named < (int)LENGTH(threads))
		check_sleep(0.001);
	OK(prctl(PR_SET_NAME, "main ) R thread"));
	size_t lengths[3];
	unsigned long values[10] = { 0 }, values_now[10] = { 0 };
	for (int i = 0; i < 3; i++)
		lengths[i] = content(files[i], before[i], sizeof before[i]);
	addresses(values);
	OK(readlink("/proc/self/exe", link, sizeof link));
	check_wait();
	DAMAGE(argv[1][0] = 'y');
	for (int i = 0; i < 3; i++) {
		EQUAL(content(files[i], now, sizeof now), lengths[i]);
		CHECK(memcmp(now, before[i], lengths[i]) == 0, "%s differs", files[i]);
	}
	addresses(values_now);
	for (int i = 0; i < 10; i++)
		CHECK(values[i] == values_now[i], "address %d in /proc/self/stat is %lx, was %lx", i, values_now[i], values[i]);
	OK(readlink("/proc/self/exe", link_now, sizeof link_now));
	CHECK(strcmp(link, link_now) == 0, "/proc/self/exe is %s, was %s", link_now, link);
	stop = 1;
	for (size_t i = 0; i < LENGTH(threads); i++)
		pthread_join(threads[i], NULL);
	char name[32];
	OK(prctl(PR_GET_NAME, name));
	CHECK(strcmp(name, "main ) R thread") == 0, "the main thread is called %s", name);
	PASS();
}
