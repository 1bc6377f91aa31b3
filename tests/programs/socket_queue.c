/* Whatever waits in a Unix socket pair waits there again: both ways, messages of any size, a half read stream. */
#include "check.h"
#include <sys/socket.h>
#include <sys/wait.h>

static char bytes[300000], data[300000];

static void pair(int type, int *ends)
{
	OK(socketpair(AF_UNIX, type | SOCK_NONBLOCK, 0, ends));
}

/* Writes pieces until there is no room. */
static long fill(int fd, size_t piece)
{
	long sum = 0;
	while (write(fd, data + sum, piece) == (long)piece)
		sum += (long)piece;
	EQUAL(errno, EAGAIN);
	return sum;
}

static void drained(int fd)
{
	EQUAL(read(fd, bytes, 1), -1);
	EQUAL(errno, EAGAIN);
}

static void set(int fd, int name, int value)
{
	OK(setsockopt(fd, SOL_SOCKET, name, &value, sizeof value));
}

static int get(int fd, int name)
{
	int value = 0;
	socklen_t length = sizeof value;
	OK(getsockopt(fd, SOL_SOCKET, name, &value, &length));
	return value;
}

static const size_t sizes[] = { 1, 70000, 4096, 17, 32768 };

static void send_sizes(int fd)
{
	for (size_t i = 0; i < LENGTH(sizes); i++)
		EQUAL(send(fd, data + i, sizes[i], 0), sizes[i]);
}

static void receive_sizes(int fd)
{
	for (size_t i = 0; i < LENGTH(sizes); i++) {
		EQUAL(recv(fd, bytes, sizeof bytes, MSG_TRUNC), sizes[i]);
		CHECK(memcmp(bytes, data + i, sizes[i]) == 0, "message %zu", i);
	}
	drained(fd);
}

/* The child answers what the parent asks. */
static void serve(int fd)
{
	char question[8];
	while (read(fd, question, sizeof question) == sizeof question)
		if (write(fd, question, sizeof question) != sizeof question)
			break;
	_exit(7);
}

int main(int argc, char **argv)
{
	check_init(argc, argv);
	check_fill(data, sizeof data, 5);
	int stream[2], small[2], packet[2], datagram[2], peek[2], apart[2];
	pair(SOCK_STREAM, stream);
	pair(SOCK_STREAM, small);
	pair(SOCK_SEQPACKET, packet);
	pair(SOCK_DGRAM, datagram);
	pair(SOCK_STREAM, peek);
	OK(socketpair(AF_UNIX, SOCK_STREAM, 0, apart));
	long full = fill(stream[0], 9000), back = fill(stream[1], 777);
	EQUAL(read(stream[1], bytes, 10001), 10001);
	set(small[0], SO_SNDBUF, 3000);
	set(small[1], SO_RCVBUF, 5000);
	int send_buffer = get(small[0], SO_SNDBUF), receive_buffer = get(small[1], SO_RCVBUF);
	long little = fill(small[0], 1);
	send_sizes(packet[0]);
	send_sizes(packet[1]);
	send_sizes(datagram[0]);
	send_sizes(datagram[1]);
	EQUAL(write(peek[0], "0123456789", 10), 10);
	set(peek[1], SO_PEEK_OFF, 4);
	EQUAL(recv(peek[1], bytes, 2, MSG_PEEK), 2);
	struct timeval timeout = { 1, 500000 };
	OK(setsockopt(peek[0], SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout));
	pid_t child = fork();
	OK(child);
	if (child == 0) {
		close(apart[0]);
		serve(apart[1]);
	}
	close(apart[1]);
	check_wait();
	DAMAGE(read(packet[0], bytes, 1));
	EQUAL(recv(stream[1], bytes, sizeof bytes, 0), full - 10001);
	CHECK(memcmp(bytes, data + 10001, (size_t)full - 10001) == 0, "half read stream");
	EQUAL(recv(stream[0], bytes, sizeof bytes, 0), back);
	CHECK(memcmp(bytes, data, (size_t)back) == 0, "stream back");
	drained(stream[0]);
	drained(stream[1]);
	EQUAL(get(small[0], SO_SNDBUF), send_buffer);
	EQUAL(get(small[1], SO_RCVBUF), receive_buffer);
	EQUAL(recv(small[1], bytes, sizeof bytes, 0), little);
	CHECK(memcmp(bytes, data, (size_t)little) == 0, "small stream");
	EQUAL(fill(small[0], 1), little);
	receive_sizes(packet[0]);
	receive_sizes(packet[1]);
	receive_sizes(datagram[0]);
	receive_sizes(datagram[1]);
	EQUAL(get(peek[1], SO_PEEK_OFF), 6);
	EQUAL(get(peek[0], SO_PEEK_OFF), -1);
	EQUAL(recv(peek[1], bytes, 4, MSG_PEEK), 4);
	CHECK(memcmp(bytes, "6789", 4) == 0, "peek offset");
	EQUAL(recv(peek[1], bytes, 20, 0), 10);
	struct timeval now;
	socklen_t length = sizeof now;
	OK(getsockopt(peek[0], SOL_SOCKET, SO_RCVTIMEO, &now, &length));
	EQUAL(now.tv_sec * 1000000 + now.tv_usec, 1500000);
	EQUAL(write(apart[0], "question", 8), 8);
	EQUAL(recv(apart[0], bytes, 8, MSG_WAITALL), 8);
	CHECK(memcmp(bytes, "question", 8) == 0, "answer");
	close(apart[0]);
	int status;
	EQUAL(waitpid(child, &status, 0), child);
	EQUAL(WEXITSTATUS(status), 7);
	PASS();
}
