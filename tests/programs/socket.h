/* Internet sockets of the test programs. */
#ifndef SOCKET_H
#define SOCKET_H
#include "check.h"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

union address {
	struct sockaddr any;
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;
	unsigned char bytes[28];
};

static UNUSED socklen_t socket_length(int family)
{
	return family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6);
}

/* The loopback address, in IPv6 also the one of IPv4 in it. */
static UNUSED union address socket_loopback(int family, bool mapped)
{
	union address address = { .any.sa_family = family };
	if (family == AF_INET) {
		address.v4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	} else if (mapped) {
		OK(inet_pton(AF_INET6, "::ffff:127.0.0.1", &address.v6.sin6_addr) - 1);
	} else {
		address.v6.sin6_addr = in6addr_loopback;
	}
	return address;
}

static UNUSED union address socket_name(int fd)
{
	union address address = { 0 };
	socklen_t length = sizeof address;
	OK(getsockname(fd, &address.any, &length));
	return address;
}

/* Also of a connection that is over (SO_PEERNAME). */
static UNUSED union address socket_peer(int fd)
{
	union address address = { 0 };
	socklen_t length = socket_length(socket_name(fd).any.sa_family);
	OK(getsockopt(fd, SOL_SOCKET, SO_PEERNAME, &address, &length));
	return address;
}

static UNUSED void socket_same(union address got, union address wanted)
{
	EQUAL(got.any.sa_family, wanted.any.sa_family);
	EQUAL(got.v4.sin_port, wanted.v4.sin_port);
	CHECK(memcmp(&got, &wanted, sizeof got) == 0, "an address");
}

static UNUSED int socket_listen(int family, int backlog)
{
	int fd = socket(family, SOCK_STREAM, 0);
	OK(fd);
	/* As servers do: connections that were closed with the computation are not in the way of the next one. */
	OK(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &(int){ 1 }, sizeof(int)));
	union address address = { .any.sa_family = family };
	OK(bind(fd, &address.any, socket_length(family)));
	OK(listen(fd, backlog));
	return fd;
}

static UNUSED int socket_connect(int family, bool mapped, int listener)
{
	union address address = socket_loopback(family, mapped);
	address.v4.sin_port = socket_name(listener).v4.sin_port;
	int fd = socket(family, SOCK_STREAM, 0);
	OK(fd);
	OK(connect(fd, &address.any, socket_length(family)));
	return fd;
}

static UNUSED void socket_put(int fd, const char *text)
{
	EQUAL(send(fd, text, strlen(text), MSG_NOSIGNAL), (ssize_t)strlen(text));
}

static UNUSED void socket_get(int fd, const char *text)
{
	char got[256] = { 0 };
	EQUAL(recv(fd, got, strlen(text), MSG_WAITALL), (ssize_t)strlen(text));
	CHECK(strcmp(got, text) == 0, "“%s”, not “%s”", got, text);
}

static UNUSED int socket_option(int fd, int level, int name)
{
	int value = 0;
	socklen_t length = sizeof value;
	OK(getsockopt(fd, level, name, &value, &length));
	return value;
}

static UNUSED void socket_set(int fd, int level, int name, int value)
{
	OK(setsockopt(fd, level, name, &value, sizeof value));
}
#endif
