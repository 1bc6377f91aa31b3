/* A watched file that has neither a name nor a descriptor cannot be checkpointed: it is still watched. */
#include "check.h"
#include <sys/inotify.h>

int main(int argc, char **argv)
{
	check_init(argc, argv);
	char path[PATH_MAX], buffer[256] __attribute__((aligned(8)));
	int fd = check_open("gone", O_RDWR), instance = inotify_init1(IN_NONBLOCK);
	OK(ftruncate(fd, 4096));
	char *memory = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	CHECK(memory != MAP_FAILED, "mmap");
	check_path(path, "gone");
	EQUAL(inotify_add_watch(instance, path, IN_DELETE_SELF), 1);
	OK(close(fd));
	OK(unlink(path));
	check_wait();
	DAMAGE(inotify_rm_watch(instance, 1));
	EQUAL(read(instance, buffer, sizeof buffer), -1);
	OK(munmap(memory, 4096));
	EQUAL(read(instance, buffer, sizeof buffer), 32);
	EQUAL(((struct inotify_event *)buffer)->mask, IN_DELETE_SELF);
	PASS();
}
