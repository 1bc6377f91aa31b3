/* Process, parent, thread, user and group numbers, supplementary groups and capabilities are as before. */
#include "check.h"
#include <grp.h>
#include <linux/capability.h>

struct state {
	pid_t pid, parent, tid;
	uid_t user[3];
	gid_t group[3];
	int groups;
	gid_t list[64];
};

static void read_state(struct state *state)
{
	memset(state, 0, sizeof *state);
	state->pid = (pid_t)syscall(SYS_getpid);
	state->parent = getppid();
	state->tid = (pid_t)syscall(SYS_gettid);
	getresuid(&state->user[0], &state->user[1], &state->user[2]);
	getresgid(&state->group[0], &state->group[1], &state->group[2]);
	state->groups = getgroups(64, state->list);
}

static uint32_t capabilities(void)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2];
	OK(syscall(SYS_capget, &header, data));
	return data[0].effective | data[0].permitted | data[1].effective | data[1].permitted;
}

int main(int argc, char **argv)
{
	check_init(argc, argv);
	struct state before, now;
	read_state(&before);
	bool none = capabilities() == 0;
	check_wait();
	DAMAGE(before.pid++);
	read_state(&now);
	EQUAL(now.pid, before.pid);
	EQUAL(now.parent, before.parent);
	EQUAL(now.tid, before.tid);
	EQUAL(getpid(), before.pid);
	for (int i = 0; i < 3; i++) {
		EQUAL(now.user[i], before.user[i]);
		EQUAL(now.group[i], before.group[i]);
	}
	EQUAL(now.groups, before.groups);
	CHECK(memcmp(now.list, before.list, sizeof now.list) == 0, "supplementary groups differ");
	CHECK(!none || capabilities() == 0, "the process gained capabilities");
	OK(kill(before.pid, 0));
	OK(tgkill(before.pid, before.tid, 0));
	char link[64] = { 0 };
	OK(readlink("/proc/self", link, sizeof link - 1));
	EQUAL(atoi(link), before.pid);
	PASS();
}
