/* A memfd keeps its name, contents, offset and seals, and its mapping is still the same file. */
#include "check.h"

enum { PAGE = 4096 };

int main(int argc, char **argv)
{
	check_init(argc, argv);
	int fd = memfd_create("check-memory", MFD_ALLOW_SEALING | MFD_CLOEXEC), sealed, unmapped;
	OK(fd);
	OK(ftruncate(fd, 8 * PAGE));
	char *memory = mmap(NULL, 8 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0), text[64], link[128];
	CHECK(memory != MAP_FAILED, "mmap");
	check_fill(memory, 2 * PAGE, 1);
	check_fill(memory + 6 * PAGE, PAGE, 2);
	EQUAL(lseek(fd, 12345, SEEK_SET), 12345);
	OK(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK));
	sealed = memfd_create("sealed", MFD_ALLOW_SEALING);
	EQUAL(write(sealed, "unchangeable", 12), 12);
	OK(fcntl(sealed, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL));
	unmapped = memfd_create("unmapped", 0);
	EQUAL(write(unmapped, "only a descriptor", 17), 17);
	int short_file = memfd_create("short", 0);
	OK(ftruncate(short_file, 100));
	char *page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, short_file, 0);
	CHECK(page != MAP_FAILED, "mmap of a short file");
	strcpy(page, "100 bytes");
	check_wait();
	DAMAGE(memory[7] ^= 1);
	check_filled(memory, 2 * PAGE, 1);
	check_zero(memory + 2 * PAGE, 4 * PAGE);
	check_filled(memory + 6 * PAGE, PAGE, 2);
	EQUAL(lseek(fd, 0, SEEK_CUR), 12345);
	EQUAL(lseek(fd, 0, SEEK_END), 8 * PAGE);
	EQUAL(fcntl(fd, F_GET_SEALS), F_SEAL_SHRINK);
	EQUAL(fcntl(fd, F_GETFD), FD_CLOEXEC);
	EQUAL(ftruncate(fd, PAGE), -1);
	EQUAL(pwrite(fd, "through", 7, 3 * PAGE), 7);
	CHECK(memcmp(memory + 3 * PAGE, "through", 7) == 0, "the mapping is another file");
	EQUAL(fcntl(sealed, F_GET_SEALS), F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL);
	EQUAL(pread(sealed, text, sizeof text, 0), 12);
	CHECK(memcmp(text, "unchangeable", 12) == 0, "sealed contents");
	EQUAL(pwrite(sealed, "x", 1, 0), -1);
	EQUAL(fcntl(unmapped, F_GET_SEALS), F_SEAL_SEAL);
	EQUAL(pread(unmapped, text, sizeof text, 0), 17);
	EQUAL(lseek(short_file, 0, SEEK_END), 100);
	CHECK(strcmp(page, "100 bytes") == 0, "the short file");
	snprintf(text, sizeof text, "/proc/self/fd/%d", fd);
	ssize_t length = readlink(text, link, sizeof link - 1);
	link[length < 0 ? 0 : length] = 0;
	CHECK(strcmp(link, "/memfd:check-memory (deleted)") == 0, "the link is %s", link);
	PASS();
}
