/* Threads blocked in futex without a time-out (mutex, condition, join, raw) still wait and are woken. */
#include "check.h"
#include <linux/futex.h>

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER, held = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t condition = PTHREAD_COND_INITIALIZER;
static pthread_rwlock_t rwlock = PTHREAD_RWLOCK_INITIALIZER;
static uint32_t word;
static int flag, count;
static _Atomic pid_t tids[5];
static _Atomic int done;

static void *on_condition(void *tid)
{
	*(_Atomic pid_t *)tid = gettid();
	pthread_mutex_lock(&mutex);
	while (!flag)
		pthread_cond_wait(&condition, &mutex);
	count++;
	pthread_mutex_unlock(&mutex);
	return NULL;
}

static void *on_mutex(void *tid)
{
	*(_Atomic pid_t *)tid = gettid();
	pthread_mutex_lock(&held);
	done++;
	pthread_mutex_unlock(&held);
	return NULL;
}

static void *on_rwlock(void *tid)
{
	*(_Atomic pid_t *)tid = gettid();
	pthread_rwlock_wrlock(&rwlock);
	done++;
	pthread_rwlock_unlock(&rwlock);
	return NULL;
}

static void *on_word(void *tid)
{
	*(_Atomic pid_t *)tid = gettid();
	EQUAL(syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0), 0);
	done++;
	return NULL;
}

static void *on_bitset(void *tid)
{
	*(_Atomic pid_t *)tid = gettid();
	EQUAL(syscall(SYS_futex, &word, FUTEX_WAIT_BITSET, 0, NULL, NULL, 4), 0);
	done++;
	return NULL;
}

int main(int argc, char **argv)
{
	check_init(argc, argv);
	void *(*routines[])(void *) = { on_condition, on_mutex, on_rwlock, on_word, on_bitset };
	pthread_t threads[5];
	pthread_mutex_lock(&held);
	pthread_rwlock_rdlock(&rwlock);
	for (size_t i = 0; i < LENGTH(threads); i++)
		check_create_asleep(&threads[i], routines[i], &tids[i]);
	check_wait();
	DAMAGE(syscall(SYS_futex, &word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0); check_sleep(0.1));
	EQUAL(done, 0);
	for (size_t i = 0; i < LENGTH(threads); i++)
		check_asleep(tids[i]);
	EQUAL(count, 0);
	pthread_mutex_lock(&mutex);
	flag = 1;
	pthread_cond_signal(&condition);
	pthread_mutex_unlock(&mutex);
	pthread_mutex_unlock(&held);
	pthread_rwlock_unlock(&rwlock);
	EQUAL(syscall(SYS_futex, &word, FUTEX_WAKE_BITSET, 9, NULL, NULL, 4), 1);
	EQUAL(syscall(SYS_futex, &word, FUTEX_WAKE_PRIVATE, 9, NULL, NULL, 0), 1);
	for (size_t i = 0; i < LENGTH(threads); i++)
		pthread_join(threads[i], NULL);
	EQUAL(done, 4);
	EQUAL(count, 1);
	PASS();
}
