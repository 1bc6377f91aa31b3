/* epoll: an instance of two processes, a watched file that only one of them still has, and one number that was
 * registered, closed and registered again. */
#include "check.h"
#include <sys/epoll.h>
#include <sys/wait.h>

static void add(int epoll, int fd, uint64_t data)
{
	struct epoll_event event = { .events = EPOLLIN, .data.u64 = data };
	OK(epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event));
}

static void expect(int epoll, uint64_t data)
{
	struct epoll_event event;
	EQUAL(epoll_wait(epoll, &event, 1, 5000), 1);
	EQUAL(event.data.u64, data);
}

int main(int argc, char **argv)
{
	check_init(argc, argv);
	int epoll = epoll_create1(0), pipes[3][2], number = 50;
	for (int i = 0; i < 3; i++) {
		OK(pipe(pipes[i]));
		OK(dup2(pipes[i][0], number));
		add(epoll, number, (uint64_t)i + 1);
		OK(close(number));
	}
	pid_t child = fork();
	if (child == 0)
		for (;;)
			pause();
	OK(close(pipes[2][0])); /* only the child has it now */
	check_wait();
	DAMAGE(close(epoll); epoll = epoll_create1(0));
	for (int i = 0; i < 3; i++) {
		struct epoll_event event;
		EQUAL(epoll_wait(epoll, &event, 1, 0), 0);
		EQUAL(write(pipes[i][1], "x", 1), 1);
		expect(epoll, (uint64_t)i + 1);
		char byte;
		if (i < 2)
			EQUAL(read(pipes[i][0], &byte, 1), 1);
	}
	kill(child, SIGKILL);
	EQUAL(waitpid(child, NULL, 0), child);
	PASS();
}
