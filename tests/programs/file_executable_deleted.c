/* A program whose file is deleted: /proc/self/exe leads to it, and can be executed. */
#include "check.h"
#include <sys/wait.h>

static void copy(const char *from, const char *to)
{
	char buffer[65536];
	int source = open(from, O_RDONLY), target = open(to, O_WRONLY | O_CREAT | O_EXCL, 0755);
	CHECK(source >= 0 && target >= 0, "open");
	for (ssize_t n; (n = read(source, buffer, sizeof buffer)) > 0;)
		EQUAL(write(target, buffer, n), n);
	close(source);
	close(target);
}

int main(int argc, char **argv)
{
	if (argc == 3 && strcmp(argv[2], "child") == 0)
		return 42;
	check_init(argc, argv);
	char path[PATH_MAX];
	check_path(path, "exe");
	if (argc == 2) {
		copy("/proc/self/exe", path);
		execl(path, path, argv[1], "copy", NULL);
		FAIL("exec: %s", strerror(errno));
	}
	struct stat before, after;
	OK(stat("/proc/self/exe", &before));
	OK(unlink(path));
	check_wait();
	OK(stat("/proc/self/exe", &after));
	EQUAL(after.st_size, before.st_size);
	EQUAL(after.st_mode, before.st_mode);
	EQUAL(after.st_nlink, 0);
	int status = 0;
	pid_t child = fork();
	if (child == 0) {
		execl("/proc/self/exe", path, argv[1], "child", NULL);
		_exit(1);
	}
	DAMAGE(status = 1);
	EQUAL(status, 0);
	EQUAL(waitpid(child, &status, 0), child);
	EQUAL(WEXITSTATUS(status), 42);
	PASS();
}
