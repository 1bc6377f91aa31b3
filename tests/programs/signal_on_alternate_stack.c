/* A checkpoint while a handler runs on the alternate stack: the handler returns to the right place. */
#include "check.h"

static char stack[65536];
static _Atomic int step;
static volatile int stop;

static void handler(int signal, siginfo_t *info, void *context)
{
	(void)context;
	char here[256];
	check_fill(here, sizeof here, 3);
	EQUAL(info->si_value.sival_int, 4711);
	sigset_t mask;
	sigprocmask(SIG_BLOCK, NULL, &mask);
	EQUAL(sigismember(&mask, SIGUSR2), 1);
	step = 1;
	while (!stop)
		check_sleep(0.005);
	stack_t now;
	OK(sigaltstack(NULL, &now));
	EQUAL(now.ss_flags, SS_ONSTACK);
	CHECK(&here[0] > &stack[0] && &here[0] < &stack[sizeof stack], "the handler's stack moved");
	check_filled(here, sizeof here, 3);
	sigprocmask(SIG_BLOCK, NULL, &mask);
	EQUAL(sigismember(&mask, SIGUSR2), 1);
	EQUAL(sigismember(&mask, signal), 1);
	DAMAGE(step = 5);
	step++;
}

static void *worker(void *unused)
{
	(void)unused;
	volatile long local = 99;
	OK(sigaltstack(&(stack_t){ .ss_sp = stack, .ss_size = sizeof stack }, NULL));
	pthread_sigqueue(pthread_self(), SIGUSR1, (union sigval){ .sival_int = 4711 });
	EQUAL(step, 2);
	EQUAL(local, 99);
	stack_t now;
	OK(sigaltstack(NULL, &now));
	EQUAL(now.ss_flags, 0);
	sigset_t mask;
	pthread_sigmask(SIG_BLOCK, NULL, &mask);
	EQUAL(sigismember(&mask, SIGUSR2), 0);
	return NULL;
}

int main(int argc, char **argv)
{
	check_init(argc, argv);
	struct sigaction action = { .sa_sigaction = handler, .sa_flags = SA_ONSTACK | SA_SIGINFO };
	sigaddset(&action.sa_mask, SIGUSR2);
	OK(sigaction(SIGUSR1, &action, NULL));
	pthread_t thread;
	check_create(&thread, worker, NULL);
	while (!step)
		check_sleep(0.001);
	check_wait();
	stop = 1;
	pthread_join(thread, NULL);
	PASS();
}
