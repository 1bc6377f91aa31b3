/* Buffers that an io_uring instance has been given to choose from are not shown: refused. */
#include "uring.h"

int main(int argc, char **argv)
{
	check_init(argc, argv);
	struct ring ring;
	if (ring_make(&ring, 4, 0) < 0)
		SKIP("io_uring_setup: %s", strerror(errno));
	static struct io_uring_buf buffers[256] __attribute__((aligned(4096)));
	struct io_uring_buf_reg group = { .ring_addr = (uintptr_t)buffers, .ring_entries = LENGTH(buffers), .bgid = 7 };
	OK((int)syscall(SYS_io_uring_register, ring.fd, IORING_REGISTER_PBUF_RING, &group, 1));
	check_wait();
	OK((int)syscall(SYS_io_uring_register, ring.fd, IORING_UNREGISTER_PBUF_RING, &group, 1));
	PASS();
}
