/* Memory that the kernel may drop (MAP_DROPPABLE) comes back droppable: with its contents or empty. */
#include "check.h"

enum { PAGE = 4096, DROPPABLE = 0x08 };

int main(int argc, char **argv)
{
	check_init(argc, argv);
	char *memory = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, DROPPABLE | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED)
		SKIP("no MAP_DROPPABLE: %s", strerror(errno));
	memory[0] = 1;
	check_wait();
	DAMAGE(memory[0] = 2);
	CHECK(memory[0] == 0 || memory[0] == 1, "contents are %d", memory[0]);
	check_zero(memory + 1, PAGE - 1);
	char head[256], flags[256];
	check_mapping(memory, head, flags, sizeof flags);
	CHECK(strstr(flags, " dp"), "flags are %s", flags);
	PASS();
}
