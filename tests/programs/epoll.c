/* epoll: every registration with events and data, edge-triggered and one-shot ones, one epoll within another. */
#include "check.h"
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>

static void add(int epoll, int fd, uint32_t events, uint64_t data)
{
	struct epoll_event event = { .events = events, .data.u64 = data };
	OK(epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event));
}

static void expect(int epoll, uint64_t data)
{
	struct epoll_event events[8];
	int count = epoll_wait(epoll, events, 8, 200);
	if (data == 0) {
		EQUAL(count, 0);
		return;
	}
	EQUAL(count, 1);
	EQUAL(events[0].data.u64, data);
}

int main(int argc, char **argv)
{
	check_init(argc, argv);
	int epoll = epoll_create1(EPOLL_CLOEXEC), outer = epoll_create1(0), pipes[3][2];
	int event = eventfd(0, 0), timer = timerfd_create(CLOCK_MONOTONIC, 0);
	for (int i = 0; i < 3; i++)
		OK(pipe(pipes[i]));
	add(epoll, event, EPOLLIN, 0x1111111111);
	add(epoll, timer, EPOLLIN, 0x2222222222);
	add(epoll, pipes[0][0], EPOLLIN | EPOLLET, 0x3333333333);
	add(epoll, pipes[1][0], EPOLLIN | EPOLLONESHOT, 0x4444444444);
	int copy = dup(pipes[2][0]);
	add(epoll, copy, EPOLLIN, 0x5555555555);
	add(outer, epoll, EPOLLIN, 0x6666666666);
	EQUAL(write(pipes[1][1], "x", 1), 1);
	expect(epoll, 0x4444444444); /* spent */
	check_wait();
	DAMAGE(epoll_ctl(epoll, EPOLL_CTL_DEL, event, NULL));
	expect(epoll, 0);
	EQUAL(write(event, &(uint64_t){ 1 }, 8), 8);
	expect(epoll, 0x1111111111);
	expect(outer, 0x6666666666);
	EQUAL(read(event, &(uint64_t){ 0 }, 8), 8);
	OK(timerfd_settime(timer, 0, &(struct itimerspec){ { 0, 0 }, { 0, 1000000 } }, NULL));
	expect(epoll, 0x2222222222);
	EQUAL(read(timer, &(uint64_t){ 0 }, 8), 8);
	EQUAL(write(pipes[0][1], "x", 1), 1);
	expect(epoll, 0x3333333333);
	expect(epoll, 0); /* edge-triggered */
	struct epoll_event again = { .events = EPOLLIN, .data.u64 = 0x7777777777 };
	OK(epoll_ctl(epoll, EPOLL_CTL_MOD, pipes[1][0], &again));
	expect(epoll, 0x7777777777);
	char byte;
	EQUAL(read(pipes[1][0], &byte, 1), 1);
	EQUAL(write(pipes[2][1], "x", 1), 1);
	expect(epoll, 0x5555555555);
	EQUAL(read(pipes[2][0], &byte, 1), 1);
	EQUAL(fcntl(epoll, F_GETFD), FD_CLOEXEC);
	PASS();
}
