/* A deep stack comes back, and the main thread's stack grows by megabytes afterwards. */
#include "check.h"

static __attribute__((noinline)) uint64_t descend(int depth, void (*at_bottom)(void))
{
	volatile uint64_t frame[128];
	for (int i = 0; i < 128; i++)
		frame[i] = (uint64_t)depth * 1000 + (uint64_t)i;
	uint64_t below = 0;
	if (depth > 0)
		below = descend(depth - 1, at_bottom);
	else if (at_bottom)
		at_bottom();
	if (depth == 17)
		DAMAGE(frame[5]++);
	for (int i = 0; i < 128; i++)
		if (frame[i] != (uint64_t)depth * 1000 + (uint64_t)i)
			FAIL("frame %d of the stack changed", depth);
	return below + frame[1];
}

static void grow(void)
{
	check_wait();
	descend(3000, NULL); /* 3 MiB more */
}

int main(int argc, char **argv)
{
	check_init(argc, argv);
	descend(2000, grow);
	descend(6500, NULL);
	PASS();
}
