/* Two children that share a descriptor table which their parent has left are refused. */
#include "check.h"
#include <sys/wait.h>

static pid_t sharing_child(int *go)
{
	pid_t pid = (pid_t)syscall(SYS_clone, CLONE_FILES | SIGCHLD, 0, 0, 0, 0);
	OK(pid);
	if (pid == 0) {
		while (!*(volatile int *)go)
			check_sleep(0.002);
		_exit(fcntl(90, F_GETFD) == -1 ? 3 : 0);
	}
	return pid;
}

int main(int argc, char **argv)
{
	check_init(argc, argv);
	int *go = check_map(4096, PROT_READ | PROT_WRITE, MAP_SHARED);
	EQUAL(dup2(1, 90), 90);
	pid_t children[2] = { sharing_child(go), sharing_child(go) };
	OK(unshare(CLONE_FILES));
	OK(close(90));
	check_wait();
	*(volatile int *)go = 1;
	for (int i = 0; i < 2; i++) {
		int status;
		EQUAL(waitpid(children[i], &status, 0), children[i]);
		EQUAL(status, 0);
	}
	PASS();
}
