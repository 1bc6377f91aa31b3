/* Options of internet sockets, and a filter that is locked. */
#include "socket.h"
#include <linux/filter.h>

struct option {
	int level, name, value;
};

static const struct option tcp[] = {
	{ SOL_SOCKET, SO_REUSEADDR, 1 },	  { SOL_SOCKET, SO_REUSEPORT, 1 },   { SOL_SOCKET, SO_KEEPALIVE, 1 },
	{ SOL_SOCKET, SO_OOBINLINE, 1 },	  { SOL_SOCKET, SO_RCVLOWAT, 9 },
	{ SOL_SOCKET, SO_DONTROUTE, 1 },	  { SOL_SOCKET, SO_ZEROCOPY, 1 },    { IPPROTO_TCP, TCP_NODELAY, 1 },
	{ IPPROTO_TCP, TCP_CORK, 1 },		  { IPPROTO_TCP, TCP_MAXSEG, 1234 }, { IPPROTO_TCP, TCP_KEEPINTVL, 12 },
	{ IPPROTO_TCP, TCP_KEEPCNT, 4 },	  { IPPROTO_TCP, TCP_SYNCNT, 3 },    { IPPROTO_TCP, TCP_LINGER2, 7 },
	{ IPPROTO_TCP, TCP_USER_TIMEOUT, 12345 }, { IPPROTO_TCP, TCP_SAVE_SYN, 1 },  { IPPROTO_TCP, TCP_NOTSENT_LOWAT, 9999 },
	{ IPPROTO_IP, IP_TOS, 0x10 },		  { IPPROTO_IP, IP_TTL, 33 },	     { IPPROTO_IP, IP_FREEBIND, 1 },
	{ IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1 }, { SOL_SOCKET, SO_PRIORITY, 3 },
};
static const struct option udp[] = {
	{ SOL_SOCKET, SO_BROADCAST, 1 },      { SOL_SOCKET, SO_TIMESTAMPNS, 1 },   { SOL_SOCKET, SO_RXQ_OVFL, 1 },
	{ SOL_SOCKET, SO_NO_CHECK, 1 },	      { IPPROTO_IP, IP_PKTINFO, 1 },	   { IPPROTO_IP, IP_RECVTTL, 1 },
	{ IPPROTO_IP, IP_RECVERR, 1 },	      { IPPROTO_IP, IP_MULTICAST_TTL, 5 }, { IPPROTO_IP, IP_MULTICAST_LOOP, 0 },
	{ IPPROTO_IP, IP_MULTICAST_ALL, 0 },  { IPPROTO_IP, IP_MTU_DISCOVER, 2 },
};
static const struct option six[] = {
	{ IPPROTO_IPV6, IPV6_V6ONLY, 1 },	  { IPPROTO_IPV6, IPV6_UNICAST_HOPS, 9 }, { IPPROTO_IPV6, IPV6_TCLASS, 0x20 },
	{ IPPROTO_IPV6, IPV6_RECVPKTINFO, 1 },	  { IPPROTO_IPV6, IPV6_RECVHOPLIMIT, 1 }, { IPPROTO_IPV6, IPV6_RECVTCLASS, 1 },
	{ IPPROTO_IPV6, IPV6_MULTICAST_HOPS, 4 }, { IPPROTO_IPV6, IPV6_RECVERR, 1 },
};

static void set(int fd, const struct option *options, size_t count)
{
	for (size_t i = 0; i < count; i++)
		CHECK(setsockopt(fd, options[i].level, options[i].name, &options[i].value, sizeof(int)) == 0,
		      "option %d of level %d", options[i].name, options[i].level);
}

static void check(int fd, const struct option *options, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		int value = socket_option(fd, options[i].level, options[i].name);
		CHECK(value == options[i].value, "option %d of level %d is %d", options[i].name, options[i].level, value);
	}
}

int main(int argc, char **argv)
{
	check_init(argc, argv);
	int stream = socket(AF_INET, SOCK_STREAM, 0), datagram = socket(AF_INET, SOCK_DGRAM, 0);
	int datagram6 = socket(AF_INET6, SOCK_DGRAM, 0);
	set(stream, tcp, LENGTH(tcp));
	set(datagram, udp, LENGTH(udp));
	set(datagram6, six, LENGTH(six));
	OK(setsockopt(stream, IPPROTO_TCP, TCP_CONGESTION, "reno", 4));
	OK(setsockopt(datagram, SOL_SOCKET, SO_BINDTODEVICE, "lo", 3));
	struct sock_filter code[] = { { 0x06, 0, 0, 0xffff } };
	struct sock_fprog filter = { LENGTH(code), code };
	OK(setsockopt(datagram, SOL_SOCKET, SO_ATTACH_FILTER, &filter, sizeof filter));
	socket_set(datagram, SOL_SOCKET, SO_LOCK_FILTER, 1);
	check_wait();
	DAMAGE(socket_set(stream, IPPROTO_TCP, TCP_KEEPCNT, 5));
	check(stream, tcp, LENGTH(tcp));
	check(datagram, udp, LENGTH(udp));
	check(datagram6, six, LENGTH(six));
	char text[16] = { 0 };
	socklen_t length = sizeof text;
	OK(getsockopt(stream, IPPROTO_TCP, TCP_CONGESTION, text, &length));
	CHECK(strcmp(text, "reno") == 0, "%s", text);
	length = sizeof text;
	OK(getsockopt(datagram, SOL_SOCKET, SO_BINDTODEVICE, text, &length));
	CHECK(strcmp(text, "lo") == 0, "%s", text);
	struct sock_filter got[8] = { 0 };
	length = LENGTH(got);
	OK(getsockopt(datagram, SOL_SOCKET, SO_GET_FILTER, got, &length));
	EQUAL(length, LENGTH(code));
	CHECK(memcmp(got, code, sizeof code) == 0, "the filter");
	EQUAL(setsockopt(datagram, SOL_SOCKET, SO_DETACH_FILTER, &length, sizeof length), -1);
	EQUAL(errno, EPERM);
	PASS();
}
