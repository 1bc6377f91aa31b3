/* Memory in /dev/shm, by name, and semaphores, by name and without one, go on with what they held at the checkpoint,
 * also if the program has written to them since. */
#include "check.h"
#include <semaphore.h>
#include <sys/wait.h>

enum { SIZE = 1 << 20 };

struct shared {
	_Atomic uint64_t count;
	_Atomic uint64_t own_count; /* a copy in private memory of the child must be the same */
};

int main(int argc, char **argv)
{
	check_init(argc, argv);
	char name[64], semaphore[64];
	snprintf(name, sizeof name, "/check-%d", getpid());
	snprintf(semaphore, sizeof semaphore, "/check-semaphore-%d", getpid());
	int fd = shm_open(name, O_RDWR | O_CREAT | O_EXCL, 0640);
	if (fd < 0)
		SKIP("no shared memory: %s", strerror(errno));
	OK(ftruncate(fd, SIZE));
	char *memory = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	CHECK(memory != MAP_FAILED, "mmap");
	sem_t *named = sem_open(semaphore, O_CREAT | O_EXCL, 0600, 0), *nameless = sem_open("/check-gone", O_CREAT, 0600, 0);
	CHECK(named != SEM_FAILED && nameless != SEM_FAILED, "sem_open");
	sem_unlink("/check-gone");
	check_fill(memory + 4096, SIZE / 2, 1);
	struct shared *shared = (struct shared *)memory;
	pid_t child = fork();
	if (child == 0) {
		/* Counts in shared and in private memory, until it is told to end. */
		for (uint64_t count = 1; sem_trywait(nameless) == -1; count++) {
			if (shared->own_count != count - 1)
				_exit(1);
			shared->own_count = count;
			check_sleep(0.001);
		}
		sem_post(named);
		_exit(0);
	}
	check_wait();
	DAMAGE(shared->own_count += 1000);
	check_sleep(0.02);
	check_filled(memory + 4096, SIZE / 2, 1);
	check_zero(memory + 4096 + SIZE / 2, 4096);
	OK(sem_post(nameless));
	int status;
	EQUAL(waitpid(child, &status, 0), child);
	EQUAL(status, 0);
	OK(sem_wait(named));
	struct stat by_name, by_fd;
	int again = shm_open(name, O_RDWR, 0);
	CHECK(again >= 0, "shm_open");
	OK(fstat(again, &by_name));
	OK(fstat(fd, &by_fd));
	EQUAL(by_name.st_ino, by_fd.st_ino);
	EQUAL(by_fd.st_size, SIZE);
	EQUAL(by_fd.st_mode & 0777, 0640);
	OK(shm_unlink(name));
	OK(sem_unlink(semaphore));
	PASS();
}
