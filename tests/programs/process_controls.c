/* What prctl set for the process: no_new_privs, death signal, sub-reaper, huge pages off, dumpable. */
#include "check.h"
#include <sys/prctl.h>
#include <sys/personality.h>

static int get(int option)
{
	int value = -1;
	OK(prctl(option, &value));
	return value;
}

int main(int argc, char **argv)
{
	check_init(argc, argv);
	OK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
	OK(prctl(PR_SET_PDEATHSIG, SIGWINCH));
	OK(prctl(PR_SET_CHILD_SUBREAPER, 1));
	OK(prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0));
	int tsc = get(PR_GET_TSC);
	check_wait();
	DAMAGE(prctl(PR_SET_PDEATHSIG, SIGHUP));
	EQUAL(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0), 1);
	EQUAL(get(PR_GET_PDEATHSIG), SIGWINCH);
	EQUAL(get(PR_GET_CHILD_SUBREAPER), 1);
	EQUAL(prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0), 1);
	EQUAL(prctl(PR_GET_DUMPABLE), 1);
	EQUAL(prctl(PR_GET_KEEPCAPS), 0);
	EQUAL(get(PR_GET_TSC), tsc);
	PASS();
}
