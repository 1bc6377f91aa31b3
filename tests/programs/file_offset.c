/* Open regular files keep number, offset, access mode, status flags and close-on-exec. */
#include "check.h"

enum { FILES = 5 };
static const int flags[FILES] = { O_RDONLY, O_WRONLY, O_RDWR, O_RDWR | O_APPEND | O_NONBLOCK, O_RDWR | O_SYNC };

int main(int argc, char **argv)
{
	check_init(argc, argv);
	int fd = check_open("file", O_RDWR), kept[FILES];
	char path[PATH_MAX], bytes[100];
	check_path(path, "file");
	for (int i = 0; i < 100; i++)
		EQUAL(dprintf(fd, "line %04d\n", i), 10);
	EQUAL(lseek(fd, 305, SEEK_SET), 305);
	for (int i = 0; i < FILES; i++) {
		int opened = open(path, flags[i] | (i % 2 ? O_CLOEXEC : 0));
		kept[i] = 50 + i * 7;
		EQUAL(dup3(opened, kept[i], i % 2 ? O_CLOEXEC : 0), kept[i]);
		close(opened);
		EQUAL(lseek(kept[i], 100 * i, SEEK_SET), 100 * i);
	}
	int beyond = open(path, O_RDONLY);
	EQUAL(lseek(beyond, 1l << 40, SEEK_SET), 1l << 40);
	check_wait();
	DAMAGE(lseek(kept[2], 1, SEEK_CUR));
	EQUAL(lseek(fd, 0, SEEK_CUR), 305);
	for (int i = 0; i < FILES; i++) {
		EQUAL(lseek(kept[i], 0, SEEK_CUR), 100 * i);
		EQUAL(fcntl(kept[i], F_GETFD), i % 2 ? FD_CLOEXEC : 0);
		EQUAL(fcntl(kept[i], F_GETFL) & ~O_LARGEFILE & ~0x8000, flags[i]);
	}
	EQUAL(lseek(beyond, 0, SEEK_CUR), 1l << 40);
	EQUAL(read(kept[0], bytes, 10), 10);
	CHECK(memcmp(bytes, "line 0000\n", 10) == 0, "contents %.10s", bytes);
	EQUAL(write(kept[1], "LINE", 4), 4);
	EQUAL(pread(fd, bytes, 10, 100), 10);
	CHECK(memcmp(bytes, "LINE 0010\n", 10) == 0, "contents %.10s", bytes);
	EQUAL(write(kept[3], "end\n", 4), 4);
	EQUAL(lseek(kept[3], 0, SEEK_CUR), 1004);
	PASS();
}
