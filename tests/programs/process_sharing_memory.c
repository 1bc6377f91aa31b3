/* A child that shares the memory of its parent for good is refused. */
#include "check.h"
#include <sys/wait.h>

static volatile int go;
static char stack[65536] __attribute__((aligned(16)));

static int child(void *unused)
{
	(void)unused;
	struct timespec pause = { 0, 2000000 };
	while (!go)
		syscall(SYS_nanosleep, &pause, NULL);
	return 0;
}

int main(int argc, char **argv)
{
	check_init(argc, argv);
	pid_t pid = clone(child, stack + sizeof stack, CLONE_VM | SIGCHLD, NULL);
	OK(pid);
	check_wait();
	go = 1;
	int status;
	EQUAL(waitpid(pid, &status, 0), pid);
	EQUAL(status, 0);
	PASS();
}
