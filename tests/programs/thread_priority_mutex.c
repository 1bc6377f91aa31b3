/* Mutexes with priority inheritance: waited for in the kernel, robust ones too; held by others, and by one that ends. */
#include "check.h"

enum { WAITED, ENDED, FREE, KINDS };

static pthread_mutex_t mutex[KINDS];
static _Atomic int held, got;
static volatile int stop;
static _Atomic pid_t waiting[KINDS];

static void *owner(void *argument)
{
	size_t kind = (size_t)argument;
	EQUAL(pthread_mutex_lock(&mutex[kind]), 0);
	held++;
	while (!stop)
		check_sleep(0.002);
	DAMAGE(got++);
	if (kind != ENDED)
		EQUAL(pthread_mutex_unlock(&mutex[kind]), 0);
	return NULL;
}

static void *heir(void *tid)
{
	size_t kind = (size_t)((_Atomic pid_t *)tid - waiting);
	*(_Atomic pid_t *)tid = gettid();
	EQUAL(pthread_mutex_lock(&mutex[kind]), kind == ENDED ? EOWNERDEAD : 0);
	if (kind == ENDED)
		EQUAL(pthread_mutex_consistent(&mutex[kind]), 0);
	got++;
	EQUAL(pthread_mutex_unlock(&mutex[kind]), 0);
	return NULL;
}

int main(int argc, char **argv)
{
	check_init(argc, argv);
	pthread_mutexattr_t attributes;
	pthread_mutexattr_init(&attributes);
	pthread_mutexattr_setprotocol(&attributes, PTHREAD_PRIO_INHERIT);
	pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
	pthread_t owners[KINDS], heirs[2];
	for (size_t i = 0; i < KINDS; i++) {
		pthread_mutex_init(&mutex[i], &attributes);
		check_create(&owners[i], owner, (void *)i);
	}
	while (held < KINDS)
		check_sleep(0.001);
	for (size_t i = 0; i < LENGTH(heirs); i++)
		check_create_asleep(&heirs[i], heir, &waiting[i]);
	check_wait();
	EQUAL(got, 0);
	EQUAL(pthread_mutex_trylock(&mutex[FREE]), EBUSY);
	stop = 1;
	for (size_t i = 0; i < KINDS; i++)
		pthread_join(owners[i], NULL);
	for (size_t i = 0; i < LENGTH(heirs); i++)
		pthread_join(heirs[i], NULL);
	EQUAL(got, 2);
	for (size_t i = 0; i < KINDS; i++)
		EQUAL(pthread_mutex_lock(&mutex[i]), 0);
	PASS();
}
