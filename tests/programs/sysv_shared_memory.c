/* System V shared memory: identifiers, keys and contents; attached twice, read-only, in part, by a child, by nobody, and
 * removed while it is attached. */
#include "check.h"
#include <sys/shm.h>
#include <sys/wait.h>

#define PAGE 4096

static int make(key_t key, size_t size, uint64_t seed)
{
	int id = shmget(key, size, IPC_CREAT | IPC_EXCL | 0640);
	CHECK(id >= 0, "shmget");
	char *memory = shmat(id, NULL, 0);
	CHECK(memory != (void *)-1, "shmat");
	check_fill(memory, size, seed);
	OK(shmdt(memory));
	return id;
}

static struct shmid_ds look(int id)
{
	struct shmid_ds state;
	OK(shmctl(id, IPC_STAT, &state));
	return state;
}

int main(int argc, char **argv)
{
	check_init(argc, argv);
	key_t key = 0x52000000 | getpid();
	int named = make(key, 5 * PAGE + 100, 1), removed = make(IPC_PRIVATE, 4 * PAGE, 2), alone = make(IPC_PRIVATE, 3 * PAGE, 3);
	char *one = shmat(named, NULL, 0), *two = shmat(named, NULL, SHM_RDONLY), *part = shmat(removed, NULL, 0);
	CHECK(one != (void *)-1 && two != (void *)-1 && part != (void *)-1, "shmat");
	OK(mprotect(part + PAGE, PAGE, PROT_READ));
	OK(munmap(part + 2 * PAGE, PAGE));
	OK(shmctl(removed, IPC_RMID, NULL));
	int go[2], done[2];
	OK(pipe(go));
	OK(pipe(done));
	pid_t child = fork();
	if (child == 0) {
		char byte;
		if (read(go[0], &byte, 1) != 1)
			_exit(2);
		one[0] = 'c';
		part[3 * PAGE] = 'p';
		EQUAL(write(done[1], "x", 1), 1);
		pause();
	}
	check_wait();
	DAMAGE(one[PAGE]++);
	check_filled(one, 5 * PAGE + 96, 1);
	EQUAL(memcmp(one, two, 5 * PAGE + 100), 0);
	EQUAL(shmget(key, 0, 0), named);
	struct shmid_ds state = look(named);
	EQUAL(state.shm_segsz, 5 * PAGE + 100);
	EQUAL(state.shm_perm.mode, 0640);
	EQUAL(state.shm_nattch, 4);
	EQUAL(state.shm_cpid, getpid());
	EQUAL(look(removed).shm_perm.mode & SHM_DEST, SHM_DEST);
	EQUAL(look(alone).shm_nattch, 0);
	char head[256], flags[256];
	check_mapping(two, head, flags, sizeof head);
	CHECK(strncmp(head, "r--s", 4) == 0, "%s", head);
	EQUAL(mprotect(two, PAGE, PROT_READ | PROT_WRITE), -1);
	check_mapping(part + PAGE, head, flags, sizeof head);
	CHECK(strncmp(head, "r--s", 4) == 0, "%s", head);
	check_mapping(part + 2 * PAGE, head, flags, sizeof head);
	CHECK(!strstr(head, "SYSV"), "%s", head);
	char byte;
	EQUAL(write(go[1], "x", 1), 1);
	EQUAL(read(done[0], &byte, 1), 1);
	EQUAL(one[0], 'c');
	EQUAL(two[0], 'c');
	EQUAL(part[3 * PAGE], 'p');
	kill(child, SIGKILL);
	EQUAL(waitpid(child, NULL, 0), child);
	char *memory = shmat(alone, NULL, 0);
	CHECK(memory != (void *)-1, "shmat");
	check_filled(memory, 3 * PAGE, 3);
	OK(shmdt(part));
	EQUAL(shmctl(removed, IPC_STAT, &state), -1); /* gone with its last attachment */
	OK(shmdt(two));
	OK(shmdt(one));
	OK(shmctl(named, IPC_RMID, NULL));
	OK(shmctl(alone, IPC_RMID, NULL));
	PASS();
}
