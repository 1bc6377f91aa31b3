/* Memory on transparent huge pages comes back, written in whole and in part. */
#include "check.h"

enum { HUGE = 2 << 20, COUNT = 8, PAGE = 4096 };

int main(int argc, char **argv)
{
	check_init(argc, argv);
	if (access("/sys/kernel/mm/transparent_hugepage/enabled", R_OK))
		SKIP("the kernel has no transparent huge pages");
	char *memory = aligned_alloc(HUGE, COUNT * HUGE), head[256], flags[256];
	OK(madvise(memory, COUNT * HUGE, MADV_HUGEPAGE));
	for (uint64_t i = 0; i < COUNT; i++)
		if (i % 2)
			check_fill(memory + i * HUGE, HUGE, i);
		else
			check_fill(memory + i * HUGE + 17 * PAGE, PAGE, i);
	OK(madvise(memory + 3 * HUGE + 5 * PAGE, PAGE, MADV_DONTNEED));
	OK(mprotect(memory + 5 * HUGE + 9 * PAGE, PAGE, PROT_READ));
	check_wait();
	DAMAGE(memory[HUGE] ^= 1);
	for (uint64_t i = 0; i < COUNT; i++) {
		char *huge = memory + i * HUGE;
		if (i == 3) {
			check_filled(huge, 5 * PAGE, i);
			check_zero(huge + 5 * PAGE, PAGE);
		} else if (i % 2) {
			check_filled(huge, HUGE, i);
		} else {
			check_zero(huge, 17 * PAGE);
			check_filled(huge + 17 * PAGE, PAGE, i);
			check_zero(huge + 18 * PAGE, HUGE - 18 * PAGE);
		}
	}
	check_mapping(memory, head, flags, sizeof flags);
	CHECK(strstr(flags, " hg"), "the flags are %s", flags);
	PASS();
}
