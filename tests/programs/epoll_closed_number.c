/* An epoll registration belongs to the open file description: it stays when its descriptor was closed but a dup lives. */
#include "check.h"
#include <sys/epoll.h>

int main(int argc, char **argv)
{
	check_init(argc, argv);
	int epoll = epoll_create1(0), ends[2];
	OK(pipe(ends));
	struct epoll_event event = { .events = EPOLLIN, .data.u64 = 77 };
	int number = dup(ends[0]);
	OK(epoll_ctl(epoll, EPOLL_CTL_ADD, number, &event));
	close(number);
	EQUAL(dup(ends[1]), number); /* the number now names something else */
	check_wait();
	DAMAGE(close(epoll); epoll = epoll_create1(0));
	EQUAL(epoll_wait(epoll, &event, 1, 0), 0);
	EQUAL(write(ends[1], "x", 1), 1);
	event.data.u64 = 0;
	EQUAL(epoll_wait(epoll, &event, 1, 1000), 1);
	EQUAL(event.data.u64, 77);
	PASS();
}
