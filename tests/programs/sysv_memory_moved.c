/* System V shared memory in pieces that were moved, one to where another had been. */
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
	char again[4 * 4096];
	check_fill(again, sizeof again, 1);
	EQUAL(memcmp(memory, again + 2 * 4096, 4096), 0);
	EQUAL(memcmp(memory + 4096, again + 4096, 4096), 0);
	EQUAL(memcmp(memory + 3 * 4096, again + 3 * 4096, 4096), 0);
	struct shmid_ds state;
	OK(shmctl(id, IPC_STAT, &state));
	EQUAL(state.shm_nattch, 4);
	other[0] = 'x';
	OK(shmdt(memory)); /* what is where it was, and only that */
	EQUAL(other[0], 'x');
	OK(shmctl(id, IPC_STAT, &state));
	EQUAL(state.shm_nattch, 2);
	PASS();
}
