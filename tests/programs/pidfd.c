/* pidfd: of a child, of oneself, and of children that have ended and were waited for, with how they ended. */
#include "check.h"
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/wait.h>

static int open_pidfd(pid_t pid, unsigned flags)
{
	int fd = (int)syscall(SYS_pidfd_open, pid, flags);
	CHECK(fd >= 0, "pidfd_open");
	return fd;
}

static int ready(int fd)
{
	return poll(&(struct pollfd){ .fd = fd, .events = POLLIN }, 1, 0);
}

static pid_t shown(int fd)
{
	char path[64], line[128];
	snprintf(path, sizeof path, "/proc/self/fdinfo/%d", fd);
	FILE *file = fopen(path, "re");
	CHECK(file, "open %s", path);
	int pid = 0;
	while (fgets(line, sizeof line, file))
		sscanf(line, "Pid: %d", &pid);
	fclose(file);
	return pid;
}

static ino_t inode(int fd)
{
	struct stat state;
	OK(fstat(fd, &state));
	return state.st_ino;
}

struct info {
	uint64_t mask, cgroup;
	uint32_t ids[11];
	int32_t exit_code;
};

/* Of a process that has ended; -1 where the kernel does not tell. */
static int end_of(int fd)
{
	struct info info = { .mask = 1 << 3 };
	return ioctl(fd, _IOWR(0xff, 11, struct info), &info) == 0 && info.mask & 1 << 3 ? info.exit_code : -1;
}

int main(int argc, char **argv)
{
	check_init(argc, argv);
	pid_t child = fork(), ended = child ? fork() : 0, killed = child && ended ? fork() : 0;
	if (child && ended == 0)
		_exit(7);
	if (!child || !killed)
		for (;;)
			pause();
	int own = open_pidfd(getpid(), 0), of_child = open_pidfd(child, O_NONBLOCK), dead[3];
	dead[0] = open_pidfd(ended, 0);
	dead[1] = open_pidfd(ended, 0);
	dead[2] = open_pidfd(killed, O_EXCL); /* PIDFD_THREAD */
	kill(killed, SIGTERM);
	EQUAL(waitpid(ended, NULL, 0), ended);
	EQUAL(waitpid(killed, NULL, 0), killed);
	bool told = end_of(dead[0]) != -1, inodes = inode(own) != inode(of_child);
	check_wait();
	DAMAGE(kill(child, SIGKILL); waitpid(child, NULL, 0));
	EQUAL(shown(own), getpid());
	EQUAL(shown(of_child), child);
	EQUAL(fcntl(of_child, F_GETFL) & O_NONBLOCK, O_NONBLOCK);
	EQUAL(fcntl(own, F_GETFD), FD_CLOEXEC);
	EQUAL(fcntl(dead[2], F_GETFL) & O_EXCL, O_EXCL);
	for (int i = 0; i < 3; i++) {
		EQUAL(shown(dead[i]), -1);
		EQUAL(ready(dead[i]), 1);
		EQUAL(syscall(SYS_pidfd_send_signal, dead[i], 0, NULL, 0), -1);
		EQUAL(errno, ESRCH);
	}
	if (told) {
		EQUAL(end_of(dead[1]), 7 << 8);
		EQUAL(end_of(dead[2]), SIGTERM);
	}
	if (inodes) {
		EQUAL(inode(dead[0]), inode(dead[1]));
		CHECK(inode(dead[0]) != inode(dead[2]), "two ended processes became one");
	}
	EQUAL(ready(of_child), 0);
	OK((int)syscall(SYS_pidfd_send_signal, of_child, SIGKILL, NULL, 0));
	EQUAL(poll(&(struct pollfd){ .fd = of_child, .events = POLLIN }, 1, 10000), 1);
	siginfo_t info;
	/* Ready, it may be held for a moment by whoever traces it; a descriptor that does not block tells that. */
	while (waitid(P_PIDFD, of_child, &info, WEXITED) == -1) {
		EQUAL(errno, EAGAIN);
		check_sleep(0.001);
	}
	EQUAL(info.si_pid, child);
	PASS();
}
