/* poll, ppoll, select, pselect and epoll_wait with a time-out end by it, and at the right time.
 *
 * Stopping a process may end epoll_wait with EINTR even without a checkpoint (signal(7)), so the program calls it
 * again with the time that is left.
 */
#include "timed_wait.h"
#include <poll.h>
#include <sys/epoll.h>
#include <sys/select.h>

static int quiet[2];

static void by_poll(void)
{
	struct pollfd fd = { .fd = quiet[0], .events = POLLIN };
	EQUAL(poll(&fd, 1, WAIT_MS), 0);
}

static void by_poll_nothing(void)
{
	EQUAL(poll(NULL, 0, WAIT_MS), 0);
}

static void by_ppoll(void)
{
	struct pollfd fd = { .fd = quiet[0], .events = POLLIN };
	struct timespec span = timed_wait_span();
	EQUAL(ppoll(&fd, 1, &span, NULL), 0);
}

static void by_select(void)
{
	fd_set set;
	FD_ZERO(&set);
	FD_SET(quiet[0], &set);
	struct timeval span = { WAIT_MS / 1000, WAIT_MS % 1000 * 1000 };
	EQUAL(select(quiet[0] + 1, &set, NULL, NULL, &span), 0);
}

static void by_pselect(void)
{
	fd_set set;
	FD_ZERO(&set);
	FD_SET(quiet[0], &set);
	struct timespec span = timed_wait_span();
	EQUAL(pselect(quiet[0] + 1, &set, NULL, NULL, &span, NULL), 0);
}

static void by_epoll(void)
{
	struct epoll_event event = { .events = EPOLLIN };
	int epoll = epoll_create1(0), result;
	OK(epoll_ctl(epoll, EPOLL_CTL_ADD, quiet[0], &event));
	double end = check_clock(CLOCK_MONOTONIC) + WAIT_MS / 1000.0, left = WAIT_MS / 1000.0;
	while ((result = epoll_wait(epoll, &event, 1, (int)(left * 1000) + 1)) == -1 && errno == EINTR)
		left = end - check_clock(CLOCK_MONOTONIC);
	EQUAL(result, 0);
}

int main(int argc, char **argv)
{
	check_init(argc, argv);
	OK(pipe(quiet));
	struct timed_wait waits[] = {
		{ .name = "poll", .wait = by_poll },	   { .name = "poll without descriptors", .wait = by_poll_nothing },
		{ .name = "ppoll", .wait = by_ppoll },	   { .name = "select", .wait = by_select },
		{ .name = "pselect", .wait = by_pselect }, { .name = "epoll_wait", .wait = by_epoll },
	};
	timed_wait_all(waits, LENGTH(waits));
	PASS();
}
