/* Memory that children have from a fork, changed here and there on either side, also in a grandchild. */
#include "check.h"
#include <sys/wait.h>

enum { PAGE = 4096, PAGES = 6144, CHILDREN = 3 };

static char *memory, *shared;

/* What one of the processes changes: pages of its own, one in common, and one that becomes zero. */
static void change(int who)
{
	for (int page = who; page < PAGES; page += 512)
		check_fill(memory + page * PAGE, PAGE, (uint64_t)who << 32 | (uint64_t)page);
	memset(memory + (4000 + who) * PAGE, 0, PAGE);
	if (who % 2)
		OK(munmap(memory + 5000 * PAGE, 2 * PAGE));
}

static bool changed_by(int page, int who)
{
	return page % 512 == who;
}

/* A process has what its line of ancestors changed before the fork (`before`) and what it did itself. */
static void verify(int who, int before)
{
	for (int page = 0; page < PAGES; page++) {
		char *at = memory + page * PAGE;
		unsigned char vector[1];
		bool hole = (page == 5000 || page == 5001) && (who % 2 || before % 2);
		if (hole)
			EQUAL(mincore(at, PAGE, vector), -1);
		else if (changed_by(page, who))
			check_filled(at, PAGE, (uint64_t)who << 32 | (uint64_t)page);
		else if (page == 4000 + who || (before && page == 4000 + before))
			check_zero(at, PAGE);
		else if (before && changed_by(page, before))
			check_filled(at, PAGE, (uint64_t)before << 32 | (uint64_t)page);
		else
			check_filled(at, PAGE, (uint64_t)page);
	}
}

static void wait_for_go(void)
{
	while (!check_go())
		check_sleep(0.01);
}

static int child(int who, int before)
{
	change(who);
	pid_t grandchild = 0;
	if (who == 1) {
		grandchild = fork();
		OK(grandchild);
		if (grandchild == 0)
			_exit(child(CHILDREN + 2, who));
	}
	((volatile char *)shared)[who] = 1;
	wait_for_go();
	if (who == 2)
		DAMAGE(memory[2 * PAGE] ^= 1);
	verify(who, before);
	int status = 0;
	if (grandchild)
		EQUAL(waitpid(grandchild, &status, 0), grandchild);
	return status ? 1 : 0;
}

int main(int argc, char **argv)
{
	check_init(argc, argv);
	memory = check_map(PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE);
	shared = check_map(PAGE, PROT_READ | PROT_WRITE, MAP_SHARED);
	for (int page = 0; page < PAGES; page++)
		check_fill(memory + page * PAGE, PAGE, (uint64_t)page);
	pid_t children[CHILDREN];
	for (int i = 0; i < CHILDREN; i++) {
		children[i] = fork();
		OK(children[i]);
		if (children[i] == 0)
			_exit(child(i + 1, 0));
	}
	change(CHILDREN + 1);
	for (int who = 1; who <= CHILDREN + 2; who++)
		while (who != CHILDREN + 1 && !((volatile char *)shared)[who])
			check_sleep(0.001);
	check_wait();
	verify(CHILDREN + 1, 0);
	for (int i = 0; i < CHILDREN; i++) {
		int status;
		EQUAL(waitpid(children[i], &status, 0), children[i]);
		CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0, "child %d ended with %#x", i, status);
	}
	PASS();
}
