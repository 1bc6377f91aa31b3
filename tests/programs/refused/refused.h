/* Programs that hold what cannot be checkpointed: BASE KIND [ARGUMENT].
 *
 * Each kind sets something up, says ready, waits to be told to go on, and looks whether what it holds still works. */
#ifndef REFUSED_H
#define REFUSED_H
#include "../check.h"
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

struct kind {
	const char *name;
	void (*hold)(const char *argument);
};

static UNUSED int refused_main(int argc, char **argv, const struct kind *kinds, size_t count)
{
	check_init(argc, argv);
	for (size_t i = 0; argc > 2 && i < count; i++) {
		if (strcmp(kinds[i].name, argv[2]) == 0) {
			kinds[i].hold(argc > 3 ? argv[3] : "");
			PASS();
		}
	}
	FAIL("there is no such kind");
}

/* Namespaces of our own, with all rights in them. */
static UNUSED void own_namespaces(int flags)
{
	char map[64];
	unsigned uid = getuid(), gid = getgid();
	if (unshare(CLONE_NEWUSER | flags) == -1)
		SKIP("no namespaces for an ordinary user here: %s", strerror(errno));
	OK(prctl(PR_SET_DUMPABLE, 1));
	int fd = open("/proc/self/uid_map", O_WRONLY | O_CLOEXEC);
	snprintf(map, sizeof map, "%u %u 1", uid, uid);
	OK(write(fd, map, strlen(map)));
	OK(close(fd));
	fd = open("/proc/self/setgroups", O_WRONLY | O_CLOEXEC);
	OK(write(fd, "deny", 4));
	OK(close(fd));
	fd = open("/proc/self/gid_map", O_WRONLY | O_CLOEXEC);
	snprintf(map, sizeof map, "%u %u 1", gid, gid);
	OK(write(fd, map, strlen(map)));
	OK(close(fd));
}

/* A descriptor that does nothing but being there. */
static UNUSED void held(int fd)
{
	check_wait();
	EQUAL(fcntl(fd, F_GETFD) == -1, 0);
}

/* A child that runs this and then waits to be killed. Returns when it has run it. */
static UNUSED pid_t child_that(void (*does)(void *), void *with)
{
	int ends[2];
	char byte;
	OK(pipe(ends));
	pid_t child = fork();
	OK(child);
	if (child == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		does(with);
		OK(write(ends[1], "x", 1));
		for (;;)
			pause();
	}
	OK(close(ends[1]));
	EQUAL(read(ends[0], &byte, 1), 1);
	OK(close(ends[0]));
	return child;
}

static UNUSED void end_child(pid_t child)
{
	EQUAL(waitpid(child, NULL, WNOHANG), 0);
	OK(kill(child, SIGKILL));
	EQUAL(waitpid(child, NULL, 0), child);
}
#endif
