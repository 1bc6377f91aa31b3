/* A private mapping of a file: clean pages are the file's, written pages stay the program's own. */
#include "check.h"

enum { PAGE = 4096, PAGES = 32 };

int main(int argc, char **argv)
{
	check_init(argc, argv);
	int fd = check_open("file", O_RDWR);
	char page[PAGE], path[PATH_MAX], head[512], flags[256];
	for (uint64_t i = 0; i < PAGES; i++) {
		check_fill(page, PAGE, i);
		EQUAL(write(fd, page, PAGE), PAGE);
	}
	EQUAL(write(fd, page, 100), 100); /* the last page is not a whole one */
	char *memory = mmap(NULL, (PAGES + 1) * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	CHECK(memory != MAP_FAILED, "mmap");
	char *part = mmap(NULL, 2 * PAGE, PROT_READ, MAP_PRIVATE, fd, 5 * PAGE);
	CHECK(part != MAP_FAILED, "mmap");
	close(fd);
	for (uint64_t i = 0; i < PAGES; i += 4)
		check_fill(memory + i * PAGE, PAGE, 1000 + i);
	memory[PAGES * PAGE + 2000] = 'x'; /* behind the end of the file */
	OK(mprotect(memory + 8 * PAGE, PAGE, PROT_READ));
	check_wait();
	DAMAGE(memory[4 * PAGE] ^= 1);
	for (uint64_t i = 0; i < PAGES; i++)
		check_filled(memory + i * PAGE, PAGE, i % 4 ? i : 1000 + i);
	EQUAL(memory[PAGES * PAGE + 2000], 'x');
	check_filled(part, PAGE, 5);
	check_filled(part + PAGE, PAGE, 6);
	check_path(path, "file");
	check_mapping(part, head, flags, sizeof flags);
	CHECK(strstr(head, path) && strncmp(head, "r--p 00005000", 13) == 0, "the mapping is %s", head);
	fd = open(path, O_RDONLY);
	CHECK(fd >= 0, "open %s", path);
	for (uint64_t i = 0; i < PAGES; i++) {
		EQUAL(read(fd, page, PAGE), PAGE);
		check_filled(page, PAGE, i);
	}
	PASS();
}
