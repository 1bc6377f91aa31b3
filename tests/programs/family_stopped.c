/* Stopped children stay stopped; a parent hears of a stop once, before or after the checkpoint. */
#include "family.h"

static _Atomic int signals;

static void handler(int signal)
{
	(void)signal;
	signals++;
}

static void stop(pid_t child, int signal)
{
	OK(kill(child, signal));
	OK(waitid(P_PID, child, &(siginfo_t){ 0 }, WSTOPPED | WNOWAIT));
}

int main(int argc, char **argv)
{
	check_init(argc, argv);
	pid_t heard = sleeping_child(), unheard = sleeping_child(), runs = sleeping_child();
	/* SIGTSTP does not stop a process of a group that is an orphan, as this one may be (setpgid(2)). */
	OK(setpgid(unheard, unheard));
	stop(heard, SIGSTOP);
	stop(unheard, SIGTSTP);
	int status;
	EQUAL(waitpid(heard, &status, WUNTRACED | WNOHANG), heard);
	OK(sigaction(SIGCHLD, &(struct sigaction){ .sa_handler = handler, .sa_flags = SA_RESTART }, NULL));
	check_wait();
	DAMAGE(kill(heard, SIGCONT); check_sleep(0.05); kill(heard, SIGSTOP); check_sleep(0.05));
	EQUAL(signals, 0);
	EQUAL(kin_of(heard).state, 'T');
	EQUAL(kin_of(unheard).state, 'T');
	CHECK(kin_of(runs).state != 'T', "a child stopped that ran");
	EQUAL(waitpid(heard, &status, WUNTRACED | WNOHANG), 0);
	EQUAL(waitpid(unheard, &status, WUNTRACED | WNOHANG), unheard);
	EQUAL(WSTOPSIG(status), SIGTSTP);
	OK(kill(heard, SIGCONT));
	EQUAL(waitpid(heard, &status, WCONTINUED), heard);
	CHECK(WIFCONTINUED(status), "it did not go on");
	pid_t all[] = { heard, unheard, runs };
	for (size_t i = 0; i < LENGTH(all); i++) {
		OK(kill(all[i], SIGKILL));
		EQUAL(waitpid(all[i], NULL, 0), all[i]);
	}
	PASS();
}
