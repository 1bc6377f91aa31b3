/* pthread_join returns for threads that lived at the checkpoint: the kernel clears their tid word at their end. */
#include "check.h"

static volatile int stop;
static _Atomic pid_t tids[8];
static _Atomic pid_t joiner_tid;
static pthread_t threads[8];

static void *worker(void *argument)
{
	size_t number = (size_t)argument;
	tids[number] = gettid();
	while (!stop)
		check_sleep(0.002);
	EQUAL(gettid(), tids[number]);
	return (void *)(number * 3);
}

static void *joiner(void *tid)
{
	*(_Atomic pid_t *)tid = gettid();
	void *result;
	EQUAL(pthread_join(threads[7], &result), 0);
	return result;
}

int main(int argc, char **argv)
{
	check_init(argc, argv);
	for (size_t i = 0; i < LENGTH(threads); i++)
		check_create(&threads[i], worker, (void *)i);
	pthread_t waiting, later;
	check_create_asleep(&waiting, joiner, &joiner_tid);
	check_wait();
	EQUAL(pthread_tryjoin_np(threads[0], NULL), EBUSY);
	stop = 1;
	void *result;
	for (size_t i = 0; i < LENGTH(threads) - 1; i++) {
		EQUAL(pthread_join(threads[i], &result), 0);
		DAMAGE(result = NULL);
		EQUAL((uintptr_t)result, i * 3);
	}
	EQUAL(pthread_join(waiting, &result), 0);
	EQUAL((uintptr_t)result, 21);
	check_create(&later, worker, (void *)5);
	EQUAL(pthread_join(later, &result), 0);
	PASS();
}
