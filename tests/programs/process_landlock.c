/* A process that has restricted itself by landlock(7) comes back, if without the restriction. */
#include "check.h"
#include <sys/prctl.h>

enum { CREATE_RULESET = 444, RESTRICT_SELF = 446, MAKE_BLOCK_DEVICE = 1 << 11 };

int main(int argc, char **argv)
{
	check_init(argc, argv);
	uint64_t handled = MAKE_BLOCK_DEVICE;
	int rules = (int)syscall(CREATE_RULESET, &handled, sizeof handled, 0);
	if (rules < 0)
		SKIP("landlock: %s", strerror(errno));
	OK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
	OK(syscall(RESTRICT_SELF, rules, 0));
	close(rules);
	check_wait();
	DAMAGE(close(0));
	EQUAL(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0), 1);
	CHECK(fcntl(0, F_GETFD) >= 0, "stdin");
	PASS();
}
