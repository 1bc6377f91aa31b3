/* An eventfd that is registered with an io_uring instance is not shown: refused. */
#include "uring.h"
#include <sys/eventfd.h>

int main(int argc, char **argv)
{
	check_init(argc, argv);
	struct ring ring;
	if (ring_make(&ring, 4, IORING_SETUP_SINGLE_ISSUER) < 0)
		SKIP("io_uring_setup: %s", strerror(errno));
	int event = eventfd(0, 0);
	OK(event);
	OK((int)syscall(SYS_io_uring_register, ring.fd, IORING_REGISTER_EVENTFD, &event, 1));
	check_wait();
	ring_entry(&ring, IORING_OP_NOP, 1);
	ring_submit(&ring, 1);
	uint64_t count;
	EQUAL(read(event, &count, sizeof count), sizeof count);
	EQUAL(count, 1);
	PASS();
}
