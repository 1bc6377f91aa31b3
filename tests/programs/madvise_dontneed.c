/* After MADV_DONTNEED, anonymous memory is zero and file memory is the file's, also for restored pages. */
#include "check.h"

enum { PAGE = 4096, SIZE = 64 * PAGE };

int main(int argc, char **argv)
{
	check_init(argc, argv);
	char *memory = check_map(SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE), page[PAGE];
	char *gone = check_map(SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE);
	check_fill(memory, SIZE, 1);
	check_fill(gone, SIZE, 2);
	OK(madvise(gone, SIZE, MADV_DONTNEED));
	int fd = check_open("file", O_RDWR);
	check_fill(page, PAGE, 3);
	EQUAL(write(fd, page, PAGE), PAGE);
	char *file = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	CHECK(file != MAP_FAILED, "mmap");
	check_fill(file, PAGE, 4);
	check_wait();
	DAMAGE(memory[PAGE] ^= 1);
	check_filled(memory, SIZE, 1);
	check_zero(gone, SIZE);
	check_filled(file, PAGE, 4);
	OK(madvise(memory, SIZE, MADV_DONTNEED));
	check_zero(memory, SIZE);
	OK(madvise(file, PAGE, MADV_DONTNEED));
	check_filled(file, PAGE, 3);
	char *bigger = mremap(memory, SIZE, 4 * SIZE, MREMAP_MAYMOVE);
	CHECK(bigger != MAP_FAILED, "mremap");
	check_zero(bigger, 4 * SIZE);
	PASS();
}
