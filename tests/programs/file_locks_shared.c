/* Locks of several processes on one file: each belongs to who took it, also through a descriptor that both have. */
#include "check.h"
#include <sys/file.h>
#include <sys/wait.h>

static void range(int fd, int command, short type, off_t start, int *error)
{
	struct flock lock = { .l_type = type, .l_start = start, .l_len = 10 };
	int outcome = fcntl(fd, command, &lock);
	if (error)
		*error = outcome ? errno : 0;
	else
		OK(outcome);
}

static pid_t owner_of(int fd, off_t byte)
{
	struct flock lock = { .l_type = F_WRLCK, .l_start = byte, .l_len = 1 };
	OK(fcntl(fd, F_GETLK, &lock));
	return lock.l_type == F_UNLCK ? 0 : lock.l_pid;
}

/* Lines of /proc/PID/fdinfo/FD that tell of a lock of this kind. */
static int shown(pid_t pid, int fd, const char *kind)
{
	char path[64], line[256];
	int count = 0;
	snprintf(path, sizeof path, "/proc/%d/fdinfo/%d", pid, fd);
	FILE *file = fopen(path, "re");
	CHECK(file, "open %s", path);
	while (fgets(line, sizeof line, file))
		count += strncmp(line, "lock:", 5) == 0 && strstr(line, kind);
	fclose(file);
	return count;
}

int main(int argc, char **argv)
{
	check_init(argc, argv);
	int start[2], fd = check_open("file", O_RDWR), whole = check_open("whole", O_RDWR);
	char path[PATH_MAX], go;
	check_path(path, "file");
	OK(pipe(start));
	range(fd, F_SETLK, F_WRLCK, 0, NULL);
	pid_t child = fork();
	if (child == 0) {
		int again;
		range(fd, F_SETLK, F_WRLCK, 100, NULL);
		OK(again = open(path, O_RDONLY));
		range(again, F_SETLK, F_RDLCK, 200, NULL);
		OK(flock(whole, LOCK_EX));
		EQUAL(write(start[1], "x", 1), 1);
		while (!check_go())
			check_sleep(0.01);
		EQUAL(owner_of(fd, 5), getppid());
		/* Closing any descriptor of it ends all locks of this process there. */
		close(again);
		EQUAL(write(start[1], "x", 1), 1);
		for (;;)
			pause();
	}
	/* Else a read would wait for a child that has failed. */
	close(start[1]);
	EQUAL(read(start[0], &go, 1), 1);
	check_wait();
	DAMAGE(range(fd, F_SETLK, F_UNLCK, 0, NULL));
	EQUAL(read(start[0], &go, 1), 1);
	EQUAL(owner_of(fd, 105), 0);
	EQUAL(owner_of(fd, 205), 0);
	EQUAL(shown(child, whole, "FLOCK"), 1);
	EQUAL(shown(getpid(), fd, "POSIX"), 1);
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
	int error, other;
	check_path(path, "whole");
	OK(other = open(path, O_RDWR));
	EQUAL(flock(other, LOCK_EX | LOCK_NB), -1);
	OK(flock(whole, LOCK_UN));
	OK(flock(other, LOCK_EX | LOCK_NB));
	range(fd, F_SETLK, F_WRLCK, 100, &error);
	EQUAL(error, 0);
	PASS();
}
