/* Pipes keep the bytes in flight, capacity, flags and packet borders; named pipes too. */
#include "check.h"

int main(int argc, char **argv)
{
	check_init(argc, argv);
	int stream[2], big[2], packets[2], empty[2], closed[2], writer_only[2], named;
	static char data[200000], back[200000];
	check_fill(data, sizeof data, 1);
	OK(pipe2(stream, O_NONBLOCK));
	EQUAL(write(stream[1], data, 30000), 30000);
	EQUAL(read(stream[0], back, 10000), 10000);
	OK(pipe2(big, O_NONBLOCK | O_CLOEXEC));
	int capacity = fcntl(big[1], F_SETPIPE_SZ, 262144);
	OK(capacity);
	EQUAL(write(big[1], data, sizeof data), sizeof data);
	OK(pipe2(packets, O_DIRECT | O_NONBLOCK));
	for (int i = 1; i <= 5; i++)
		EQUAL(write(packets[1], data, (size_t)i * 10), i * 10);
	OK(pipe2(empty, O_NONBLOCK));
	OK(pipe(closed));
	EQUAL(write(closed[1], "last words", 10), 10);
	close(closed[1]);
	OK(pipe(writer_only));
	close(writer_only[0]);
	char path[PATH_MAX];
	check_path(path, "fifo");
	OK(mkfifo(path, 0600));
	named = open(path, O_RDWR | O_NONBLOCK);
	EQUAL(write(named, "named", 5), 5);
	signal(SIGPIPE, SIG_IGN);
	check_wait();
	DAMAGE(read(stream[0], back, 1));
	EQUAL(read(stream[0], back, sizeof back), 20000);
	CHECK(memcmp(back, data + 10000, 20000) == 0, "bytes in the pipe");
	EQUAL(read(stream[0], back, 1), -1);
	EQUAL(errno, EAGAIN);
	EQUAL(fcntl(big[0], F_GETPIPE_SZ), capacity);
	EQUAL(fcntl(big[0], F_GETFD), FD_CLOEXEC);
	EQUAL(read(big[0], back, sizeof back), sizeof back);
	CHECK(memcmp(back, data, sizeof data) == 0, "bytes in the big pipe");
	for (int i = 1; i <= 5; i++)
		EQUAL(read(packets[0], back, sizeof back), i * 10);
	EQUAL(read(empty[0], back, 1), -1);
	EQUAL(errno, EAGAIN);
	EQUAL(write(empty[1], "x", 1), 1);
	EQUAL(read(empty[0], back, 1), 1);
	EQUAL(read(closed[0], back, 100), 10);
	EQUAL(read(closed[0], back, 100), 0);
	EQUAL(write(writer_only[1], "x", 1), -1);
	EQUAL(errno, EPIPE);
	EQUAL(read(named, back, 100), 5);
	struct stat before, now;
	OK(fstat(named, &before));
	OK(stat(path, &now));
	EQUAL(before.st_ino, now.st_ino);
	int other = open(path, O_WRONLY | O_NONBLOCK);
	OK(other);
	EQUAL(write(other, "by name", 7), 7);
	EQUAL(read(named, back, 100), 7);
	PASS();
}
