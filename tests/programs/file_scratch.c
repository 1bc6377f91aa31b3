/* Files in $TMPDIR, or beside the others: one that is written to and mapped, in a folder of its own, and one that is
 * only read. The first is found by its name afterwards, unless a third argument says that somebody removes it. */
#include "check.h"

enum { SIZE = 1 << 20, HOLE = 64 << 20 };

static char folder[PATH_MAX];

static int open_there(const char *name, int flags)
{
	char path[PATH_MAX + 16];
	snprintf(path, sizeof path, "%s/%s", folder, name);
	int fd = open(path, flags, 0640);
	CHECK(fd >= 0, "open %s", path);
	return fd;
}

int main(int argc, char **argv)
{
	check_init(argc, argv);
	const char *scratch = getenv("TMPDIR");
	if (scratch)
		snprintf(folder, sizeof folder, "%s/folder", scratch);
	else
		check_path(folder, "folder");
	OK(mkdir(folder, 0710));
	int data = open_there("data", O_RDWR | O_CREAT), writer = open_there("input", O_WRONLY | O_CREAT);
	int input = open_there("input", O_RDONLY), inside = open(folder, O_RDONLY | O_DIRECTORY);
	static char filled[SIZE], back[SIZE];
	check_fill(filled, SIZE, 1);
	EQUAL(write(data, filled, SIZE), SIZE);
	EQUAL(pwrite(data, "end", 3, HOLE), 3);
	EQUAL(write(writer, filled, SIZE), SIZE);
	close(writer);
	EQUAL(lseek(input, 100, SEEK_SET), 100);
	char *shared = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, data, 0);
	char *private = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE, input, 0);
	CHECK(shared != MAP_FAILED && private != MAP_FAILED, "mmap");
	check_fill(shared + 4096, 4096, 2);
	check_fill(private + 8192, 4096, 3);
	check_wait();
	DAMAGE(ftruncate(data, SIZE));
	check_filled(shared + 4096, 4096, 2);
	check_filled(private + 8192, 4096, 3);
	EQUAL(pread(data, back, SIZE, 0), SIZE);
	CHECK(memcmp(back, filled, 4096) == 0 && memcmp(back + 8192, filled + 8192, SIZE - 8192) == 0, "data differs");
	EQUAL(pread(input, back, SIZE, 0), SIZE);
	CHECK(memcmp(back, filled, SIZE) == 0, "input differs");
	CHECK(memcmp(private, filled, 8192) == 0, "mapped input differs");
	EQUAL(lseek(input, 0, SEEK_CUR), 100);
	struct stat by_fd, by_name, of_folder;
	OK(fstat(data, &by_fd));
	EQUAL(by_fd.st_size, HOLE + 3);
	CHECK(by_fd.st_blocks < HOLE / 2 / 512, "the hole takes %ld blocks", (long)by_fd.st_blocks);
	EQUAL(by_fd.st_mode & 07777, 0640);
	if (argc < 3) {
		OK(fstatat(inside, "data", &by_name, 0));
		EQUAL(by_name.st_ino, by_fd.st_ino);
	}
	OK(fstat(inside, &of_folder));
	EQUAL(of_folder.st_mode & 07777, 0710);
	PASS();
}
