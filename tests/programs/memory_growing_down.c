/* A MAP_GROWSDOWN mapping keeps its flag and still grows when it is touched below. */
#include "check.h"

enum { PAGE = 4096 };

int main(int argc, char **argv)
{
	check_init(argc, argv);
	/* Room below, with more than the kernel's stack_guard_gap free. */
	char *room = check_map(16 << 20, PROT_NONE, MAP_PRIVATE);
	OK(munmap(room, 16 << 20));
	char *memory = mmap(room + (15 << 20), 4 * PAGE, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_GROWSDOWN | MAP_FIXED_NOREPLACE, -1, 0);
	CHECK(memory != MAP_FAILED, "mmap");
	check_fill(memory, 4 * PAGE, 1);
	check_fill(memory - 2 * PAGE, PAGE, 2);
	char head[256], flags[256];
	check_wait();
	DAMAGE(memory[0] ^= 1);
	check_filled(memory, 4 * PAGE, 1);
	check_zero(memory - PAGE, PAGE);
	check_filled(memory - 2 * PAGE, PAGE, 2);
	check_mapping(memory, head, flags, sizeof flags);
	CHECK(strstr(flags, " gd"), "the flags are %s", flags);
	check_fill(memory - 20 * PAGE, PAGE, 3);
	check_filled(memory - 20 * PAGE, PAGE, 3);
	PASS();
}
