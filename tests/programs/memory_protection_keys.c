/* Memory with a protection key keeps it, and the thread its rights to the key. */
#include "check.h"

int main(int argc, char **argv)
{
	check_init(argc, argv);
	int key = pkey_alloc(0, 0);
	if (key == -1)
		SKIP("the processor or the kernel has no protection keys: %s", strerror(errno));
	char *memory = check_map(8192, PROT_READ | PROT_WRITE, MAP_PRIVATE);
	check_fill(memory, 4096, 1);
	OK(pkey_mprotect(memory, 8192, PROT_READ | PROT_WRITE, key));
	OK(pkey_set(key, PKEY_DISABLE_WRITE));
	check_wait();
	EQUAL(pkey_get(key), PKEY_DISABLE_WRITE);
	check_filled(memory, 4096, 1);
	int fd = open("/dev/zero", O_RDONLY);
	EQUAL(read(fd, memory, 1), -1);
	EQUAL(errno, EFAULT);
	OK(pkey_set(key, 0));
	EQUAL(read(fd, memory, 1), 1);
	PASS();
}
