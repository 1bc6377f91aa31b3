/* A descriptor of an io_uring instance that a thread has registered: which instance it is of is not shown, refused. */
#include "uring.h"

int main(int argc, char **argv)
{
	check_init(argc, argv);
	struct ring ring;
	if (ring_make(&ring, 4, 0) < 0)
		SKIP("io_uring_setup: %s", strerror(errno));
	struct io_uring_rsrc_update update = { .offset = 3, .data = (uint64_t)ring.fd };
	EQUAL(syscall(SYS_io_uring_register, ring.fd, IORING_REGISTER_RING_FDS, &update, 1), 1);
	check_wait();
	EQUAL(syscall(SYS_io_uring_enter, 3, 0, 0, IORING_ENTER_REGISTERED_RING, NULL, 0), 0);
	PASS();
}
