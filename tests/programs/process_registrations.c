/* What a process has registered for or forbidden itself: every kind of membarrier, memory that becomes executable
 * (PR_SET_MDWE), merging of equal pages. */
#include "check.h"
#include <linux/membarrier.h>
#include <sys/prctl.h>

enum { SET_MDWE = 65, GET_MDWE, SET_MEMORY_MERGE, GET_MEMORY_MERGE, GET_REGISTRATIONS = 1 << 9 };

static long barrier(int command)
{
	return syscall(SYS_membarrier, command, 0, 0);
}

int main(int argc, char **argv)
{
	check_init(argc, argv);
	static const int kinds[] = { MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED,
				     MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_SYNC_CORE,
				     MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_RSEQ };
	for (size_t i = 0; i < LENGTH(kinds); i++)
		barrier(kinds[i]);
	long registered = barrier(GET_REGISTRATIONS);
	long merges = prctl(SET_MEMORY_MERGE, 1, 0, 0, 0) < 0 ? -1 : 1;
	long forbids = prctl(SET_MDWE, 3, 0, 0, 0) < 0 ? -1 : 3;
	void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	check_wait();
	DAMAGE(registered = 1);
	EQUAL(barrier(GET_REGISTRATIONS), registered);
	EQUAL(prctl(GET_MEMORY_MERGE, 0, 0, 0, 0), merges);
	EQUAL(prctl(GET_MDWE, 0, 0, 0, 0), forbids);
	EQUAL(mprotect(page, 4096, PROT_READ | PROT_EXEC), forbids > 0 ? -1 : 0);
	EQUAL(barrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED), 0);
	PASS();
}
