/* A client of a server outside of the computation: outside BASE PORT END
 *
 * Connects, tells BASE.ready, waits for BASE.go; then the connection must have come to this END (closed, reset), or go on
 * (open). The verdict is in BASE.result. */
#include "../socket.h"

int main(int argc, char **argv)
{
	check_init(argc, argv);
	CHECK(argc > 3, "arguments");
	union address address = socket_loopback(AF_INET, false);
	address.v4.sin_port = htons((uint16_t)atoi(argv[2]));
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	OK(connect(fd, &address.any, sizeof address.v4));
	socket_get(fd, "hello");
	check_wait();
	char bytes[16];
	socket_get(fd, "unread");
	errno = 0;
	ssize_t got = recv(fd, bytes, sizeof bytes, MSG_DONTWAIT);
	if (strcmp(argv[3], "closed") == 0) {
		EQUAL(got, 0);
	} else {
		EQUAL(got, -1);
		EQUAL(errno, strcmp(argv[3], "reset") == 0 ? ECONNRESET : EAGAIN);
	}
	PASS();
}
