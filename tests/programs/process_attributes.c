/* What prctl set that is seldom used: the time-stamp counter forbidden in one thread, machine checks, huge pages only
 * where they are asked for, memory merged. */
#include "check.h"
#include <sys/prctl.h>

static volatile int go;
static atomic_int ready;

/* Does not look at the clock, which would read the counter. */
static void *without_counter(void *unused)
{
	(void)unused;
	int counter = 0;
	struct timespec pause = { 0, 2000000 };
	OK(prctl(PR_SET_TSC, PR_TSC_SIGSEGV));
	OK(prctl(PR_MCE_KILL, PR_MCE_KILL_SET, PR_MCE_KILL_LATE, 0, 0));
	ready = 1;
	while (!go)
		syscall(SYS_nanosleep, &pause, NULL);
	OK(prctl(PR_GET_TSC, &counter));
	EQUAL(counter, PR_TSC_SIGSEGV);
	EQUAL(prctl(PR_MCE_KILL_GET, 0, 0, 0, 0), PR_MCE_KILL_LATE);
	return NULL;
}

int main(int argc, char **argv)
{
	check_init(argc, argv);
	int counter = 0, huge, merge;
	OK(prctl(PR_MCE_KILL, PR_MCE_KILL_SET, PR_MCE_KILL_EARLY, 0, 0));
	pthread_t thread;
	check_create(&thread, without_counter, NULL);
	while (!ready)
		check_sleep(0.001);
	/* Linux 6.18, with its flag; else without. */
	if (prctl(PR_SET_THP_DISABLE, 1, 2, 0, 0) == -1)
		OK(prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0));
	if (prctl(67 /* PR_SET_MEMORY_MERGE */, 1, 0, 0, 0) == -1)
		dprintf(1, "note: memory cannot be merged here: %s\n", strerror(errno));
	huge = prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0);
	merge = prctl(68 /* PR_GET_MEMORY_MERGE */, 0, 0, 0, 0);
	check_wait();
	DAMAGE(prctl(PR_SET_THP_DISABLE, 0, 0, 0, 0));
	EQUAL(prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0), huge);
	EQUAL(prctl(68, 0, 0, 0, 0), merge);
	EQUAL(prctl(PR_MCE_KILL_GET, 0, 0, 0, 0), PR_MCE_KILL_EARLY);
	OK(prctl(PR_GET_TSC, &counter));
	EQUAL(counter, PR_TSC_ENABLE);
	go = 1;
	pthread_join(thread, NULL);
	PASS();
}
