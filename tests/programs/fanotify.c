/* What fanotify watches cannot be found out by everybody. */
#include "check.h"
#include <sys/fanotify.h>

int main(int argc, char **argv)
{
	check_init(argc, argv);
	int fd = fanotify_init(FAN_REPORT_FID | FAN_NONBLOCK, O_RDONLY);
	if (fd < 0)
		SKIP("fanotify_init: %s", strerror(errno));
	check_wait();
	DAMAGE(close(fd));
	EQUAL(fcntl(fd, F_GETFD), 0);
	PASS();
}
