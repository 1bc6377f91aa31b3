/* Folders that are deleted, one current and one open, are deleted afterwards too, and all that leads to one leads to
 * the same. */
#include "check.h"
#include <dirent.h>

int main(int argc, char **argv)
{
	check_init(argc, argv);
	char path[PATH_MAX], open_path[PATH_MAX], line[PATH_MAX];
	check_path(path, "current");
	check_path(open_path, "open");
	OK(mkdir(path, 0755));
	OK(mkdir(open_path, 0750));
	int same = open(path, O_RDONLY | O_DIRECTORY), only_path = open(open_path, O_PATH), home = open(".", O_PATH);
	int folder = open(open_path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	CHECK(same >= 0 && only_path >= 0 && folder >= 0 && home >= 0, "open");
	OK(chdir(path));
	OK(rmdir(path));
	OK(rmdir(open_path));
	check_base = strcpy(malloc(PATH_MAX), check_base);
	check_wait();
	DAMAGE(fchdir(home));
	struct stat here, there;
	OK(fstat(same, &here));
	OK(stat("/proc/self/cwd", &there));
	EQUAL(here.st_ino, there.st_ino);
	CHECK(getcwd(line, sizeof line) == NULL && errno == ENOENT, "the current folder is %s", line);
	OK(fstat(folder, &here));
	OK(fstat(only_path, &there));
	EQUAL(here.st_ino, there.st_ino);
	EQUAL(here.st_mode, S_IFDIR | 0750);
	EQUAL(openat(folder, "file", O_CREAT | O_WRONLY, 0600), -1);
	EQUAL(errno, ENOENT);
	EQUAL(fcntl(folder, F_GETFD), FD_CLOEXEC);
	CHECK(access(path, F_OK) == -1 && access(open_path, F_OK) == -1, "a folder is back");
	OK(fchdir(home));
	PASS();
}
