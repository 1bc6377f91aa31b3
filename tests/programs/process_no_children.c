/* A checkpoint leaves no child, no zombie and no SIGCHLD behind, even in a program that reaps orphans. */
#include "check.h"
#include <sys/prctl.h>
#include <sys/wait.h>

static _Atomic int signals;

static void handler(int signal)
{
	(void)signal;
	signals++;
}

int main(int argc, char **argv)
{
	check_init(argc, argv);
	OK(prctl(PR_SET_CHILD_SUBREAPER, 1));
	OK(sigaction(SIGCHLD, &(struct sigaction){ .sa_handler = handler, .sa_flags = SA_RESTART }, NULL));
	check_ready();
	while (!check_go()) {
		siginfo_t info = { 0 };
		EQUAL(waitid(P_ALL, 0, &info, WEXITED | WSTOPPED | WCONTINUED | WNOHANG | WNOWAIT | __WALL), -1);
		EQUAL(errno, ECHILD);
		check_sleep(0.001);
	}
	DAMAGE(if (fork() == 0) _exit(0); check_sleep(0.1));
	EQUAL(signals, 0);
	EQUAL(wait(NULL), -1);
	EQUAL(errno, ECHILD);
	PASS();
}
