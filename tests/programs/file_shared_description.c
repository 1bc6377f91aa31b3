/* dup shares one offset and one set of flags; two opens of a file have each their own. */
#include "check.h"

int main(int argc, char **argv)
{
	check_init(argc, argv);
	int one = check_open("file", O_RDWR), copy = dup(one), third = fcntl(copy, F_DUPFD_CLOEXEC, 200);
	char path[PATH_MAX], bytes[8];
	check_path(path, "file");
	EQUAL(write(one, "0123456789abcdef", 16), 16);
	int two = open(path, O_RDONLY);
	EQUAL(lseek(one, 3, SEEK_SET), 3);
	EQUAL(lseek(two, 10, SEEK_SET), 10);
	check_wait();
	DAMAGE(close(copy); copy = open(path, O_RDWR));
	EQUAL(read(copy, bytes, 2), 2);
	EQUAL(bytes[0], '3');
	EQUAL(read(third, bytes, 2), 2);
	EQUAL(bytes[0], '5');
	EQUAL(lseek(one, 0, SEEK_CUR), 7);
	EQUAL(read(two, bytes, 1), 1);
	EQUAL(bytes[0], 'a');
	OK(fcntl(one, F_SETFL, O_APPEND));
	EQUAL(fcntl(third, F_GETFL) & O_APPEND, O_APPEND);
	EQUAL(fcntl(two, F_GETFL) & O_APPEND, 0);
	EQUAL(fcntl(third, F_GETFD), FD_CLOEXEC);
	EQUAL(fcntl(copy, F_GETFD), 0);
	PASS();
}
