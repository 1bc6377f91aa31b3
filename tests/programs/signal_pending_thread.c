/* Signals sent to one thread stay pending for that thread and no other. */
#include "check.h"

static volatile int stop;
static pthread_barrier_t set_up;

static void *worker(void *argument)
{
	int number = (int)(intptr_t)argument;
	pthread_barrier_wait(&set_up);
	while (!stop)
		check_sleep(0.005);
	sigset_t set;
	siginfo_t info;
	struct timespec none = { 0 };
	DAMAGE(sigfillset(&set); sigtimedwait(&set, &info, &none));
	for (int i = 0; i < 3; i++) {
		sigemptyset(&set);
		sigaddset(&set, SIGRTMIN + 5);
		EQUAL(sigtimedwait(&set, &info, &none), SIGRTMIN + 5);
		EQUAL(info.si_value.sival_int, number * 10 + i);
	}
	sigemptyset(&set);
	sigaddset(&set, number % 2 ? SIGUSR1 : SIGUSR2);
	/* The system call itself: glibc's sigtimedwait changes SI_TKILL to SI_USER. */
	EQUAL(syscall(SYS_rt_sigtimedwait, &set, &info, &none, 8), number % 2 ? SIGUSR1 : SIGUSR2);
	EQUAL(info.si_code, SI_TKILL);
	sigfillset(&set);
	EQUAL(sigtimedwait(&set, &info, &none), -1);
	return NULL;
}

int main(int argc, char **argv)
{
	check_init(argc, argv);
	sigset_t all;
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, NULL);
	pthread_t threads[5];
	pthread_barrier_init(&set_up, NULL, LENGTH(threads) + 1);
	for (size_t i = 0; i < LENGTH(threads); i++)
		check_create(&threads[i], worker, (void *)i);
	pthread_barrier_wait(&set_up);
	for (size_t i = 0; i < LENGTH(threads); i++) {
		for (size_t n = 0; n < 3; n++)
			EQUAL(pthread_sigqueue(threads[i], SIGRTMIN + 5, (union sigval){ .sival_int = (int)(i * 10 + n) }), 0);
		EQUAL(pthread_kill(threads[i], i % 2 ? SIGUSR1 : SIGUSR2), 0);
	}
	check_wait();
	stop = 1;
	for (size_t i = 0; i < LENGTH(threads); i++)
		pthread_join(threads[i], NULL);
	PASS();
}
