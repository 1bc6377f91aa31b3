/* The current folder, the root and the umask are as before, and relative names still work. */
#include "check.h"

int main(int argc, char **argv)
{
	check_init(argc, argv);
	char folder[PATH_MAX], now[PATH_MAX];
	check_path(folder, "folder");
	OK(mkdir(folder, 0755));
	OK(chdir(folder));
	umask(0137);
	int fd = open("before", O_WRONLY | O_CREAT, 0666);
	OK(fd);
	check_wait();
	DAMAGE(chdir("/"));
	CHECK(getcwd(now, sizeof now), "getcwd");
	CHECK(strcmp(now, folder) == 0, "the folder is %s, not %s", now, folder);
	OK(access("before", F_OK));
	fd = open("after", O_WRONLY | O_CREAT, 0666);
	struct stat status;
	OK(fstat(fd, &status));
	EQUAL(status.st_mode & 0777, 0640);
	EQUAL(umask(0), 0137);
	struct stat root, slash;
	OK(stat("/proc/self/root/.", &root));
	OK(stat("/", &slash));
	EQUAL(root.st_ino, slash.st_ino);
	PASS();
}
