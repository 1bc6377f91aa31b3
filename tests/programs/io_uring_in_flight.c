/* An operation of io_uring that waits for something cannot be saved: the kernel does not show it. */
#include "uring.h"

int main(int argc, char **argv)
{
	check_init(argc, argv);
	struct ring ring;
	if (ring_make(&ring, 4, 0) < 0)
		SKIP("io_uring_setup: %s", strerror(errno));
	struct __kernel_timespec time = { .tv_sec = 100000 };
	struct io_uring_sqe *entry = ring_entry(&ring, IORING_OP_TIMEOUT, 1);
	entry->addr = (uintptr_t)&time;
	entry->len = 1;
	ring_submit(&ring, 0);
	check_wait();
	EQUAL(ring_waiting(&ring), 0);
	entry = ring_entry(&ring, IORING_OP_TIMEOUT_REMOVE, 2);
	entry->addr = 1;
	ring_submit(&ring, 2);
	EQUAL(ring_waiting(&ring), 2);
	PASS();
}
