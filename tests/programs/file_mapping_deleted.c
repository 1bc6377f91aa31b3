/* Mappings of a file that has been removed keep their contents; the two of them still share one file. */
#include "check.h"

enum { PAGE = 4096, PAGES = 8 };

int main(int argc, char **argv)
{
	check_init(argc, argv);
	int fd = check_open("file", O_RDWR);
	char path[PATH_MAX], page[PAGE];
	check_path(path, "file");
	for (uint64_t i = 0; i < PAGES; i++) {
		check_fill(page, PAGE, i);
		EQUAL(write(fd, page, PAGE), PAGE);
	}
	char *shared = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	char *again = mmap(NULL, PAGES * PAGE, PROT_READ, MAP_SHARED, fd, 0);
	char *private = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	CHECK(shared != MAP_FAILED && again != MAP_FAILED && private != MAP_FAILED, "mmap");
	close(fd);
	OK(unlink(path));
	check_fill(private + 2 * PAGE, PAGE, 200);
	check_wait();
	DAMAGE(shared[0] ^= 1);
	for (uint64_t i = 0; i < PAGES; i++) {
		check_filled(shared + i * PAGE, PAGE, i);
		check_filled(private + i * PAGE, PAGE, i == 2 ? 200 : i);
	}
	check_fill(shared + 4 * PAGE, PAGE, 400);
	check_filled(again + 4 * PAGE, PAGE, 400);
	CHECK(access(path, F_OK) == -1, "%s is back", path);
	PASS();
}
