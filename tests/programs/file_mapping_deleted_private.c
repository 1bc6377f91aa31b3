/* A private mapping of a deleted file follows the file where it was not written to, and ends where the file does. */
#include "check.h"
#include <setjmp.h>

enum { PAGE = 4096, PAGES = 6 };

static sigjmp_buf back;

static void jump(int signal)
{
	siglongjmp(back, signal);
}

static bool faults(const char *address)
{
	if (sigsetjmp(back, 1))
		return true;
	(void)*(const volatile char *)address;
	return false;
}

int main(int argc, char **argv)
{
	check_init(argc, argv);
	signal(SIGBUS, jump);
	int fd = check_open("file", O_RDWR), other = check_open("other", O_RDWR);
	char path[PATH_MAX], page[PAGE];
	for (uint64_t i = 0; i < PAGES - 2; i++) {
		check_fill(page, PAGE, i);
		EQUAL(write(fd, page, PAGE), PAGE);
		EQUAL(write(other, page, PAGE), PAGE);
	}
	char *private = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	char *alone = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, other, 0);
	CHECK(private != MAP_FAILED && alone != MAP_FAILED, "mmap");
	close(other);
	for (int i = 0; i < 2; i++) {
		check_path(path, i ? "other" : "file");
		OK(unlink(path));
	}
	check_fill(private + PAGE, PAGE, 100);
	check_fill(alone + PAGE, PAGE, 100);
	check_wait();
	DAMAGE(private[PAGE] ^= 1);
	for (uint64_t i = 0; i < PAGES - 2; i++) {
		check_filled(private + i * PAGE, PAGE, i == 1 ? 100 : i);
		check_filled(alone + i * PAGE, PAGE, i == 1 ? 100 : i);
	}
	check_fill(page, PAGE, 200);
	EQUAL(pwrite(fd, page, PAGE, 2 * PAGE), PAGE);
	check_filled(private + 2 * PAGE, PAGE, 200);
	CHECK(faults(private + (PAGES - 2) * PAGE) && faults(alone + (PAGES - 1) * PAGE), "no end of the file");
	PASS();
}
