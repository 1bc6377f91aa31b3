/* flock, POSIX and open-file-description locks are held as before. */
#include "check.h"
#include <sys/file.h>
#include <sys/wait.h>

static char path[PATH_MAX];

/* Asks from another process what lock is in the way of a write lock of this byte. */
static int lock_seen(off_t byte)
{
	int ends[2];
	OK(pipe(ends));
	pid_t child = fork();
	if (child == 0) {
		int fd = open(path, O_RDWR);
		struct flock lock = { .l_type = F_WRLCK, .l_start = byte, .l_len = 1 };
		int type = fcntl(fd, F_GETLK, &lock) == 0 ? lock.l_type : -1;
		_exit(write(ends[1], &type, sizeof type) != sizeof type);
	}
	int type = -2;
	EQUAL(read(ends[0], &type, sizeof type), (long)sizeof type);
	waitpid(child, NULL, 0);
	close(ends[0]);
	close(ends[1]);
	return type;
}

int main(int argc, char **argv)
{
	check_init(argc, argv);
	check_path(path, "file");
	int fd = check_open("file", O_RDWR), owned, whole, shared, other;
	OK(fcntl(fd, F_SETLK, &(struct flock){ .l_type = F_WRLCK, .l_start = 10, .l_len = 5 }));
	OK(fcntl(fd, F_SETLK, &(struct flock){ .l_type = F_RDLCK, .l_start = 20, .l_len = 5 }));
	owned = check_open("owned", O_RDWR);
	OK(fcntl(owned, F_OFD_SETLK, &(struct flock){ .l_type = F_WRLCK, .l_start = 100, .l_len = 0 }));
	whole = check_open("whole", O_RDWR);
	OK(flock(whole, LOCK_EX));
	shared = check_open("shared", O_RDWR);
	OK(flock(shared, LOCK_SH));
	check_wait();
	DAMAGE(fcntl(fd, F_SETLK, &(struct flock){ .l_type = F_UNLCK, .l_start = 12, .l_len = 1 }));
	EQUAL(lock_seen(9), F_UNLCK);
	EQUAL(lock_seen(10), F_WRLCK);
	EQUAL(lock_seen(12), F_WRLCK);
	EQUAL(lock_seen(15), F_UNLCK);
	EQUAL(lock_seen(22), F_RDLCK);
	check_path(path, "owned");
	EQUAL(lock_seen(99), F_UNLCK);
	EQUAL(lock_seen(1000), F_WRLCK);
	other = open(path, O_RDWR);
	EQUAL(fcntl(other, F_OFD_SETLK, &(struct flock){ .l_type = F_RDLCK, .l_start = 200, .l_len = 1 }), -1);
	check_path(path, "whole");
	other = open(path, O_RDWR);
	EQUAL(flock(other, LOCK_SH | LOCK_NB), -1);
	OK(flock(whole, LOCK_UN));
	OK(flock(other, LOCK_SH | LOCK_NB));
	check_path(path, "shared");
	other = open(path, O_RDWR);
	EQUAL(flock(other, LOCK_EX | LOCK_NB), -1);
	OK(flock(other, LOCK_SH | LOCK_NB));
	PASS();
}
