/* Threads in sigtimedwait, sigwaitinfo, pause and sigsuspend still wait, and end with the right signal.
 *
 * Stopping a process may end sigtimedwait with EINTR even without a checkpoint (signal(7), "Interruption of system
 * calls by stop signals"), so the program calls it again then.
 */
#include "check.h"

enum { KINDS = 4 };
static _Atomic pid_t tids[KINDS];
static _Atomic int done[KINDS], handled;
static __thread int kind = -1;

static void handler(int signal)
{
	(void)signal;
	handled |= 1 << kind;
}

static void wait_in_kernel(int signal)
{
	sigset_t set, empty;
	siginfo_t info = { 0 };
	struct timespec long_time = { 1000, 0 };
	sigemptyset(&empty);
	sigemptyset(&set);
	sigaddset(&set, signal);
	int result = -1;
	switch (kind) {
	case 0:
		while ((result = sigtimedwait(&set, &info, &long_time)) == -1 && errno == EINTR)
			;
		EQUAL(result, signal);
		EQUAL(info.si_value.sival_int, 5);
		break;
	case 1:
		while ((result = sigwaitinfo(&set, &info)) == -1 && errno == EINTR)
			;
		EQUAL(result, signal);
		EQUAL(info.si_value.sival_int, 5);
		break;
	case 2:
		pthread_sigmask(SIG_UNBLOCK, &set, NULL);
		EQUAL(pause(), -1);
		EQUAL(errno, EINTR);
		break;
	default:
		EQUAL(sigsuspend(&empty), -1);
		EQUAL(errno, EINTR);
		sigset_t now;
		pthread_sigmask(SIG_BLOCK, NULL, &now);
		EQUAL(sigismember(&now, signal), 1);
	}
}

static void *waiter(void *argument)
{
	_Atomic pid_t *tid = argument;
	kind = (int)(tid - tids);
	*tid = gettid();
	wait_in_kernel(SIGRTMIN + kind);
	done[kind] = 1;
	return NULL;
}

int main(int argc, char **argv)
{
	check_init(argc, argv);
	sigset_t blocked;
	sigemptyset(&blocked);
	for (int i = 0; i < KINDS; i++)
		sigaddset(&blocked, SIGRTMIN + i);
	sigprocmask(SIG_BLOCK, &blocked, NULL);
	for (int i = 0; i < KINDS; i++)
		OK(sigaction(SIGRTMIN + i, &(struct sigaction){ .sa_handler = handler }, NULL));
	pthread_t threads[KINDS];
	for (int i = 0; i < KINDS; i++)
		check_create_asleep(&threads[i], waiter, &tids[i]);
	check_wait();
	DAMAGE(pthread_kill(threads[2], SIGRTMIN + 2); check_sleep(0.1));
	for (int i = 0; i < KINDS; i++) {
		EQUAL(done[i], 0);
		check_asleep(tids[i]);
		EQUAL(pthread_sigqueue(threads[i], SIGRTMIN + i, (union sigval){ .sival_int = 5 }), 0);
		pthread_join(threads[i], NULL);
	}
	EQUAL(handled, 4 + 8);
	PASS();
}
