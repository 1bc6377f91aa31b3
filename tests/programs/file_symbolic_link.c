/* O_PATH descriptors of symbolic links, one of which is deleted, of a deleted file and of a device. */
#include "check.h"

static void is_link(int fd, const char *target)
{
	char text[PATH_MAX] = "";
	struct stat status;
	OK(fstat(fd, &status));
	CHECK(S_ISLNK(status.st_mode), "mode %o", status.st_mode);
	CHECK(readlinkat(fd, "", text, sizeof text) >= 0, "readlink");
	CHECK(strcmp(text, target) == 0, "leads to %s", text);
}

int main(int argc, char **argv)
{
	check_init(argc, argv);
	char path[PATH_MAX], deleted_path[PATH_MAX], file_path[PATH_MAX];
	check_path(path, "link");
	check_path(deleted_path, "deleted-link");
	check_path(file_path, "file");
	OK(symlink("somewhere/else", path));
	OK(symlink("nowhere", deleted_path));
	int link = open(path, O_PATH | O_NOFOLLOW), deleted = open(deleted_path, O_PATH | O_NOFOLLOW);
	int file = check_open("file", O_RDWR), file_only_path = open(file_path, O_PATH), null = open("/dev/null", O_PATH);
	CHECK(link >= 0 && deleted >= 0 && file_only_path >= 0 && null >= 0, "open");
	OK(unlink(deleted_path));
	OK(unlink(file_path));
	check_wait();
	DAMAGE(dup2(link, deleted));
	is_link(link, "somewhere/else");
	is_link(deleted, "nowhere");
	EQUAL(fcntl(link, F_GETFL) & (O_PATH | O_NOFOLLOW), O_PATH | O_NOFOLLOW);
	CHECK(access(deleted_path, F_OK) == -1 && access(path, F_OK) == -1, "a link is back or leads somewhere");
	struct stat here, there;
	OK(fstat(file, &here));
	OK(fstat(file_only_path, &there));
	EQUAL(here.st_ino, there.st_ino);
	EQUAL(fcntl(file_only_path, F_GETFL) & O_PATH, O_PATH);
	OK(fstat(null, &there));
	CHECK(S_ISCHR(there.st_mode), "mode %o", there.st_mode);
	EQUAL(fcntl(null, F_GETFL) & O_PATH, O_PATH);
	PASS();
}
