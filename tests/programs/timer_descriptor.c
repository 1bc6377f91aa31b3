/* timerfd: armed ones go on with remaining time and interval, unread expirations stay, others stay disarmed. */
#include "check.h"
#include <poll.h>
#include <sys/timerfd.h>

static void arm(int fd, int flags, double value, double interval)
{
	struct itimerspec time = { { (time_t)interval, (long)((interval - (time_t)interval) * 1e9) },
				   { (time_t)value, (long)((value - (time_t)value) * 1e9) } };
	OK(timerfd_settime(fd, flags, &time, NULL));
}

static void check_left(int fd, double value, double interval)
{
	struct itimerspec now;
	OK(timerfd_gettime(fd, &now));
	double left = (double)now.it_value.tv_sec + (double)now.it_value.tv_nsec / 1e9;
	CHECK(left <= value && left > value - 60, "%.3f s of %.3f are left", left, value);
	EQUAL(now.it_interval.tv_sec, (long)interval);
}

int main(int argc, char **argv)
{
	check_init(argc, argv);
	int relative = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK), absolute = timerfd_create(CLOCK_BOOTTIME, 0);
	int real = timerfd_create(CLOCK_REALTIME, TFD_CLOEXEC), expired = timerfd_create(CLOCK_MONOTONIC, 0);
	int disarmed = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK), ticking = timerfd_create(CLOCK_MONOTONIC, 0);
	arm(relative, 0, 500, 20);
	arm(absolute, TFD_TIMER_ABSTIME, check_clock(CLOCK_BOOTTIME) + 700, 0);
	arm(real, TFD_TIMER_ABSTIME, check_clock(CLOCK_REALTIME) + 900, 30);
	arm(expired, 0, 0.001, 0);
	arm(ticking, 0, 0.01, 0.01);
	check_sleep(0.1);
	check_wait();
	DAMAGE(arm(disarmed, 0, 1, 0));
	check_left(relative, 500, 20);
	check_left(absolute, 700, 0);
	check_left(real, 900, 30);
	struct itimerspec now;
	OK(timerfd_gettime(disarmed, &now));
	EQUAL(now.it_value.tv_sec + now.it_value.tv_nsec, 0);
	EQUAL(fcntl(relative, F_GETFL) & O_NONBLOCK, O_NONBLOCK);
	EQUAL(fcntl(real, F_GETFD), FD_CLOEXEC);
	uint64_t ticks = 0;
	EQUAL(poll(&(struct pollfd){ .fd = expired, .events = POLLIN }, 1, 0), 1);
	EQUAL(read(expired, &ticks, 8), 8);
	EQUAL(ticks, 1);
	EQUAL(poll(&(struct pollfd){ .fd = expired, .events = POLLIN }, 1, 100), 0);
	EQUAL(read(ticking, &ticks, 8), 8);
	CHECK(ticks >= 9, "%" PRIu64 " expirations in 0.1 s and more", ticks);
	EQUAL(read(ticking, &ticks, 8), 8);
	CHECK(ticks >= 1 && ticks < 100, "%" PRIu64 " expirations at once", ticks);
	EQUAL(read(relative, &ticks, 8), -1);
	PASS();
}
