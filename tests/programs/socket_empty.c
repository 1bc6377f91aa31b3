/* Empty messages keep their places among others, and are not the end of the file. */
#include "check.h"
#include <sys/socket.h>

static const int sizes[] = { 0, 5, 0, 0, 9, 0 };
static char bytes[16];

static void receive(int fd)
{
	for (size_t i = 0; i < LENGTH(sizes); i++)
		EQUAL(read(fd, bytes, sizeof bytes), sizes[i]);
}

int main(int argc, char **argv)
{
	check_init(argc, argv);
	int packet[2], datagram[2];
	OK(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, packet));
	OK(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0, datagram));
	for (size_t i = 0; i < LENGTH(sizes); i++) {
		EQUAL(send(packet[0], "some bytes", (size_t)sizes[i], 0), sizes[i]);
		EQUAL(send(datagram[0], "some bytes", (size_t)sizes[i], 0), sizes[i]);
	}
	OK(shutdown(packet[0], SHUT_WR));
	check_wait();
	DAMAGE(read(packet[1], bytes, 1));
	receive(packet[1]);
	EQUAL(read(packet[1], bytes, 1), 0);
	EQUAL(write(packet[1], "back", 4), 4);
	receive(datagram[1]);
	EQUAL(read(datagram[1], bytes, 1), -1);
	EQUAL(errno, EAGAIN);
	PASS();
}
