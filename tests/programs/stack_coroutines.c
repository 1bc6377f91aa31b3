/* swapcontext coroutines on small heap stacks with guard values go on where they were. */
#include "check.h"
#include <ucontext.h>

enum { COROUTINES = 50, STACK = 16 * 1024 };

static ucontext_t scheduler, contexts[COROUTINES];
static long counts[COROUTINES];
static unsigned char *stacks[COROUTINES];
static volatile int stop;

static void body(int number)
{
	volatile long local = number;
	while (!stop) {
		local += 3;
		counts[number]++;
		EQUAL(local, number + 3 * counts[number]);
		OK(swapcontext(&contexts[number], &scheduler));
	}
}

int main(int argc, char **argv)
{
	check_init(argc, argv);
	for (int i = 0; i < COROUTINES; i++) {
		stacks[i] = malloc(STACK);
		check_fill(stacks[i], 4096, (uint64_t)i); /* never reached by this body */
		OK(getcontext(&contexts[i]));
		contexts[i].uc_stack.ss_sp = stacks[i];
		contexts[i].uc_stack.ss_size = STACK;
		contexts[i].uc_link = &scheduler;
		makecontext(&contexts[i], (void (*)(void))body, 1, i);
	}
	check_ready();
	long rounds = 0;
	for (; !check_go(); rounds++)
		for (int i = 0; i < COROUTINES; i++)
			OK(swapcontext(&scheduler, &contexts[i]));
	DAMAGE(counts[3]++);
	for (int i = 0; i < COROUTINES; i++) {
		OK(swapcontext(&scheduler, &contexts[i]));
		EQUAL(counts[i], rounds + 1);
		check_filled(stacks[i], 4096, (uint64_t)i);
	}
	PASS();
}
