/* eventfd: counter, semaphore mode, flags; a full counter still blocks its writer. */
#include "check.h"
#include <poll.h>
#include <sys/eventfd.h>

static uint64_t take(int fd)
{
	uint64_t value = 0;
	EQUAL(read(fd, &value, 8), 8);
	return value;
}

int main(int argc, char **argv)
{
	check_init(argc, argv);
	int counter = eventfd(0x12345678, EFD_NONBLOCK), semaphore = eventfd(3, EFD_SEMAPHORE | EFD_CLOEXEC | EFD_NONBLOCK);
	int zero = eventfd(0, EFD_NONBLOCK), full = eventfd(0, EFD_NONBLOCK), copy = dup(counter);
	EQUAL(write(full, &(uint64_t){ UINT64_MAX - 1 }, 8), 8);
	check_wait();
	DAMAGE(take(semaphore));
	EQUAL(write(full, &(uint64_t){ 1 }, 8), -1);
	EQUAL(take(full), UINT64_MAX - 1);
	EQUAL(take(copy), 0x12345678);
	EQUAL(read(counter, &(uint64_t){ 0 }, 8), -1);
	EQUAL(errno, EAGAIN);
	EQUAL(read(zero, &(uint64_t){ 0 }, 8), -1);
	for (int i = 0; i < 3; i++)
		EQUAL(take(semaphore), 1);
	EQUAL(read(semaphore, &(uint64_t){ 0 }, 8), -1);
	EQUAL(fcntl(semaphore, F_GETFD), FD_CLOEXEC);
	EQUAL(poll(&(struct pollfd){ .fd = zero, .events = POLLIN | POLLOUT }, 1, 0), 1);
	PASS();
}
