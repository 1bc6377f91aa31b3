/* A program that gets its own system calls as signals is refused: no call can be made in it. */
#include "check.h"
#include <sys/prctl.h>

static volatile char selector;
static volatile int caught;

static void on_call(int number)
{
	(void)number;
	selector = 0;
	caught++;
}

int main(int argc, char **argv)
{
	check_init(argc, argv);
	signal(SIGSYS, on_call);
	/* The kernel lets all calls through while the selector is 0. */
	if (prctl(59 /* PR_SET_SYSCALL_USER_DISPATCH */, 1, 0, 0, &selector) == -1)
		SKIP("no syscall user dispatch here: %s", strerror(errno));
	check_wait();
	selector = 1;
	syscall(SYS_getppid);
	EQUAL(caught, 1);
	PASS();
}
