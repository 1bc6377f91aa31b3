/* pidfd of a child that has ended and was not waited for: it is ready, and the child is waited for through it. */
#include "check.h"
#include <poll.h>
#include <sys/wait.h>

int main(int argc, char **argv)
{
	check_init(argc, argv);
	pid_t child = fork();
	if (child == 0)
		_exit(9);
	int fd = (int)syscall(SYS_pidfd_open, child, 0);
	struct pollfd ready = { .fd = fd, .events = POLLIN };
	EQUAL(poll(&ready, 1, 10000), 1);
	check_wait();
	DAMAGE(waitpid(child, NULL, 0));
	EQUAL(poll(&ready, 1, 0), 1);
	siginfo_t info;
	OK(waitid(P_PIDFD, (id_t)fd, &info, WEXITED));
	EQUAL(info.si_pid, child);
	EQUAL(info.si_status, 9);
	PASS();
}
