/* inotify: events that were not read before a restart become the message that events were dropped. */
#include "check.h"
#include <sys/inotify.h>

int main(int argc, char **argv)
{
	check_init(argc, argv);
	char path[PATH_MAX], buffer[4096] __attribute__((aligned(8)));
	struct inotify_event *event = (void *)buffer;
	int fd = check_open("file", O_RDWR), instance = inotify_init1(IN_NONBLOCK);
	check_path(path, "file");
	int wd = inotify_add_watch(instance, path, IN_MODIFY);
	EQUAL(wd, 1);
	EQUAL(write(fd, "x", 1), 1);
	check_wait();
	DAMAGE(EQUAL(read(instance, buffer, sizeof buffer), (int)sizeof *event));
	EQUAL(read(instance, buffer, sizeof buffer), (int)sizeof *event);
	CHECK((event->wd == -1 && event->mask == IN_Q_OVERFLOW) || (event->wd == wd && event->mask == IN_MODIFY),
	      "watch %d, mask %#x", event->wd, event->mask);
	EQUAL(read(instance, buffer, sizeof buffer), -1);
	EQUAL(write(fd, "x", 1), 1);
	EQUAL(read(instance, buffer, sizeof buffer), (int)sizeof *event);
	EQUAL(event->wd, wd);
	PASS();
}
