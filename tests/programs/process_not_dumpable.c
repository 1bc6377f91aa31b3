/* A process that only root may look at (prctl PR_SET_DUMPABLE 0) is refused. */
#include "check.h"
#include <sys/prctl.h>

int main(int argc, char **argv)
{
	check_init(argc, argv);
	OK(prctl(PR_SET_DUMPABLE, 0));
	check_wait();
	EQUAL(prctl(PR_GET_DUMPABLE), 0);
	PASS();
}
