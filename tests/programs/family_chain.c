/* A chain of processes keeps numbers, parents and memory, and every parent can wait for its child. */
#include "family.h"

#define DEPTH 8

static volatile int generation;

static void live(int depth, _Atomic pid_t *numbers)
{
	numbers[depth] = getpid();
	int *heap = malloc(100000);
	heap[1000] = depth;
	generation = depth;
	pid_t child = 0;
	if (depth + 1 < DEPTH) {
		child = fork();
		OK(child);
		if (child == 0) {
			live(depth + 1, numbers);
			_exit(0);
		}
	}
	if (depth == 0) {
		wait_for_number(&numbers[DEPTH - 1]);
		check_wait();
		DAMAGE(numbers[0]++);
		numbers[DEPTH] = 1;
	}
	wait_for_number(&numbers[DEPTH]);
	EQUAL(generation, depth);
	EQUAL(heap[1000], depth);
	EQUAL(getpid(), numbers[depth]);
	if (depth > 0)
		EQUAL(getppid(), numbers[depth - 1]);
	if (child) {
		int status;
		EQUAL(waitpid(child, &status, 0), child);
		EQUAL(status, 0);
	}
	EQUAL(waitpid(-1, NULL, WNOHANG | __WALL), -1);
}

int main(int argc, char **argv)
{
	check_init(argc, argv);
	live(0, shared_numbers());
	PASS();
}
