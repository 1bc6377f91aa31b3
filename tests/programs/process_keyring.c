/* Keys in the keyring of a process cannot be checkpointed. */
#include "check.h"

enum { PROCESS_KEYRING = -2, READ_KEY = 11 };

int main(int argc, char **argv)
{
	check_init(argc, argv);
	long key = syscall(SYS_add_key, "user", "check", "secret", 6, PROCESS_KEYRING);
	if (key < 0)
		SKIP("add_key: %s", strerror(errno));
	check_wait();
	char text[16] = "";
	DAMAGE(syscall(SYS_keyctl, 2 /* update */, key, "other", 5));
	EQUAL(syscall(SYS_keyctl, READ_KEY, key, text, sizeof text), 6);
	CHECK(memcmp(text, "secret", 6) == 0, "%s", text);
	PASS();
}
