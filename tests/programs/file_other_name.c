/* A deleted file that has another name by a hard link is that file afterwards. */
#include "check.h"

int main(int argc, char **argv)
{
	check_init(argc, argv);
	char path[PATH_MAX], other[PATH_MAX];
	check_path(path, "file");
	check_path(other, "other");
	int file = check_open("file", O_RDWR);
	EQUAL(write(file, "text", 4), 4);
	OK(link(path, other));
	OK(unlink(path));
	check_wait();
	DAMAGE(unlink(other));
	struct stat here, there;
	OK(fstat(file, &here));
	OK(stat(other, &there));
	EQUAL(here.st_ino, there.st_ino);
	PASS();
}
