/* mlockall(MCL_FUTURE): mappings made afterwards are locked as well. */
#include "check.h"

static bool locked(const void *address)
{
	char head[256], flags[256];
	check_mapping(address, head, flags, sizeof flags);
	return strstr(flags, " lo") != NULL;
}

int main(int argc, char **argv)
{
	check_init(argc, argv);
	if (mlockall(MCL_FUTURE | MCL_ONFAULT) == -1)
		SKIP("mlockall: %s", strerror(errno));
	char *before = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(before != MAP_FAILED, "mmap");
	EQUAL(locked(before), true);
	check_wait();
	DAMAGE(munlockall());
	EQUAL(locked(before), true);
	EQUAL(locked(check_map(8192, PROT_READ, MAP_PRIVATE)), true);
	PASS();
}
