/* The vdso still works: clock_gettime, gettimeofday, getcpu through the C library's pointers, at the same place. */
#include "check.h"
#include <sys/auxv.h>

static volatile int stop;
static _Atomic long calls;

static void *reader(void *unused)
{
	(void)unused;
	double before = 0;
	for (; !stop; calls++) {
		double now = check_clock(CLOCK_MONOTONIC);
		CHECK(now >= before, "CLOCK_MONOTONIC went back from %.9f to %.9f", before, now);
		before = now;
	}
	return NULL;
}

int main(int argc, char **argv)
{
	check_init(argc, argv);
	const char *vdso = (const char *)getauxval(AT_SYSINFO_EHDR);
	CHECK(vdso, "no vdso");
	pthread_t threads[2];
	for (size_t i = 0; i < LENGTH(threads); i++)
		check_create(&threads[i], reader, NULL);
	check_wait();
	DAMAGE(munmap((void *)vdso, 4096); vdso = "gone");
	CHECK(memcmp(vdso, "\177ELF", 4) == 0, "the vdso is not at %p", (const void *)vdso);
	long before = calls;
	check_sleep(0.2);
	CHECK(calls > before, "the readers stand still");
	stop = 1;
	for (size_t i = 0; i < LENGTH(threads); i++)
		pthread_join(threads[i], NULL);
	struct timespec by_vdso, by_call;
	static const clockid_t clocks[] = { CLOCK_REALTIME, CLOCK_MONOTONIC, CLOCK_BOOTTIME, CLOCK_MONOTONIC_RAW,
					    CLOCK_MONOTONIC_COARSE };
	for (size_t i = 0; i < LENGTH(clocks); i++) {
		OK(clock_gettime(clocks[i], &by_vdso));
		OK(syscall(SYS_clock_gettime, clocks[i], &by_call));
		double apart = (double)(by_call.tv_sec - by_vdso.tv_sec) + (double)(by_call.tv_nsec - by_vdso.tv_nsec) / 1e9;
		CHECK(apart > -0.02 && apart < 1, "clock %d: vdso and kernel are %.6f s apart", clocks[i], apart);
	}
	unsigned cpu, node;
	OK(getcpu(&cpu, &node));
	CHECK(time(NULL) > 1600000000, "time() is %ld", (long)time(NULL));
	PASS();
}
