/* For programs that consist of several processes. */
#ifndef FAMILY_H
#define FAMILY_H
#include "check.h"
#include <sys/prctl.h>
#include <sys/wait.h>

/* State letter, parent, group and session of a process, from /proc/PID/stat. */
struct kin {
	char state;
	int parent, group, session;
};

static UNUSED struct kin kin_of(pid_t pid)
{
	char path[64], text[512] = { 0 };
	struct kin kin = { 0 };
	snprintf(path, sizeof path, "/proc/%d/stat", pid);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return kin;
	CHECK(read(fd, text, sizeof text - 1) > 0, "nothing in %s", path);
	close(fd);
	char *fields = strrchr(text, ')');
	CHECK(fields && sscanf(fields, ") %c %d %d %d", &kin.state, &kin.parent, &kin.group, &kin.session) == 4,
	      "unexpected %s", text);
	return kin;
}

static UNUSED void same_kin(pid_t pid, struct kin before)
{
	struct kin now = kin_of(pid);
	EQUAL(now.parent, before.parent);
	EQUAL(now.group, before.group);
	EQUAL(now.session, before.session);
}

/* A child that sleeps until it is killed, and dies with its parent. */
static UNUSED pid_t sleeping_child(void)
{
	pid_t child = fork();
	OK(child);
	if (child == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (;;)
			pause();
	}
	return child;
}

/* Numbers that processes tell each other, in memory that they share. */
static UNUSED _Atomic pid_t *shared_numbers(void)
{
	void *memory = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	CHECK(memory != MAP_FAILED, "no shared memory");
	return memory;
}

static UNUSED pid_t wait_for_number(_Atomic pid_t *number)
{
	while (*number == 0)
		check_sleep(0.001);
	return *number;
}

static UNUSED void wait_for_parent(pid_t pid, pid_t parent)
{
	while (kin_of(pid).parent != parent)
		check_sleep(0.001);
}
#endif
