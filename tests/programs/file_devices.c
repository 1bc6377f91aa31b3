/* Descriptors of /dev/null, zero, full, random and urandom work as before. */
#include "check.h"

int main(int argc, char **argv)
{
	check_init(argc, argv);
	int null = open("/dev/null", O_RDWR), zero = open("/dev/zero", O_RDONLY | O_CLOEXEC), full = open("/dev/full", O_WRONLY);
	int urandom = open("/dev/urandom", O_RDONLY | O_NONBLOCK), random = open("/dev/random", O_RDONLY);
	char bytes[64] = { 1 };
	check_wait();
	DAMAGE(close(zero));
	EQUAL(write(null, bytes, 64), 64);
	EQUAL(read(null, bytes, 64), 0);
	memset(bytes, 1, sizeof bytes);
	EQUAL(read(zero, bytes, 64), 64);
	check_zero(bytes, 64);
	EQUAL(write(full, bytes, 1), -1);
	EQUAL(errno, ENOSPC);
	EQUAL(read(urandom, bytes, 64), 64);
	EQUAL(read(random, bytes, 8), 8);
	EQUAL(fcntl(zero, F_GETFD), FD_CLOEXEC);
	EQUAL(fcntl(urandom, F_GETFL) & O_NONBLOCK, O_NONBLOCK);
	void *map = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE, zero, 0);
	CHECK(map != MAP_FAILED, "mmap of /dev/zero");
	PASS();
}
