/* The heap by brk keeps its contents and its end, grows and shrinks afterwards, and malloc goes on. */
#include "check.h"

int main(int argc, char **argv)
{
	check_init(argc, argv);
	enum { BLOCKS = 200, EXTRA = 3 * 1024 * 1024 };
	char *blocks[BLOCKS];
	for (int i = 0; i < BLOCKS; i++) {
		blocks[i] = malloc((size_t)i * 500 + 8);
		check_fill(blocks[i], (size_t)i * 500 + 8, (uint64_t)i);
	}
	for (int i = 0; i < BLOCKS; i += 3)
		free(blocks[i]);
	char *end = sbrk(EXTRA);
	check_fill(end, EXTRA / 2, 1);
	void *before = sbrk(0);
	check_wait();
	DAMAGE(end[EXTRA / 2 - 1] ^= 1);
	CHECK(sbrk(0) == before, "the end of the heap moved from %p to %p", before, sbrk(0));
	check_filled(end, EXTRA / 2, 1);
	check_zero(end + EXTRA / 2, EXTRA / 2);
	for (int i = 0; i < BLOCKS; i++)
		if (i % 3)
			check_filled(blocks[i], (size_t)i * 500 + 8, (uint64_t)i);
	char *more = sbrk(EXTRA);
	CHECK(more == before, "the heap does not grow: %p", (void *)more);
	check_zero(more, EXTRA);
	check_fill(more, EXTRA, 2);
	check_filled(more, EXTRA, 2);
	CHECK(sbrk(-EXTRA) == more + EXTRA && sbrk(0) == before, "the heap does not shrink");
	CHECK(sbrk(EXTRA) == more, "the heap does not grow again");
	check_zero(more, EXTRA);
	for (int i = 0; i < BLOCKS; i++)
		CHECK(malloc(10000), "malloc");
	for (int i = 0; i < BLOCKS; i++)
		if (i % 3)
			free(blocks[i]);
	PASS();
}
