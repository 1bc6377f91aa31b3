/* Code that the program generated runs: in private memory and through a double mapping of a memfd. */
#include "check.h"

enum { PAGE = 4096 };

/* mov eax, value; ret */
static void generate(unsigned char *code, uint32_t value)
{
	code[0] = 0xb8;
	memcpy(code + 1, &value, 4);
	code[5] = 0xc3;
}

int main(int argc, char **argv)
{
	check_init(argc, argv);
	unsigned char *code = check_map(PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE);
	generate(code, 4711);
	OK(mprotect(code, PAGE, PROT_READ | PROT_EXEC));
	int fd = memfd_create("code", 0);
	OK(ftruncate(fd, PAGE));
	unsigned char *writable = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	unsigned char *executable = mmap(NULL, PAGE, PROT_READ | PROT_EXEC, MAP_SHARED, fd, 0);
	CHECK(writable != MAP_FAILED && executable != MAP_FAILED, "mmap");
	close(fd);
	generate(writable, 815);
	check_wait();
	DAMAGE(generate(writable, 816));
	EQUAL(((uint32_t(*)(void))code)(), 4711);
	EQUAL(((uint32_t(*)(void))executable)(), 815);
	generate(writable, 1234);
	EQUAL(((uint32_t(*)(void))executable)(), 1234);
	PASS();
}
