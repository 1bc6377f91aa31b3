/* Large shared memory without a descriptor, mostly holes: what was written is there, and the holes are still holes. */
#include "check.h"

enum { PAGE = 4096 };
#define SIZE (1l << 30)

static char *shared_file(void)
{
	char name[64];
	snprintf(name, sizeof name, "/check-sparse-%d", getpid());
	int fd = shm_open(name, O_RDWR | O_CREAT | O_EXCL, 0600);
	if (fd < 0)
		return NULL;
	shm_unlink(name);
	OK(ftruncate(fd, SIZE));
	char *memory = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	CHECK(memory != MAP_FAILED, "mmap");
	close(fd);
	return memory;
}

static void used(char *memory, const char *what)
{
	static unsigned char told[SIZE / PAGE];
	long count = 0;
	OK(mincore(memory, SIZE, told));
	for (long i = 0; i < SIZE / PAGE; i++)
		count += told[i] & 1;
	/* A few were read to find the end of the file. */
	CHECK(count < 100, "%ld pages of the %s are in use", count, what);
}

int main(int argc, char **argv)
{
	check_init(argc, argv);
	char *anonymous = check_map(SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE), *file = shared_file();
	long places[] = { 0, 5000l * PAGE, SIZE / 2, SIZE - PAGE };
	for (size_t i = 0; i < LENGTH(places); i++) {
		check_fill(anonymous + places[i], PAGE, i);
		if (file)
			check_fill(file + places[i], PAGE, 10 + i);
	}
	check_wait();
	DAMAGE(anonymous[SIZE / 2] ^= 1);
	used(anonymous, "anonymous memory");
	if (file)
		used(file, "file");
	for (size_t i = 0; i < LENGTH(places); i++) {
		check_filled(anonymous + places[i], PAGE, i);
		if (file)
			check_filled(file + places[i], PAGE, 10 + i);
	}
	check_zero(anonymous + PAGE, PAGE);
	PASS();
}
