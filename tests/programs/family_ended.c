/* Children that have ended wait to be collected: status, name, group; nobody is told of them a second time. */
#include "family.h"

static _Atomic int signals;

static void handler(int signal)
{
	(void)signal;
	signals++;
}

struct end {
	int status, signal;
};

static const struct end ENDS[] = { { 0, 0 }, { 7, 0 }, { 255, 0 }, { 0, SIGKILL }, { 0, SIGTERM }, { 0, SIGSEGV }, { 0, SIGUSR1 } };

int main(int argc, char **argv)
{
	check_init(argc, argv);
	pid_t children[LENGTH(ENDS)];
	for (size_t i = 0; i < LENGTH(ENDS); i++) {
		children[i] = fork();
		OK(children[i]);
		if (children[i] == 0) {
			prctl(PR_SET_NAME, "a name of its own");
			prctl(PR_SET_DUMPABLE, 0);
			if (i % 2)
				setpgid(0, 0);
			if (ENDS[i].signal)
				kill(getpid(), ENDS[i].signal);
			_exit(ENDS[i].status);
		}
	}
	for (size_t i = 0; i < LENGTH(ENDS); i++)
		OK(waitid(P_PID, children[i], &(siginfo_t){ 0 }, WEXITED | WNOWAIT));
	OK(sigaction(SIGCHLD, &(struct sigaction){ .sa_handler = handler, .sa_flags = SA_RESTART }, NULL));
	check_wait();
	DAMAGE(waitpid(children[1], NULL, 0));
	EQUAL(signals, 0);
	for (size_t i = 0; i < LENGTH(ENDS); i++) {
		int status;
		EQUAL(kin_of(children[i]).state, 'Z');
		EQUAL(kin_of(children[i]).group, i % 2 ? children[i] : getpgrp());
		EQUAL(waitpid(children[i], &status, 0), children[i]);
		if (ENDS[i].signal) {
			CHECK(WIFSIGNALED(status), "child %zu was not killed: %x", i, status);
			EQUAL(WTERMSIG(status), ENDS[i].signal);
		} else {
			CHECK(WIFEXITED(status), "child %zu has not exited: %x", i, status);
			EQUAL(WEXITSTATUS(status), ENDS[i].status);
		}
	}
	EQUAL(waitpid(-1, NULL, WNOHANG), -1);
	PASS();
}
