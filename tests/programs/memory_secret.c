/* Secret memory (memfd_secret) cannot be checkpointed: nobody else may read it. */
#include "check.h"

int main(int argc, char **argv)
{
	check_init(argc, argv);
	int fd = (int)syscall(SYS_memfd_secret, 0);
	if (fd < 0)
		SKIP("memfd_secret: %s", strerror(errno));
	OK(ftruncate(fd, 4096));
	char *secret = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (secret == MAP_FAILED)
		SKIP("mmap: %s", strerror(errno));
	secret[5] = 7;
	close(fd);
	check_wait();
	DAMAGE(secret[5] = 8);
	EQUAL(secret[5], 7);
	PASS();
}
