/* Threads blocked in read, write, poll, select and epoll_wait without a time-out still wait, and end by the event. */
#include "check.h"
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/select.h>

enum { KINDS = 6 };
static int pipes[KINDS][2];
static _Atomic pid_t tids[KINDS];
static _Atomic int done;

static void wait_epoll(int fd)
{
	struct epoll_event event = { .events = EPOLLIN, .data.u64 = 0xabcdef123 };
	int epoll = epoll_create1(0), result;
	OK(epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event));
	event.data.u64 = 0;
	while ((result = epoll_wait(epoll, &event, 1, -1)) == -1 && errno == EINTR)
		;
	EQUAL(result, 1);
	EQUAL(event.data.u64, 0xabcdef123);
}

static void wait_kind(int kind)
{
	int fd = pipes[kind][0];
	char byte = 0;
	uint64_t value = 0;
	fd_set set;
	switch (kind) {
	case 0:
		EQUAL(read(fd, &byte, 1), 1);
		EQUAL(byte, 'x');
		return;
	case 1: /* eventfd */
		EQUAL(read(fd, &value, 8), 8);
		EQUAL(value, 7);
		return;
	case 2:
		EQUAL(poll(&(struct pollfd){ .fd = fd, .events = POLLIN }, 1, -1), 1);
		return;
	case 3:
		FD_ZERO(&set);
		FD_SET(fd, &set);
		EQUAL(select(fd + 1, &set, NULL, NULL, NULL), 1);
		EQUAL(FD_ISSET(fd, &set) != 0, 1);
		return;
	case 4:
		wait_epoll(fd);
		return;
	default: /* a full pipe */
		EQUAL(write(pipes[kind][1], "yyyy", 4), 4);
	}
}

static void *waiter(void *argument)
{
	_Atomic pid_t *tid = argument;
	*tid = gettid();
	wait_kind((int)(tid - tids));
	done++;
	return NULL;
}

static void wake(int kind)
{
	char buffer[4096];
	if (kind == 1)
		EQUAL(write(pipes[kind][1], &(uint64_t){ 7 }, 8), 8);
	else if (kind == 5)
		EQUAL(read(pipes[kind][0], buffer, sizeof buffer), 4096);
	else
		EQUAL(write(pipes[kind][1], "x", 1), 1);
}

int main(int argc, char **argv)
{
	check_init(argc, argv);
	pthread_t threads[KINDS];
	for (int i = 0; i < KINDS; i++)
		OK(pipe(pipes[i]));
	pipes[1][0] = pipes[1][1] = eventfd(0, 0);
	OK(fcntl(pipes[5][1], F_SETPIPE_SZ, 4096));
	EQUAL(write(pipes[5][1], (char[4096]){ 1 }, 4096), 4096);
	for (int i = 0; i < KINDS; i++)
		check_create_asleep(&threads[i], waiter, &tids[i]);
	check_wait();
	DAMAGE(wake(3); check_sleep(0.1));
	EQUAL(done, 0);
	for (int i = 0; i < KINDS; i++)
		check_asleep(tids[i]);
	for (int i = 0; i < KINDS; i++)
		wake(i);
	for (int i = 0; i < KINDS; i++)
		pthread_join(threads[i], NULL);
	EQUAL(done, KINDS);
	PASS();
}
