/* Thread-local variables (fs base) and a gs base of its own stay with each of 16 threads. */
#include "check.h"
#include <asm/prctl.h>

static __thread long own = 1;
static __thread char block[8192];
static pthread_barrier_t set_up;
static volatile int stop;
static long gs_area[16][64];

static void *worker(void *argument)
{
	long number = (long)argument;
	own = number * 1000;
	check_fill(block, sizeof block, (uint64_t)number);
	gs_area[number][3] = number;
	OK(syscall(SYS_arch_prctl, ARCH_SET_GS, gs_area[number]));
	pthread_barrier_wait(&set_up);
	long *address = &own;
	while (!stop) {
		long through_gs;
		__asm__ volatile("mov %%gs:24, %0" : "=r"(through_gs));
		EQUAL(through_gs, number);
		EQUAL(own, number * 1000);
		check_sleep(0.005);
	}
	DAMAGE(block[100]++);
	CHECK(address == &own, "the thread-local variable moved");
	check_filled(block, sizeof block, (uint64_t)number);
	return NULL;
}

int main(int argc, char **argv)
{
	check_init(argc, argv);
	pthread_t threads[16];
	pthread_barrier_init(&set_up, NULL, LENGTH(threads) + 1);
	for (size_t i = 0; i < LENGTH(threads); i++)
		check_create(&threads[i], worker, (void *)i);
	pthread_barrier_wait(&set_up);
	check_wait();
	stop = 1;
	for (size_t i = 0; i < LENGTH(threads); i++)
		pthread_join(threads[i], NULL);
	EQUAL(own, 1);
	PASS();
}
