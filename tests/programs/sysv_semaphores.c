/* System V semaphores: identifier, key, values, who was last, and what is undone when a process ends. */
#include "check.h"
#include <sys/sem.h>
#include <sys/wait.h>

static void change(int id, int semaphore, int by, int flags)
{
	struct sembuf operation = { (unsigned short)semaphore, (short)by, (short)flags };
	OK(semop(id, &operation, 1));
}

int main(int argc, char **argv)
{
	check_init(argc, argv);
	key_t key = 0x53000000 | getpid();
	int id = semget(key, 9, IPC_CREAT | IPC_EXCL | 0600), go[2], done[2];
	CHECK(id >= 0, "semget");
	unsigned short values[9] = { 5, 0, 32767, 1, 3, 0, 7, 8, 9 };
	OK(semctl(id, 0, SETALL, values));
	OK(pipe(go));
	OK(pipe(done));
	pid_t child = fork();
	if (child == 0) {
		char byte;
		change(id, 0, -2, SEM_UNDO);
		change(id, 1, 4, SEM_UNDO);
		change(id, 2, -32767, SEM_UNDO);
		change(id, 3, 1, SEM_UNDO);
		change(id, 3, -1, SEM_UNDO); /* nothing is left to undo */
		change(id, 8, -9, 0);
		EQUAL(write(done[1], "x", 1), 1);
		EQUAL(read(go[0], &byte, 1), 1);
		_exit(0);
	}
	char byte;
	EQUAL(read(done[0], &byte, 1), 1);
	change(id, 6, -7, SEM_UNDO);
	check_wait();
	DAMAGE(change(id, 0, 1, 0));
	EQUAL(semget(key, 0, 0), id);
	unsigned short now[9], wanted[9] = { 3, 4, 0, 1, 3, 0, 0, 8, 0 };
	OK(semctl(id, 0, GETALL, now));
	for (int i = 0; i < 9; i++)
		EQUAL(now[i], wanted[i]);
	EQUAL(semctl(id, 0, GETPID), child);
	EQUAL(semctl(id, 6, GETPID), getpid());
	struct semid_ds state;
	OK(semctl(id, 0, IPC_STAT, &state));
	EQUAL(state.sem_perm.mode, 0600);
	EQUAL(write(go[1], "x", 1), 1);
	int status;
	EQUAL(waitpid(child, &status, 0), child);
	EQUAL(status, 0);
	OK(semctl(id, 0, GETALL, now));
	unsigned short after[9] = { 5, 0, 32767, 1, 3, 0, 0, 8, 0 };
	for (int i = 0; i < 9; i++)
		EQUAL(now[i], after[i]);
	if (fork() == 0) /* what the parent would undo is the parent's */
		_exit(0);
	wait(NULL);
	EQUAL(semctl(id, 6, GETVAL), 0);
	OK(semctl(id, 0, IPC_RMID));
	PASS();
}
