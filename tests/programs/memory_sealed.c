/* Memory that was sealed (mseal) still is. */
#include "check.h"
#include <sys/wait.h>

enum { PAGE = 4096 };

static void expect_sealed(char *memory)
{
	EQUAL(munmap(memory, PAGE), -1);
	EQUAL(errno, EPERM);
	EQUAL(mprotect(memory, PAGE, PROT_NONE), -1);
	EQUAL(errno, EPERM);
}

int main(int argc, char **argv)
{
	check_init(argc, argv);
	char *memory = check_map(4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE);
	char *read_only = check_map(4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE);
	check_fill(memory, 4 * PAGE, 1);
	check_fill(read_only, 4 * PAGE, 2);
	OK(mprotect(read_only, 4 * PAGE, PROT_READ));
	if (syscall(462, memory, 2 * PAGE, 0) == -1)
		SKIP("no mseal here: %s", strerror(errno));
	OK(syscall(462, read_only, 4 * PAGE, 0));
	int *shared = check_map(PAGE, PROT_READ | PROT_WRITE, MAP_SHARED);
	pid_t child = fork();
	OK(child);
	if (child == 0) {
		memory[0] ^= 1;
		while (!*(volatile int *)shared)
			check_sleep(0.002);
		memory[0] ^= 1;
		check_filled(memory, 4 * PAGE, 1);
		check_filled(read_only, 4 * PAGE, 2);
		expect_sealed(memory);
		expect_sealed(read_only);
		_exit(0);
	}
	check_wait();
	DAMAGE(memory[PAGE] ^= 1);
	check_filled(memory, 4 * PAGE, 1);
	check_filled(read_only, 4 * PAGE, 2);
	expect_sealed(memory);
	expect_sealed(read_only);
	OK(mprotect(memory + 2 * PAGE, PAGE, PROT_READ));
	*(volatile int *)shared = 1;
	int status;
	EQUAL(waitpid(child, &status, 0), child);
	EQUAL(status, 0);
	PASS();
}
