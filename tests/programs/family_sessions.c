/* Sessions and groups: of a living leader, of one that has ended, of one that the parent has left. */
#include "family.h"

enum { LEADER, MEMBER, DAEMON, LEFT, BEHIND, JOB, COUNT };

/* A daemon: its session leader has ended. */
static void make_daemon(_Atomic pid_t *numbers)
{
	pid_t leader = fork();
	OK(leader);
	if (leader == 0) {
		OK(setsid());
		if (fork() == 0) {
			wait_for_parent(getpid(), numbers[COUNT]);
			numbers[DAEMON] = getpid();
			for (;;)
				pause();
		}
		_exit(0);
	}
	EQUAL(waitpid(leader, NULL, 0), leader);
}

/* A leader with a member, and a member of the session that the leader has left. */
static pid_t make_leader(_Atomic pid_t *numbers)
{
	pid_t leader = fork();
	OK(leader);
	if (leader == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		numbers[BEHIND] = sleeping_child();
		OK(setsid());
		numbers[MEMBER] = sleeping_child();
		numbers[LEADER] = getpid();
		for (;;)
			pause();
	}
	wait_for_number(&numbers[LEADER]);
	return leader;
}

/* A member of a group whose leader has ended and was collected. */
static void make_job(_Atomic pid_t *numbers)
{
	pid_t leader = fork();
	OK(leader);
	if (leader == 0) {
		OK(setpgid(0, 0));
		for (;;)
			pause();
	}
	OK(setpgid(leader, leader));
	pid_t member = sleeping_child();
	OK(setpgid(member, leader));
	OK(kill(leader, SIGKILL));
	EQUAL(waitpid(leader, NULL, 0), leader);
	numbers[JOB] = member;
}

int main(int argc, char **argv)
{
	check_init(argc, argv);
	/* So that the daemon is ours, whoever adopts orphans outside. */
	OK(prctl(PR_SET_CHILD_SUBREAPER, 1));
	_Atomic pid_t *numbers = shared_numbers();
	numbers[COUNT] = getpid();
	make_daemon(numbers);
	make_leader(numbers);
	make_job(numbers);
	wait_for_number(&numbers[DAEMON]);
	numbers[LEFT] = getpid();
	struct kin before[COUNT];
	for (int i = 0; i < COUNT; i++)
		before[i] = kin_of(numbers[i]);
	EQUAL(before[LEADER].session, numbers[LEADER]);
	CHECK(before[BEHIND].session != numbers[LEADER], "it is in the new session");
	int outer = before[LEFT].session;
	check_wait();
	DAMAGE(setpgid(numbers[JOB], numbers[JOB]));
	/* The launcher's session and group may be others now. */
	struct kin own = kin_of(getpid());
	for (int i = 0; i < COUNT; i++) {
		before[i].parent = i == LEFT ? own.parent : before[i].parent;
		if (before[i].session == outer) {
			before[i].session = own.session;
			if (i != JOB)
				before[i].group = own.group;
		}
		same_kin(numbers[i], before[i]);
	}
	for (int i = 0; i < COUNT; i++)
		if (i != LEFT && i != MEMBER && i != BEHIND) {
			OK(kill(numbers[i], SIGKILL));
			EQUAL(waitpid(numbers[i], NULL, 0), numbers[i]);
		}
	PASS();
}
