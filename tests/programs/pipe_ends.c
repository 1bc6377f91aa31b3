/* Pipes keep all their descriptions with the flags of each, and named pipes that are gone or open one way only. */
#include "check.h"
#include <poll.h>

static char path[PATH_MAX];

static int reopen(int fd, int flags)
{
	char link[64];
	snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
	int again = open(link, flags);
	CHECK(again >= 0, "open %s", link);
	return again;
}

static void flags_are(int fd, int flags)
{
	EQUAL(fcntl(fd, F_GETFL) & (O_ACCMODE | O_NONBLOCK | O_DIRECT | O_APPEND), flags);
}

static short now(int fd)
{
	struct pollfd ready = { fd, POLLIN | POLLOUT, 0 };
	poll(&ready, 1, 0);
	return ready.revents;
}

int main(int argc, char **argv)
{
	check_init(argc, argv);
	int pipes[2], mixed[2], full[2], packets, calm, both, gone_reader, gone_writer, only_reads, only_writes;
	char back[70000];
	signal(SIGPIPE, SIG_IGN);
	OK(pipe(pipes));
	OK(calm = reopen(pipes[0], O_RDONLY | O_NONBLOCK));
	OK(both = reopen(pipes[0], O_RDWR | O_NONBLOCK));
	EQUAL(write(both, "shared", 6), 6);
	/* Packets, then a stream, by two descriptions of one end. */
	OK(pipe2(mixed, O_NONBLOCK));
	OK(packets = reopen(mixed[1], O_WRONLY | O_NONBLOCK));
	OK(fcntl(packets, F_SETFL, O_NONBLOCK | O_DIRECT));
	EQUAL(write(packets, "one", 3), 3);
	EQUAL(write(packets, "x", 1), 1);
	EQUAL(write(mixed[1], "stream", 6), 6);
	OK(pipe2(full, O_NONBLOCK));
	OK(fcntl(full[1], F_SETPIPE_SZ, 8192));
	memset(back, 'f', sizeof back);
	EQUAL(write(full[1], back, sizeof back), 8192);
	check_path(path, "gone");
	OK(mkfifo(path, 0600));
	OK(gone_reader = open(path, O_RDONLY | O_NONBLOCK));
	OK(gone_writer = open(path, O_WRONLY | O_APPEND));
	OK(unlink(path));
	EQUAL(write(gone_writer, "nameless", 8), 8);
	check_path(path, "reads");
	OK(mkfifo(path, 0600));
	OK(only_reads = open(path, O_RDONLY | O_NONBLOCK));
	check_path(path, "writes");
	OK(mkfifo(path, 0600));
	int helper = open(path, O_RDONLY | O_NONBLOCK);
	OK(only_writes = open(path, O_WRONLY));
	close(helper);
	check_wait();
	DAMAGE(fcntl(calm, F_SETFL, 0));
	flags_are(pipes[0], O_RDONLY);
	flags_are(calm, O_RDONLY | O_NONBLOCK);
	flags_are(both, O_RDWR | O_NONBLOCK);
	EQUAL(read(calm, back, sizeof back), 6);
	EQUAL(read(calm, back, 1), -1);
	EQUAL(errno, EAGAIN);
	flags_are(packets, O_WRONLY | O_NONBLOCK | O_DIRECT);
	flags_are(mixed[1], O_WRONLY | O_NONBLOCK);
	EQUAL(read(mixed[0], back, 2), 2);
	EQUAL(read(mixed[0], back, 100), 1);
	EQUAL(read(mixed[0], back, 4), 4);
	EQUAL(read(mixed[0], back, 4), 2);
	EQUAL(write(full[1], "x", 1), -1);
	EQUAL(errno, EAGAIN);
	EQUAL(read(full[0], back, sizeof back), 8192);
	flags_are(gone_writer, O_WRONLY | O_APPEND);
	EQUAL(read(gone_reader, back, 100), 8);
	EQUAL(write(gone_writer, "more", 4), 4);
	EQUAL(read(gone_reader, back, 100), 4);
	EQUAL(now(only_reads), 0);
	EQUAL(read(only_reads, back, 1), 0);
	EQUAL(now(only_writes) & POLLERR, POLLERR);
	EQUAL(write(only_writes, "x", 1), -1);
	EQUAL(errno, EPIPE);
	PASS();
}
