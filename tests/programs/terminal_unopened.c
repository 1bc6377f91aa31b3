/* A pseudo-terminal whose slave nobody has opened yet cannot be looked into without being noticed. */
#include "check.h"

int main(int argc, char **argv)
{
	check_init(argc, argv);
	int master;
	OK(master = open("/dev/ptmx", O_RDWR | O_NOCTTY));
	OK(unlockpt(master));
	check_wait();
	DAMAGE(close(master));
	EQUAL(write(master, "x", 1), 1);
	PASS();
}
