/* Coroutines on tiny heap stacks: nothing may be written below the red zone of a stack pointer.
 *
 * Each stack is directly below live data, as in Go or other runtimes with small stacks. Threads switch
 * between the coroutines, spin in them and sleep in them; the bytes under the stacks must stay.
 */
#include "check.h"
#include <sys/prctl.h>

enum { COROUTINES = 8, STACK = 512, RED_ZONE = 128, UNDER = 4096 };

struct coroutine {
	unsigned char under[UNDER]; /* live data of somebody else, ends where the red zone may end */
	unsigned char stack[STACK];
};

struct arena {
	struct coroutine coroutine[COROUTINES];
};

static volatile int stop;
static _Atomic long switches;

/* Runs `rounds` of a loop, then sleeps 1 ms, with the stack pointer at `top`, without using the stack. */
static long run_on(void *top, long rounds)
{
	long result;
	struct timespec millisecond = { 0, 1000000 };
	__asm__ volatile("mov %%rsp, %%r12\n mov %[top], %%rsp\n"
			 "1: dec %[rounds]\n jnz 1b\n"
			 "mov %[nanosleep], %%eax\n mov %[time], %%rdi\n xor %%esi, %%esi\n syscall\n"
			 "mov %%r12, %%rsp\n"
			 : "=&a"(result), [rounds] "+r"(rounds)
			 : [top] "r"(top), [nanosleep] "i"(SYS_nanosleep), [time] "r"(&millisecond)
			 : "r12", "rdi", "rsi", "rcx", "r11", "memory", "cc");
	return result;
}

static void check_arena(const struct arena *arena, uint64_t seed)
{
	for (uint64_t i = 0; i < COROUTINES; i++)
		check_filled(arena->coroutine[i].under, UNDER, seed + i);
}

static void *scheduler(void *argument)
{
	struct arena *arena = argument;
	uint64_t seed = (uintptr_t)argument;
	while (!stop)
		for (int i = 0; i < COROUTINES && !stop; i++, switches++) {
			/* The stack pointer stands RED_ZONE above the live data. */
			EQUAL(run_on(arena->coroutine[i].stack + RED_ZONE, 200000), 0);
			check_arena(arena, seed);
		}
	return NULL;
}

int main(int argc, char **argv)
{
	check_init(argc, argv);
	pthread_t threads[3];
	struct arena *arenas[LENGTH(threads)];
	for (size_t i = 0; i < LENGTH(threads); i++) {
		arenas[i] = aligned_alloc(64, sizeof *arenas[i]);
		for (uint64_t c = 0; c < COROUTINES; c++)
			check_fill(arenas[i]->coroutine[c].under, UNDER, (uintptr_t)arenas[i] + c);
		check_create(&threads[i], scheduler, arenas[i]);
	}
	check_sleep(0.05);
	check_wait();
	long before = switches;
	check_sleep(0.1);
	CHECK(switches > before, "the coroutines stand still");
	DAMAGE(arenas[0]->coroutine[0].under[UNDER - 1] ^= 1; check_sleep(0.2));
	stop = 1;
	for (size_t i = 0; i < LENGTH(threads); i++)
		pthread_join(threads[i], NULL);
	for (size_t i = 0; i < LENGTH(threads); i++)
		check_arena(arenas[i], (uintptr_t)arenas[i]);
	PASS();
}
