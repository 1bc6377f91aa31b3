/* Unix socket pairs (stream, datagram, seqpacket) keep bytes in flight, message borders, options and shutdown. */
#include "check.h"
#include <sys/socket.h>

static void pair(int type, int *ends)
{
	OK(socketpair(AF_UNIX, type | SOCK_NONBLOCK, 0, ends));
}

int main(int argc, char **argv)
{
	check_init(argc, argv);
	int stream[2], datagram[2], packet[2], half[2], widowed[2];
	char bytes[65536], data[40000];
	check_fill(data, sizeof data, 2);
	pair(SOCK_STREAM, stream);
	pair(SOCK_DGRAM, datagram);
	pair(SOCK_SEQPACKET, packet);
	pair(SOCK_STREAM, half);
	pair(SOCK_STREAM, widowed);
	EQUAL(write(stream[0], data, sizeof data), sizeof data);
	EQUAL(write(stream[1], "other way", 9), 9);
	for (size_t i = 1; i <= 4; i++) {
		EQUAL(write(datagram[0], data, i * 100), (long)i * 100);
		EQUAL(write(packet[1], data, i * 10), (long)i * 10);
	}
	OK(shutdown(half[0], SHUT_WR));
	EQUAL(write(widowed[0], "bye", 3), 3);
	close(widowed[0]);
	OK(setsockopt(stream[0], SOL_SOCKET, SO_PASSCRED, &(int){ 1 }, sizeof(int)));
	check_wait();
	DAMAGE(read(datagram[1], bytes, 1));
	EQUAL(recv(stream[1], bytes, sizeof bytes, 0), sizeof data);
	CHECK(memcmp(bytes, data, sizeof data) == 0, "bytes in the stream");
	EQUAL(read(stream[0], bytes, sizeof bytes), 9);
	EQUAL(read(stream[0], bytes, 1), -1);
	EQUAL(errno, EAGAIN);
	for (int i = 1; i <= 4; i++) {
		EQUAL(read(datagram[1], bytes, sizeof bytes), i * 100);
		EQUAL(read(packet[0], bytes, sizeof bytes), i * 10);
	}
	EQUAL(read(half[1], bytes, 1), 0);
	EQUAL(write(half[1], "x", 1), 1);
	EQUAL(read(half[0], bytes, 1), 1);
	EQUAL(read(widowed[1], bytes, 10), 3);
	EQUAL(read(widowed[1], bytes, 10), 0);
	int option = 0;
	socklen_t length = sizeof option;
	OK(getsockopt(stream[0], SOL_SOCKET, SO_PASSCRED, &option, &length));
	EQUAL(option, 1);
	PASS();
}
