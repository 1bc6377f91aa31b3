/* A file that was written and closed is free at once, also while a checkpoint is being written: its lock is gone, and nobody
 * has it open for writing any more (else it could not be executed: ETXTBSY). */
#include "check.h"
#include <sys/file.h>

static char path[PATH_MAX];
static atomic_int end;

static void *write_and_close(void *unused)
{
	char block[4096];
	memset(block, 7, sizeof block);
	while (!end) {
		int fd = open(path, O_RDWR | O_CREAT, 0700);
		OK(fd);
		OK(flock(fd, LOCK_EX | LOCK_NB));
		EQUAL(write(fd, block, sizeof block), (long)sizeof block);
		usleep(5000);
		OK(close(fd));
		fd = open(path, O_RDONLY);
		OK(fd);
		OK(flock(fd, LOCK_EX | LOCK_NB));
		/* Refused while somebody has the file open for writing. */
		OK(fcntl(fd, F_SETLEASE, F_RDLCK));
		OK(fcntl(fd, F_SETLEASE, F_UNLCK));
		OK(close(fd));
	}
	return unused;
}

int main(int argc, char **argv)
{
	check_init(argc, argv);
	check_path(path, "file");
	/* Writing this takes a while. */
	size_t size = 48 << 20;
	char *ballast = malloc(size);
	for (size_t at = 0; at < size; at += 64)
		memcpy(ballast + at, &(size_t){ at * 2654435761u }, 8);
	pthread_t thread;
	OK(pthread_create(&thread, NULL, write_and_close, NULL));
	check_wait();
	DAMAGE(open(path, O_WRONLY));
	DAMAGE(usleep(50000));
	end = 1;
	OK(pthread_join(thread, NULL));
	PASS();
}
