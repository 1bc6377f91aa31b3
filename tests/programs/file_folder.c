/* Descriptors of folders and O_PATH descriptors lead to the same places; reading a folder goes on where it was. */
#include "check.h"
#include <dirent.h>

int main(int argc, char **argv)
{
	check_init(argc, argv);
	char path[PATH_MAX], name[32];
	check_path(path, "folder");
	OK(mkdir(path, 0755));
	int folder = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC), only_path, seen[50] = { 0 }, count = 0;
	for (int i = 0; i < 50; i++) {
		snprintf(name, sizeof name, "file%02d", i);
		close(openat(folder, name, O_CREAT | O_WRONLY, 0644));
	}
	only_path = openat(folder, "file07", O_PATH);
	DIR *stream = fdopendir(openat(folder, ".", O_RDONLY | O_DIRECTORY));
	struct dirent *entry;
	while (count < 20 && (entry = readdir(stream)))
		if (sscanf(entry->d_name, "file%d", &(int){ 0 }) == 1)
			seen[atoi(entry->d_name + 4)]++, count++;
	check_wait();
	DAMAGE(rewinddir(stream));
	while ((entry = readdir(stream)))
		if (strncmp(entry->d_name, "file", 4) == 0)
			seen[atoi(entry->d_name + 4)]++;
	for (int i = 0; i < 50; i++)
		EQUAL(seen[i], 1);
	OK(faccessat(folder, "file33", F_OK, 0));
	OK(fchdir(folder));
	OK(access("file34", F_OK));
	EQUAL(fcntl(folder, F_GETFD), FD_CLOEXEC);
	EQUAL(read(only_path, name, 1), -1);
	EQUAL(errno, EBADF);
	struct stat here, there;
	OK(fstat(only_path, &here));
	OK(stat("file07", &there));
	EQUAL(here.st_ino, there.st_ino);
	PASS();
}
