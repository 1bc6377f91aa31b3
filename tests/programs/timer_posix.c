/* POSIX timers keep ids (with gaps), clocks, notification, remaining time and interval; expired ones stay quiet. */
#include "check.h"

enum { TIMERS = 10 };

struct wanted {
	clockid_t clock;
	int notify;
	long value, interval; /* seconds */
};

static const struct wanted wanted[TIMERS] = {
	{ CLOCK_REALTIME, SIGEV_SIGNAL, 500, 7 },      { CLOCK_MONOTONIC, SIGEV_SIGNAL, 600, 0 },
	{ CLOCK_MONOTONIC, SIGEV_THREAD_ID, 700, 3 },  { CLOCK_BOOTTIME, SIGEV_SIGNAL, 800, 9 },
	{ CLOCK_MONOTONIC, SIGEV_NONE, 900, 11 },      { CLOCK_PROCESS_CPUTIME_ID, SIGEV_SIGNAL, 300, 1 },
	{ CLOCK_THREAD_CPUTIME_ID, SIGEV_SIGNAL, 400, 2 }, { CLOCK_MONOTONIC, SIGEV_SIGNAL, 0, 0 },
	{ CLOCK_MONOTONIC, SIGEV_SIGNAL, -1, 0 }, /* expires before the checkpoint */
	{ CLOCK_REALTIME, SIGEV_SIGNAL, 1000, 0 },
};

static _Atomic int signals[128];

static void handler(int signal, siginfo_t *info, void *context)
{
	(void)signal;
	(void)context;
	signals[info->si_value.sival_int]++;
}

/* The kernel's ids, not the C library's. */
static int create(const struct wanted *this, int number)
{
	struct sigevent event = { .sigev_signo = SIGRTMIN + 1, .sigev_notify = this->notify, .sigev_value.sival_int = number };
	if (this->notify == SIGEV_THREAD_ID)
		event._sigev_un._tid = gettid();
	int id = -1;
	OK(syscall(SYS_timer_create, this->clock, &event, &id));
	return id;
}

static void set(int id, long value, long nanoseconds, long interval)
{
	struct itimerspec time = { { interval, 0 }, { value, nanoseconds } };
	OK(syscall(SYS_timer_settime, id, 0, &time, NULL));
}

int main(int argc, char **argv)
{
	check_init(argc, argv);
	OK(sigaction(SIGRTMIN + 1, &(struct sigaction){ .sa_sigaction = handler, .sa_flags = SA_SIGINFO }, NULL));
	int ids[TIMERS], dropped;
	for (int i = 0; i < TIMERS; i++) {
		dropped = create(&wanted[1], 0); /* every other id is given up again */
		ids[i] = create(&wanted[i], i);
		OK(syscall(SYS_timer_delete, dropped));
		if (wanted[i].value)
			set(ids[i], wanted[i].value < 0 ? 0 : wanted[i].value, wanted[i].value < 0, wanted[i].interval);
	}
	while (!signals[8])
		check_sleep(0.001);
	check_wait();
	DAMAGE(syscall(SYS_timer_delete, ids[4]));
	for (int i = 0; i < TIMERS; i++) {
		struct itimerspec now = { 0 };
		CHECK(syscall(SYS_timer_gettime, ids[i], &now) == 0, "timer %d with id %d", i, ids[i]);
		long value = wanted[i].value < 0 ? 0 : wanted[i].value;
		CHECK(now.it_value.tv_sec <= value && now.it_value.tv_sec >= value - (value ? 60 : 0),
		      "timer %d: %ld s are left of %ld", i, (long)now.it_value.tv_sec, value);
		EQUAL(now.it_interval.tv_sec, wanted[i].interval);
		EQUAL(signals[i], i == 8);
	}
	for (int i = 0; i < TIMERS; i++)
		set(ids[i], 0, wanted[i].clock == CLOCK_PROCESS_CPUTIME_ID ? 1 : 1000000, 0);
	for (double end = check_clock(CLOCK_PROCESS_CPUTIME_ID) + 0.3; check_clock(CLOCK_PROCESS_CPUTIME_ID) < end;)
		;
	for (int i = 0; i < TIMERS; i++)
		EQUAL(signals[i], wanted[i].notify == SIGEV_NONE ? 0 : i == 8 ? 2 : 1);
	int fresh = create(&wanted[0], 0);
	for (int i = 0; i < TIMERS; i++)
		CHECK(fresh != ids[i], "the id %d was given twice", fresh);
	PASS();
}
