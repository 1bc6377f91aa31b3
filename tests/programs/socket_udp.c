/* UDP: messages that wait, with their senders; connected, shut down, not bound. */
#include "socket.h"

static int make(int family)
{
	int fd = socket(family, SOCK_DGRAM, 0);
	OK(fd);
	union address address = socket_loopback(family, false);
	OK(bind(fd, &address.any, socket_length(family)));
	return fd;
}

static void send_to(int from, int to, const char *text)
{
	union address address = socket_name(to);
	EQUAL(sendto(from, text, strlen(text), 0, &address.any, socket_length(address.any.sa_family)),
	      (ssize_t)strlen(text));
}

static void arrives(int at, const char *text, union address sender)
{
	char got[64] = { 0 };
	union address from = { 0 };
	socklen_t length = sizeof from;
	EQUAL(recvfrom(at, got, sizeof got, MSG_DONTWAIT, &from.any, &length), (ssize_t)strlen(text));
	CHECK(strcmp(got, text) == 0, "“%s”, not “%s”", got, text);
	socket_same(from, sender);
}

int main(int argc, char **argv)
{
	check_init(argc, argv);
	int a = make(AF_INET), b = make(AF_INET), c = make(AF_INET), six = make(AF_INET6), other = make(AF_INET6);
	int gone = make(AF_INET), mute = make(AF_INET), lite = socket(AF_INET, SOCK_DGRAM, IPPROTO_UDPLITE);
	union address names[] = { socket_name(a), socket_name(b), socket_name(c), socket_name(six), socket_name(other),
				  socket_name(gone) };
	send_to(b, a, "one");
	send_to(c, a, "two");
	send_to(b, a, "three");
	send_to(gone, a, "four");
	OK(close(gone));
	send_to(other, six, "sixth");
	OK(connect(c, &names[1].any, sizeof names[1].v4));
	OK(connect(mute, &names[1].any, sizeof names[1].v4));
	OK(shutdown(mute, SHUT_WR));
	check_wait();
	DAMAGE(arrives(a, "one", names[1]));
	arrives(a, "one", names[1]);
	arrives(a, "two", names[2]);
	arrives(a, "three", names[1]);
	arrives(a, "four", names[5]);
	arrives(six, "sixth", names[4]);
	EQUAL(send(c, "five", 4, 0), 4);
	arrives(b, "five", names[2]);
	socket_same(socket_peer(c), names[1]);
	EQUAL(send(mute, "x", 1, MSG_NOSIGNAL), -1);
	EQUAL(errno, EPIPE);
	if (lite >= 0)
		EQUAL(socket_option(lite, SOL_SOCKET, SO_PROTOCOL), IPPROTO_UDPLITE);
	PASS();
}
