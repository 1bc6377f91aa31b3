/* inotify: watches keep their numbers and masks, on folders, files and a deleted file that is open; nothing is reported
 * that did not happen. */
#include "check.h"
#include <sys/inotify.h>
#include <sys/ioctl.h>

static char folder[PATH_MAX], inner[PATH_MAX + 8], file[PATH_MAX + 8];
static int instance;

static void expect(int wd, uint32_t mask, const char *name)
{
	char buffer[4096] __attribute__((aligned(8)));
	struct inotify_event *event = (void *)buffer;
	memset(buffer, 0, sizeof buffer);
	CHECK(read(instance, buffer, sizeof *event + 16) > 0, "no event for watch %d", wd);
	EQUAL(event->wd, wd);
	EQUAL(event->mask, mask);
	if (name)
		EQUAL(strcmp(event->name, name), 0);
}

int main(int argc, char **argv)
{
	check_init(argc, argv);
	check_path(folder, "watched");
	snprintf(inner, sizeof inner, "%s/inner", folder);
	snprintf(file, sizeof file, "%s/file", folder);
	OK(mkdir(folder, 0700));
	OK(mkdir(inner, 0700));
	int fd = open(file, O_CREAT | O_RDWR | O_CLOEXEC, 0600), gone = check_open("gone", O_RDWR);
	char path[PATH_MAX];
	check_path(path, "gone");
	instance = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	CHECK(instance >= 0 && fd >= 0, "inotify_init1");
	int dropped = inotify_add_watch(instance, "/", IN_CREATE);
	int of_folder = inotify_add_watch(instance, folder, IN_CREATE | IN_DELETE | IN_EXCL_UNLINK);
	int of_inner = inotify_add_watch(instance, inner, IN_CREATE | IN_ONESHOT);
	int of_file = inotify_add_watch(instance, file, IN_MODIFY);
	int of_gone = inotify_add_watch(instance, path, IN_MODIFY);
	OK(inotify_rm_watch(instance, dropped));
	expect(dropped, IN_IGNORED, NULL);
	OK(unlink(path));
	EQUAL(of_gone, 5);
	check_wait();
	DAMAGE(inotify_rm_watch(instance, of_folder));
	int queued = -1;
	OK(ioctl(instance, FIONREAD, &queued));
	EQUAL(queued, 0);
	EQUAL(fcntl(instance, F_GETFL) & O_NONBLOCK, O_NONBLOCK);
	EQUAL(write(fd, "x", 1), 1);
	expect(of_file, IN_MODIFY, NULL);
	EQUAL(write(gone, "x", 1), 1);
	expect(of_gone, IN_MODIFY, NULL);
	char new[PATH_MAX + 16];
	snprintf(new, sizeof new, "%s/new", inner);
	OK(mkdir(new, 0700));
	expect(of_inner, IN_CREATE | IN_ISDIR, "new");
	expect(of_inner, IN_IGNORED, NULL);
	OK(rmdir(new));
	OK(rmdir(inner));
	expect(of_folder, IN_DELETE | IN_ISDIR, "inner");
	EQUAL(inotify_add_watch(instance, "/", IN_CREATE), of_gone + 1);
	PASS();
}
