/* The personality (no address randomisation, as setarch -R makes it) is as before. */
#include "check.h"
#include <sys/personality.h>

int main(int argc, char **argv)
{
	check_init(argc, argv);
	OK(personality(ADDR_NO_RANDOMIZE | UNAME26));
	check_wait();
	DAMAGE(personality(0));
	EQUAL(personality(0xffffffff), ADDR_NO_RANDOMIZE | UNAME26);
	PASS();
}
