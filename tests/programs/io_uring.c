/* io_uring instances go on, with completions that were not collected and entries that were not submitted yet, in several
 * sorts, with registered files and buffers, and watched by epoll. */
#include "uring.h"
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/wait.h>

static char buffer[8192] __attribute__((aligned(4096)));

/* Each of these leaves three completions and one entry behind. */
static void use(struct ring *ring, unsigned rounds)
{
	for (unsigned i = 0; i < rounds; i++) {
		ring_entry(ring, IORING_OP_NOP, i);
		if (i % 3 == 0)
			ring_entry(ring, IORING_OP_NOP, i + 1000);
		ring_submit(ring, 1);
		ring_expect(ring, i, 0);
		if (i % 3 == 0)
			ring_expect(ring, i + 1000, 0);
	}
	for (uint64_t i = 0; i < 3; i++)
		ring_entry(ring, IORING_OP_NOP, 70 + i);
	ring_submit(ring, 3);
	if (!(ring->params.flags & IORING_SETUP_SQPOLL))
		ring_entry(ring, IORING_OP_NOP, 73);
}

static void go_on(struct ring *ring, unsigned rounds)
{
	EQUAL(ring_waiting(ring), 3);
	for (uint64_t i = 0; i < 3; i++)
		ring_expect(ring, 70 + i, 0);
	if (!(ring->params.flags & IORING_SETUP_SQPOLL)) {
		ring_submit(ring, 1);
		ring_expect(ring, 73, 0);
	}
	use(ring, rounds);
	for (uint64_t i = 0; i < 3; i++)
		ring_expect(ring, 70 + i, 0);
}

static void files_and_buffers(struct ring *ring, int round)
{
	struct io_uring_sqe *entry = ring_entry(ring, IORING_OP_WRITE_FIXED, 1);
	entry->flags = IOSQE_FIXED_FILE;
	entry->fd = 2;
	entry->addr = (uintptr_t)buffer + 100;
	entry->len = 50;
	entry->buf_index = 1;
	memset(buffer, 'a' + round, sizeof buffer);
	ring_submit(ring, 1);
	ring_expect(ring, 1, 50);
	entry = ring_entry(ring, IORING_OP_READ, 2);
	entry->flags = IOSQE_FIXED_FILE;
	entry->fd = 0;
	char bytes[60] = { 0 };
	entry->addr = (uintptr_t)bytes;
	entry->len = sizeof bytes;
	ring_submit(ring, 1);
	ring_expect(ring, 2, 50);
	EQUAL(bytes[49], 'a' + round);
	EQUAL(bytes[50], 0);
}

int main(int argc, char **argv)
{
	static const unsigned sorts[] = { 0, IORING_SETUP_SINGLE_ISSUER, IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN,
					  IORING_SETUP_SQPOLL, IORING_SETUP_NO_SQARRAY,
					  IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG, IORING_SETUP_IOPOLL };
	struct ring rings[LENGTH(sorts)], fresh, large, registered;
	check_init(argc, argv);
	if (ring_make(&fresh, 4, 0) < 0)
		SKIP("io_uring_setup: %s", strerror(errno));
	for (size_t i = 0; i < LENGTH(sorts); i++) {
		OK(ring_make(&rings[i], 8, sorts[i]));
		use(&rings[i], 20);
	}
	OK(ring_make(&large, 1000, 0));
	use(&large, 3000);
	int pair[2], epoll = epoll_create1(0), copy = dup(large.fd);
	OK(epoll_ctl(epoll, EPOLL_CTL_ADD, large.fd, &(struct epoll_event){ .events = EPOLLIN }));
	int ask[2];
	OK(pipe(ask));
	pid_t child = fork();
	OK(child);
	if (child == 0) {
		char byte;
		EQUAL(read(ask[0], &byte, 1), 1);
		go_on(&large, 100);
		_exit(0);
	}
	/* Not shared with the child. */
	OK(ring_make(&registered, 8, 0));
	OK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
	int files[] = { pair[0], -1, pair[1] };
	OK((int)syscall(SYS_io_uring_register, registered.fd, IORING_REGISTER_FILES, files, LENGTH(files)));
	struct iovec buffers[] = { { NULL, 0 }, { buffer, 5000 }, { buffer + 5000, 3192 } };
	OK((int)syscall(SYS_io_uring_register, registered.fd, IORING_REGISTER_BUFFERS, buffers, LENGTH(buffers)));
	files_and_buffers(&registered, 0);
	check_wait();
	DAMAGE(ring_take(&rings[1]));
	struct epoll_event event;
	EQUAL(epoll_wait(epoll, &event, 1, 0), 1);
	for (size_t i = 0; i < LENGTH(sorts); i++)
		go_on(&rings[i], 50);
	OK(fcntl(copy, F_GETFD));
	files_and_buffers(&registered, 1);
	EQUAL(ring_waiting(&fresh), 0);
	ring_entry(&fresh, IORING_OP_NOP, 5);
	ring_submit(&fresh, 1);
	ring_expect(&fresh, 5, 0);
	EQUAL(write(ask[1], "x", 1), 1);
	int status;
	EQUAL(waitpid(child, &status, 0), child);
	EQUAL(status, 0);
	PASS();
}
