/* System V shared memory that was moved cannot be checkpointed: it stays where it is. */
#include "check.h"
#include <sys/shm.h>

int main(int argc, char **argv)
{
	check_init(argc, argv);
	int id = shmget(IPC_PRIVATE, 4 * 4096, 0600);
	char *memory = shmat(id, NULL, 0), *other = check_map(4096, PROT_NONE, MAP_PRIVATE);
	CHECK(memory != (void *)-1, "shmat");
	OK(shmctl(id, IPC_RMID, NULL));
	check_fill(memory, 4 * 4096, 1);
	CHECK(mremap(memory, 4096, 4096, MREMAP_MAYMOVE | MREMAP_FIXED, other) == other, "mremap");
	/* One whose place would overlap with that of the first. */
	CHECK(mremap(memory + 2 * 4096, 4096, 4096, MREMAP_MAYMOVE | MREMAP_FIXED, memory) == memory, "mremap");
	check_wait();
	DAMAGE(other[0]++);
	check_filled(other, 4096, 1);
	PASS();
}
