/* What prctl did not set stays unset: a restart leaves nothing of its own behind. */
#include "check.h"
#include <sys/prctl.h>

struct state {
	int no_new_privs, death_signal, reaper, huge_pages, dumpable, keep, securebits, slack, policy;
};

static void read_state(struct state *state)
{
	memset(state, 0, sizeof *state);
	state->no_new_privs = prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0);
	OK(prctl(PR_GET_PDEATHSIG, &state->death_signal));
	OK(prctl(PR_GET_CHILD_SUBREAPER, &state->reaper));
	state->huge_pages = prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0);
	state->dumpable = prctl(PR_GET_DUMPABLE);
	state->keep = prctl(PR_GET_KEEPCAPS);
	state->securebits = prctl(PR_GET_SECUREBITS);
	state->slack = prctl(PR_GET_TIMERSLACK);
	state->policy = sched_getscheduler(0);
}

int main(int argc, char **argv)
{
	check_init(argc, argv);
	struct state before, now;
	read_state(&before);
	bool open_before[256];
	for (int fd = 0; fd < 256; fd++)
		open_before[fd] = fcntl(fd, F_GETFD) != -1;
	check_wait();
	DAMAGE(prctl(PR_SET_TIMERSLACK, 777));
	read_state(&now);
	const int *was = (int *)&before, *is = (int *)&now;
	for (size_t i = 0; i < sizeof now / sizeof(int); i++)
		CHECK(was[i] == is[i], "setting %zu is %d, was %d", i, is[i], was[i]);
	/* Nobody traces the process and no descriptor is left over. */
	FILE *status = fopen("/proc/self/status", "re");
	char line[256];
	int tracer = -1, filters = -1;
	while (fgets(line, sizeof line, status)) {
		sscanf(line, "TracerPid: %d", &tracer);
		sscanf(line, "Seccomp: %d", &filters);
	}
	fclose(status);
	EQUAL(tracer, 0);
	EQUAL(filters, 0);
	for (int fd = 0; fd < 256; fd++)
		CHECK((fcntl(fd, F_GETFD) != -1) == open_before[fd], "descriptor %d was%s open", fd, open_before[fd] ? "" : " not");
	PASS();
}
