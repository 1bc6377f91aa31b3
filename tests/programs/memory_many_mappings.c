/* Some thousand small mappings of different protection and contents come back. */
#include "check.h"

enum { PAGE = 4096, COUNT = 6000 };

int main(int argc, char **argv)
{
	check_init(argc, argv);
	char *memory = check_map(COUNT * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE);
	for (int i = 0; i < COUNT; i++)
		*(int *)(memory + i * PAGE) = i;
	for (int i = 0; i < COUNT; i += 2)
		OK(mprotect(memory + i * PAGE, PAGE, PROT_READ));
	check_wait();
	DAMAGE(*(int *)(memory + 77 * PAGE) = 1);
	for (int i = 0; i < COUNT; i++)
		EQUAL(*(int *)(memory + i * PAGE), i);
	for (int i = 1; i < COUNT; i += 2)
		*(int *)(memory + i * PAGE) = -i;
	PASS();
}
