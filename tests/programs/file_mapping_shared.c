/* A shared mapping of a file is still the file: what is written on one side is seen on the other. */
#include "check.h"

enum { PAGE = 4096, PAGES = 16 };

int main(int argc, char **argv)
{
	check_init(argc, argv);
	int fd = check_open("file", O_RDWR);
	char path[PATH_MAX], page[PAGE], head[512], flags[256];
	check_path(path, "file");
	OK(ftruncate(fd, PAGES * PAGE));
	char *memory = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	char *second = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, fd, 3 * PAGE);
	CHECK(memory != MAP_FAILED && second != MAP_FAILED, "mmap");
	close(fd);
	for (uint64_t i = 0; i < PAGES / 2; i++)
		check_fill(memory + i * PAGE, PAGE, i);
	check_wait();
	DAMAGE(fd = open(path, O_RDWR); memory = mmap(memory, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED,
						      fd, 0));
	for (uint64_t i = 0; i < PAGES / 2; i++)
		check_filled(memory + i * PAGE, PAGE, i);
	check_zero(memory + PAGES / 2 * PAGE, PAGES / 2 * PAGE);
	check_filled(second, PAGE, 3);
	check_mapping(memory, head, flags, sizeof flags);
	CHECK(strncmp(head, "rw-s", 4) == 0 && strstr(head, path), "the mapping is %s", head);
	check_fill(memory + 3 * PAGE, PAGE, 300);
	check_filled(second, PAGE, 300);
	fd = open(path, O_RDWR);
	CHECK(fd >= 0, "open %s", path);
	for (uint64_t i = 0; i < PAGES / 2; i++) {
		EQUAL(pread(fd, page, PAGE, (off_t)i * PAGE), PAGE);
		check_filled(page, PAGE, i == 3 ? 300 : i);
	}
	check_fill(page, PAGE, 900);
	EQUAL(pwrite(fd, page, PAGE, 9 * PAGE), PAGE);
	check_filled(memory + 9 * PAGE, PAGE, 900);
	PASS();
}
