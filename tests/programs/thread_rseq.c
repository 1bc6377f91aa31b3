/* Restartable sequences stay registered: the kernel keeps each thread's cpu number up to date. */
#include "check.h"
#include <sys/rseq.h>

static volatile int stop;

static struct rseq *area(void)
{
	return (struct rseq *)((char *)__builtin_thread_pointer() + __rseq_offset);
}

static void check_area(void)
{
	for (int tries = 0; tries < 1000; tries++) {
		int before = sched_getcpu();
		int kept = (int)__atomic_load_n(&area()->cpu_id, __ATOMIC_RELAXED);
		if (before == kept)
			return;
		sched_yield();
	}
	FAIL("cpu_id is %d on cpu %d", (int)area()->cpu_id, sched_getcpu());
}

/* The kernel refuses a second registration at another place with EINVAL, at the same place with EBUSY. */
static void check_registered(void)
{
	static char other[64] __attribute__((aligned(32)));
	EQUAL(syscall(SYS_rseq, other, 32, 0, RSEQ_SIG), -1);
	EQUAL(errno, EINVAL);
	EQUAL(syscall(SYS_rseq, area(), __rseq_size ? 32 : 0, 0, RSEQ_SIG), -1);
	EQUAL(errno, EBUSY);
}

static void *worker(void *unused)
{
	(void)unused;
	check_registered();
	while (!stop) {
		check_area();
		check_sleep(0.002);
	}
	check_registered();
	/* Moved from one processor to another, the number must follow. */
	cpu_set_t all, one;
	sched_getaffinity(0, sizeof all, &all);
	for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
		if (!CPU_ISSET(cpu, &all))
			continue;
		CPU_ZERO(&one);
		CPU_SET(cpu, &one);
		OK(sched_setaffinity(0, sizeof one, &one));
		DAMAGE(area()->cpu_id = 4711);
		EQUAL(area()->cpu_id, cpu);
	}
	return NULL;
}

int main(int argc, char **argv)
{
	check_init(argc, argv);
	if (__rseq_size == 0)
		SKIP("the C library registered no restartable sequences");
	pthread_t threads[4];
	for (size_t i = 0; i < LENGTH(threads); i++)
		check_create(&threads[i], worker, NULL);
	check_registered();
	check_wait();
	stop = 1;
	for (size_t i = 0; i < LENGTH(threads); i++)
		pthread_join(threads[i], NULL);
	check_registered();
	PASS();
}
