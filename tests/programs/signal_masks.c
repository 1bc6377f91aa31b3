/* Every thread keeps its own signal mask. */
#include "check.h"

static volatile int stop;
static pthread_barrier_t set_up;

static void *worker(void *argument)
{
	int number = (int)(intptr_t)argument;
	sigset_t mine, now;
	sigemptyset(&mine);
	sigaddset(&mine, SIGRTMIN + number);
	sigaddset(&mine, number % 2 ? SIGUSR1 : SIGHUP);
	pthread_sigmask(SIG_SETMASK, &mine, NULL);
	pthread_barrier_wait(&set_up);
	while (!stop)
		check_sleep(0.005);
	DAMAGE(sigset_t none; sigemptyset(&none); pthread_sigmask(SIG_SETMASK, &none, NULL));
	pthread_sigmask(SIG_SETMASK, NULL, &now);
	for (int signal = 1; signal <= SIGRTMAX; signal++)
		if (sigismember(&mine, signal) != sigismember(&now, signal))
			FAIL("thread %d: signal %d blocked: %d", number, signal, sigismember(&now, signal));
	return NULL;
}

int main(int argc, char **argv)
{
	check_init(argc, argv);
	pthread_t threads[20];
	pthread_barrier_init(&set_up, NULL, LENGTH(threads) + 1);
	for (size_t i = 0; i < LENGTH(threads); i++)
		check_create(&threads[i], worker, (void *)i);
	pthread_barrier_wait(&set_up);
	check_wait();
	stop = 1;
	for (size_t i = 0; i < LENGTH(threads); i++)
		pthread_join(threads[i], NULL);
	PASS();
}
