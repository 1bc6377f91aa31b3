/* Locked memory stays locked: mlock, mlock2(MLOCK_ONFAULT) and, in a program of its own, mlockall. */
#include "check.h"

enum { SIZE = 64 * 1024 };

static bool locked(const void *address)
{
	char head[256], flags[256];
	check_mapping(address, head, flags, sizeof flags);
	return strstr(flags, " lo") != NULL;
}

static long locked_kib(void)
{
	FILE *file = fopen("/proc/self/status", "re");
	CHECK(file, "open status");
	char line[256];
	long kib = -1;
	while (fgets(line, sizeof line, file))
		sscanf(line, "VmLck: %ld", &kib);
	fclose(file);
	return kib;
}

int main(int argc, char **argv)
{
	check_init(argc, argv);
	char *now = check_map(SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE);
	char *on_fault = check_map(SIZE, PROT_READ, MAP_PRIVATE);
	char *not = check_map(SIZE, PROT_READ | PROT_WRITE, MAP_SHARED);
	check_fill(now, SIZE, 1);
	if (mlock(now, SIZE) == -1)
		SKIP("mlock: %s", strerror(errno));
	OK(mlock2(on_fault, SIZE, MLOCK_ONFAULT));
	long kib = locked_kib();
	check_wait();
	DAMAGE(munlock(now, SIZE));
	check_filled(now, SIZE, 1);
	EQUAL(locked_kib(), kib);
	EQUAL(locked(now), true);
	EQUAL(locked(on_fault), true);
	EQUAL(locked(not), false);
	PASS();
}
