/* An io_uring instance cannot be checkpointed: what it still has to do is not shown. */
#include "check.h"
#include <linux/io_uring.h>

int main(int argc, char **argv)
{
	check_init(argc, argv);
	struct io_uring_params params = { 0 };
	int fd = (int)syscall(SYS_io_uring_setup, 4, &params);
	if (fd < 0)
		SKIP("io_uring_setup: %s", strerror(errno));
	check_wait();
	DAMAGE(close(fd));
	EQUAL(syscall(SYS_io_uring_enter, fd, 0, 0, 0, NULL, 0), 0);
	PASS();
}
