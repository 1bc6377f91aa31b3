/* Sub-reapers, one below the other, keep the orphans that they have adopted and adopt those that come. */
#include "family.h"

enum { INNER, OF_INNER, OF_OUTER, LATE, GO, COUNT };

/* A grandchild that becomes an orphan at once. */
static void make_orphan(_Atomic pid_t *number)
{
	pid_t child = fork();
	OK(child);
	if (child == 0) {
		pid_t maker = getpid();
		if (fork() == 0) {
			while (getppid() == maker)
				check_sleep(0.001);
			*number = getpid();
			for (;;)
				pause();
		}
		_exit(0);
	}
	EQUAL(waitpid(child, NULL, 0), child);
	wait_for_number(number);
}

int main(int argc, char **argv)
{
	check_init(argc, argv);
	_Atomic pid_t *numbers = shared_numbers();
	OK(prctl(PR_SET_CHILD_SUBREAPER, 1));
	make_orphan(&numbers[OF_OUTER]);
	pid_t inner = fork();
	OK(inner);
	if (inner == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		OK(prctl(PR_SET_CHILD_SUBREAPER, 1));
		make_orphan(&numbers[OF_INNER]);
		numbers[INNER] = getpid();
		wait_for_number(&numbers[GO]);
		make_orphan(&numbers[LATE]);
		for (;;)
			pause();
	}
	wait_for_number(&numbers[INNER]);
	EQUAL(kin_of(numbers[OF_INNER]).parent, inner);
	check_wait();
	DAMAGE(kill(inner, SIGKILL); waitpid(inner, NULL, 0));
	EQUAL(kin_of(numbers[OF_INNER]).parent, inner);
	EQUAL(kin_of(numbers[OF_OUTER]).parent, getpid());
	numbers[GO] = 1;
	wait_for_number(&numbers[LATE]);
	EQUAL(kin_of(numbers[LATE]).parent, inner);
	int adopts = 0;
	OK(prctl(PR_GET_CHILD_SUBREAPER, &adopts));
	EQUAL(adopts, 1);
	pid_t all[] = { inner, numbers[OF_INNER], numbers[LATE], numbers[OF_OUTER] };
	for (size_t i = 0; i < LENGTH(all); i++) {
		OK(kill(all[i], SIGKILL));
		EQUAL(waitpid(all[i], NULL, 0), all[i]);
	}
	PASS();
}
