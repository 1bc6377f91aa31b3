/* Permissions, times and extended attributes of files without a name. */
#include "check.h"
#include <sys/xattr.h>

int main(int argc, char **argv)
{
	check_init(argc, argv);
	char path[PATH_MAX], value[32] = "";
	check_path(path, "file");
	int file = check_open("file", O_RDWR), memory = memfd_create("attributes", MFD_CLOEXEC);
	bool attributes = fsetxattr(file, "user.check", "value", 5, 0) == 0;
	EQUAL(write(file, "text", 4), 4);
	OK(fchmod(file, 0440));
	OK(fchmod(memory, 0642));
	struct timespec times[2] = { { 1000000000, 123456789 }, { 900000000, 987654321 } };
	OK(futimens(file, times));
	OK(unlink(path));
	check_wait();
	DAMAGE(fchmod(file, 0600));
	struct stat status;
	OK(fstat(file, &status));
	EQUAL(status.st_mode & 07777, 0440);
	EQUAL(status.st_mtim.tv_sec, 900000000);
	EQUAL(status.st_mtim.tv_nsec, 987654321);
	EQUAL(status.st_atim.tv_sec, 1000000000);
	OK(fstat(memory, &status));
	EQUAL(status.st_mode & 07777, 0642);
	if (attributes) {
		EQUAL(fgetxattr(file, "user.check", value, sizeof value), 5);
		CHECK(strcmp(value, "value") == 0, "%s", value);
	}
	EQUAL(pwrite(file, "more", 4, 4), 4);
	PASS();
}
