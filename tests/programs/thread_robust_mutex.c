/* A thread that ends while it holds a robust mutex leaves EOWNERDEAD to the next one. */
#include "check.h"

static pthread_mutex_t mutex[3];
static _Atomic int held;
static volatile int stop;

static void *owner(void *argument)
{
	pthread_mutex_lock(&mutex[(size_t)argument]);
	held++;
	while (!stop)
		check_sleep(0.002);
	DAMAGE(pthread_mutex_unlock(&mutex[(size_t)argument]));
	return NULL;
}

static _Atomic pid_t waiting;

static void *heir(void *tid)
{
	*(_Atomic pid_t *)tid = gettid();
	EQUAL(pthread_mutex_lock(&mutex[2]), EOWNERDEAD);
	return NULL;
}

int main(int argc, char **argv)
{
	check_init(argc, argv);
	pthread_mutexattr_t attributes;
	pthread_mutexattr_init(&attributes);
	pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
	pthread_t threads[LENGTH(mutex)], waiter;
	for (size_t i = 0; i < LENGTH(mutex); i++) {
		pthread_mutex_init(&mutex[i], &attributes);
		check_create(&threads[i], owner, (void *)i);
	}
	while (held < (int)LENGTH(mutex))
		check_sleep(0.001);
	check_create_asleep(&waiter, heir, &waiting);
	void *head;
	size_t length;
	OK(syscall(SYS_get_robust_list, 0, &head, &length));
	check_wait();
	void *head_now;
	OK(syscall(SYS_get_robust_list, 0, &head_now, &length));
	CHECK(head == head_now, "the robust list moved from %p to %p", head, head_now);
	stop = 1;
	for (size_t i = 0; i < LENGTH(mutex); i++)
		pthread_join(threads[i], NULL);
	EQUAL(pthread_mutex_lock(&mutex[0]), EOWNERDEAD);
	EQUAL(pthread_mutex_trylock(&mutex[1]), EOWNERDEAD);
	pthread_join(waiter, NULL);
	PASS();
}
