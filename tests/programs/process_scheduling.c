/* Niceness, policy, affinity, I/O priority and timer slack of each thread are as before. */
#include "check.h"
#include <sys/prctl.h>
#include <sys/resource.h>

enum { THREADS = 5, IOPRIO_BEST_EFFORT_6 = (2 << 13) | 6, IOPRIO_IDLE = 3 << 13 };

struct state {
	int nice, policy, priority, ioprio, slack;
	cpu_set_t affinity;
};

static volatile int stop;
static _Atomic int set_up;

static void read_state(struct state *state)
{
	struct sched_param parameter;
	memset(state, 0, sizeof *state);
	errno = 0;
	state->nice = getpriority(PRIO_PROCESS, 0);
	state->policy = sched_getscheduler(0);
	OK(sched_getparam(0, &parameter));
	state->priority = parameter.sched_priority;
	state->ioprio = (int)syscall(SYS_ioprio_get, 1, 0);
	state->slack = prctl(PR_GET_TIMERSLACK);
	OK(sched_getaffinity(0, sizeof state->affinity, &state->affinity));
}

static void choose(int kind)
{
	cpu_set_t one;
	struct sched_param none = { 0 };
	CPU_ZERO(&one);
	CPU_SET(sched_getcpu(), &one);
	if (kind == 0)
		OK(setpriority(PRIO_PROCESS, 0, 7));
	else if (kind == 1)
		OK(sched_setscheduler(0, SCHED_BATCH, &none));
	else if (kind == 2)
		OK(sched_setscheduler(0, SCHED_IDLE | SCHED_RESET_ON_FORK, &none));
	else if (kind == 3)
		OK(sched_setaffinity(0, sizeof one, &one));
	OK(syscall(SYS_ioprio_set, 1, 0, kind % 2 ? IOPRIO_IDLE : IOPRIO_BEST_EFFORT_6));
	OK(prctl(PR_SET_TIMERSLACK, 10000 + kind));
}

static void *worker(void *argument)
{
	struct state before, now;
	int kind = (int)(intptr_t)argument;
	choose(kind);
	read_state(&before);
	set_up++;
	while (!stop)
		check_sleep(0.002);
	DAMAGE(prctl(PR_SET_TIMERSLACK, 3));
	read_state(&now);
	EQUAL(now.nice, before.nice);
	EQUAL(now.policy, before.policy);
	EQUAL(now.priority, before.priority);
	EQUAL(now.ioprio, before.ioprio);
	EQUAL(now.slack, before.slack);
	CHECK(CPU_EQUAL(&now.affinity, &before.affinity), "thread %d: %d processors, were %d", kind,
	      CPU_COUNT(&now.affinity), CPU_COUNT(&before.affinity));
	return NULL;
}

int main(int argc, char **argv)
{
	check_init(argc, argv);
	pthread_t threads[THREADS];
	for (size_t i = 0; i < THREADS; i++)
		check_create(&threads[i], worker, (void *)i);
	while (set_up < THREADS)
		check_sleep(0.001);
	check_wait();
	stop = 1;
	for (size_t i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	PASS();
}
