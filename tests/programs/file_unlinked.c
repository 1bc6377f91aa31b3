/* Files without a name (removed, O_TMPFILE, two opens of one) keep contents, size, holes, mode and identity. */
#include "check.h"

enum { SIZE = 3 << 20 };

int main(int argc, char **argv)
{
	check_init(argc, argv);
	char path[PATH_MAX], link[PATH_MAX];
	static char data[SIZE], back[SIZE];
	check_path(path, "file");
	check_path(link, "link");
	int removed = check_open("file", O_RDWR), reader = open(path, O_RDONLY);
	check_fill(data, SIZE, 1);
	EQUAL(write(removed, data, SIZE), SIZE);
	OK(fchmod(removed, 0604));
	OK(ftruncate(removed, 1l << 31)); /* the rest is a hole */
	OK(unlink(path));
	EQUAL(lseek(reader, 4096, SEEK_SET), 4096);
	/* A file whose name is gone while another name of it stays. */
	int renamed = check_open("file", O_RDWR);
	EQUAL(write(renamed, "two names", 9), 9);
	OK(rename(path, link));
	strcpy(path, check_base);
	*strrchr(path, '/') = 0;
	int nameless = open(path, O_TMPFILE | O_RDWR, 0600);
	if (nameless >= 0)
		EQUAL(write(nameless, "never had a name", 16), 16);
	check_wait();
	DAMAGE(pwrite(removed, "x", 1, 100));
	struct stat status, other;
	OK(fstat(removed, &status));
	OK(fstat(reader, &other));
	EQUAL(status.st_ino, other.st_ino);
	EQUAL(status.st_nlink, 0);
	EQUAL(status.st_size, 1l << 31);
	EQUAL(status.st_mode & 0777, 0604);
	CHECK(status.st_blocks < 2 * SIZE / 512, "the hole takes %ld blocks", (long)status.st_blocks);
	EQUAL(pread(removed, back, SIZE, 0), SIZE);
	CHECK(memcmp(data, back, SIZE) == 0, "contents differ");
	EQUAL(lseek(reader, 0, SEEK_CUR), 4096);
	EQUAL(pwrite(removed, "shared", 6, 4096), 6);
	EQUAL(read(reader, back, 6), 6);
	CHECK(memcmp(back, "shared", 6) == 0, "the two descriptors are two files");
	EQUAL(pread(renamed, back, 100, 0), 9);
	OK(stat(link, &status));
	OK(fstat(renamed, &other));
	EQUAL(status.st_ino, other.st_ino);
	if (nameless >= 0) {
		EQUAL(pread(nameless, back, 100, 0), 16);
		OK(fstat(nameless, &status));
		EQUAL(status.st_nlink, 0);
	}
	PASS();
}
