/* A thread that waits for a System V semaphore goes on waiting, with and without a time limit. */
#include "check.h"
#include <sys/sem.h>

static int id;
static _Atomic pid_t tids[2];
static _Atomic int woken[2];

static void *wait_for(void *argument)
{
	int index = argument == &tids[1];
	*(_Atomic pid_t *)argument = (pid_t)syscall(SYS_gettid);
	struct sembuf operation = { (unsigned short)index, -1, 0 };
	struct timespec limit = { 1000, 0 };
	OK(semtimedop(id, &operation, 1, index ? &limit : NULL));
	woken[index] = 1;
	return NULL;
}

int main(int argc, char **argv)
{
	check_init(argc, argv);
	id = semget(IPC_PRIVATE, 2, 0600);
	CHECK(id >= 0, "semget");
	pthread_t threads[2];
	for (int i = 0; i < 2; i++)
		check_create_asleep(&threads[i], wait_for, &tids[i]);
	check_wait();
	DAMAGE(woken[0] = 1);
	check_sleep(0.05);
	for (int i = 0; i < 2; i++) {
		EQUAL(woken[i], 0);
		EQUAL(semctl(id, i, GETNCNT), 1);
	}
	struct sembuf both[2] = { { 0, 1, 0 }, { 1, 1, 0 } };
	OK(semop(id, both, 2));
	for (int i = 0; i < 2; i++) {
		pthread_join(threads[i], NULL);
		EQUAL(woken[i], 1);
	}
	OK(semctl(id, 0, IPC_RMID));
	PASS();
}
