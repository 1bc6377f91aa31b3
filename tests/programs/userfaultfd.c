/* A userfaultfd cannot be checkpointed. */
#include "check.h"
#include <linux/userfaultfd.h>

int main(int argc, char **argv)
{
	check_init(argc, argv);
	int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY);
	if (fd < 0)
		SKIP("userfaultfd: %s", strerror(errno));
	check_wait();
	DAMAGE(close(fd));
	EQUAL(fcntl(fd, F_GETFD), FD_CLOEXEC);
	PASS();
}
