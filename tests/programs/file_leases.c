/* Leases stay, whole or being broken, and nobody is told of a break a second time. */
#include "check.h"

static volatile sig_atomic_t told;

static void on_break(int signal)
{
	(void)signal;
	told++;
}

static int leased(const char *suffix, int access, int lease)
{
	int fd = check_open(suffix, O_RDWR);
	close(fd);
	char path[PATH_MAX];
	check_path(path, suffix);
	OK(fd = open(path, access));
	OK(fcntl(fd, F_SETLEASE, lease));
	OK(fcntl(fd, F_SETSIG, SIGUSR1));
	return fd;
}

/* Gives whether opening it now would have to wait. */
static bool waits(const char *suffix, int access)
{
	char path[PATH_MAX];
	check_path(path, suffix);
	int fd = open(path, access | O_NONBLOCK);
	CHECK(fd >= 0 || errno == EWOULDBLOCK, "open %s", path);
	close(fd);
	return fd < 0;
}

int main(int argc, char **argv)
{
	check_init(argc, argv);
	signal(SIGUSR1, on_break);
	int reads = leased("reads", O_RDONLY, F_RDLCK), writes = leased("writes", O_RDWR, F_WRLCK);
	int lost = leased("lost", O_RDONLY, F_RDLCK), lower = leased("lower", O_WRONLY, F_WRLCK);
	CHECK(waits("lost", O_WRONLY), "a read lease");
	CHECK(waits("lower", O_RDONLY), "a write lease");
	EQUAL(told, 2);
	check_wait();
	DAMAGE(fcntl(writes, F_SETLEASE, F_UNLCK));
	EQUAL(told, 2);
	EQUAL(fcntl(reads, F_GETLEASE), F_RDLCK);
	EQUAL(fcntl(writes, F_GETLEASE), F_WRLCK);
	EQUAL(fcntl(lost, F_GETLEASE), F_UNLCK);
	EQUAL(fcntl(lower, F_GETLEASE), F_RDLCK);
	CHECK(waits("writes", O_RDONLY), "a write lease");
	EQUAL(told, 3);
	CHECK(!waits("reads", O_RDONLY), "a read lease");
	OK(fcntl(lost, F_SETLEASE, F_UNLCK));
	CHECK(!waits("lost", O_WRONLY), "no lease");
	PASS();
}
