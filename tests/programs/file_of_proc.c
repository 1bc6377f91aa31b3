/* Files and folders of /proc, open ones and current ones, tell of the same processes: its own, a child, one that has
 * ended, the init, and the machine. */
#include "check.h"
#include <sys/wait.h>

static int open_of(pid_t pid, const char *name, int flags)
{
	char path[64];
	snprintf(path, sizeof path, "/proc/%d/%s", pid, name);
	int fd = open(path, flags);
	CHECK(fd >= 0, "open %s", path);
	return fd;
}

static int first_number(int fd)
{
	char text[64] = "";
	CHECK(pread(fd, text, sizeof text - 1, 0) > 0, "read");
	return atoi(text);
}

int main(int argc, char **argv)
{
	check_init(argc, argv);
	pid_t child = fork(), ended = child ? fork() : 0;
	if (child == 0)
		OK(chdir("/proc/self"));
	if (child == 0 || ended == 0)
		for (;;)
			pause();
	int own = open("/proc/self/stat", O_RDONLY), folder = open("/proc/self", O_PATH | O_DIRECTORY);
	int its = open_of(child, "stat", O_RDONLY), gone = open_of(ended, "stat", O_RDONLY);
	int gone_folder = open_of(ended, "", O_RDONLY | O_DIRECTORY), memory = open("/proc/self/mem", O_RDWR);
	int machine = open("/proc/meminfo", O_RDONLY), names = open("/proc/self/ns/net", O_RDONLY);
	CHECK(own >= 0 && folder >= 0 && memory >= 0 && machine >= 0 && names >= 0, "open");
	int init = open("/proc/1/status", O_RDONLY);
	CHECK(init >= 0, "open");
	OK(fchdir(gone_folder));
	OK(kill(ended, SIGKILL));
	EQUAL(waitpid(ended, NULL, 0), ended);
	char text[64] = "";
	EQUAL(read(machine, text, 5), 5);
	check_wait();
	DAMAGE(dup2(own, its));
	EQUAL(first_number(own), getpid());
	EQUAL(first_number(its), child);
	EQUAL(read(gone, text, 1), -1);
	EQUAL(errno, ESRCH);
	EQUAL(openat(gone_folder, "stat", O_RDONLY), -1);
	int again = openat(folder, "stat", O_RDONLY);
	EQUAL(first_number(again), getpid());
	volatile int value = 1;
	int other = 2;
	EQUAL(pwrite(memory, &other, sizeof other, (intptr_t)&value), sizeof other);
	EQUAL(value, 2);
	EQUAL(lseek(machine, 0, SEEK_CUR), 5);
	EQUAL(pread(machine, text, 8, 0), 8);
	CHECK(strncmp(text, "MemTotal", 8) == 0, "%s", text);
	struct stat here, there;
	OK(fstat(names, &here));
	OK(stat("/proc/self/ns/net", &there));
	EQUAL(here.st_ino, there.st_ino);
	OK(fstat(init, &here));
	OK(stat("/proc/1/status", &there));
	EQUAL(here.st_ino, there.st_ino);
	char line[PATH_MAX], wanted[64];
	CHECK(getcwd(line, sizeof line) == NULL && errno == ENOENT, "the current folder is %s", line);
	EQUAL(access("stat", F_OK), -1);
	snprintf(wanted, sizeof wanted, "/proc/%d/cwd", child);
	ssize_t length = readlink(wanted, line, sizeof line - 1);
	CHECK(length > 0, "readlink");
	line[length] = 0;
	snprintf(wanted, sizeof wanted, "/proc/%d", child);
	CHECK(strcmp(line, wanted) == 0, "the child is in %s", line);
	OK(kill(child, SIGKILL));
	EQUAL(waitpid(child, NULL, 0), child);
	PASS();
}
