/* A timer of the real-time clock that is to be cancelled when the clock is set (TFD_TIMER_CANCEL_ON_SET) still is. */
#include "check.h"
#include <sys/timerfd.h>

static long flags_of(int fd)
{
	char path[64], line[256];
	snprintf(path, sizeof path, "/proc/self/fdinfo/%d", fd);
	FILE *file = fopen(path, "r");
	CHECK(file, "open %s", path);
	long flags = -1;
	while (fgets(line, sizeof line, file))
		if (sscanf(line, "settime flags: %lo", &flags) == 1)
			break;
	fclose(file);
	return flags;
}

int main(int argc, char **argv)
{
	check_init(argc, argv);
	int fd = timerfd_create(CLOCK_REALTIME, TFD_NONBLOCK);
	CHECK(fd >= 0, "timerfd_create");
	struct itimerspec at = { .it_value = { .tv_sec = time(NULL) + 5000 } }, now;
	OK(timerfd_settime(fd, TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET, &at, NULL));
	long flags = flags_of(fd);
	CHECK(flags > 0, "flags %lo", flags);
	check_wait();
	DAMAGE(timerfd_settime(fd, TFD_TIMER_ABSTIME, &at, NULL));
	EQUAL(flags_of(fd), flags);
	OK(timerfd_gettime(fd, &now));
	CHECK(now.it_value.tv_sec > 4000 && now.it_value.tv_sec <= 5000, "%ld s left", (long)now.it_value.tv_sec);
	PASS();
}
