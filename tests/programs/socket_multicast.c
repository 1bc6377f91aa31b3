/* A socket in multicast groups of IPv4 and IPv6: what is sent to them still arrives. */
#include "socket.h"
#include <net/if.h>

int main(int argc, char **argv)
{
	check_init(argc, argv);
	int four = socket(AF_INET, SOCK_DGRAM, 0), six = socket(AF_INET6, SOCK_DGRAM, 0);
	union address name = { .any.sa_family = AF_INET }, name6 = { .any.sa_family = AF_INET6 };
	OK(bind(four, &name.any, sizeof name.v4));
	OK(bind(six, &name6.any, sizeof name6.v6));
	struct ip_mreqn join = { .imr_ifindex = (int)if_nametoindex("lo") };
	join.imr_multiaddr.s_addr = inet_addr("239.1.2.3");
	OK(setsockopt(four, IPPROTO_IP, IP_ADD_MEMBERSHIP, &join, sizeof join));
	struct ipv6_mreq join6 = { .ipv6mr_interface = if_nametoindex("lo") };
	OK(inet_pton(AF_INET6, "ff15::1234", &join6.ipv6mr_multiaddr) - 1);
	OK(setsockopt(six, IPPROTO_IPV6, IPV6_ADD_MEMBERSHIP, &join6, sizeof join6));
	check_wait();
	DAMAGE(OK(setsockopt(six, IPPROTO_IPV6, IPV6_DROP_MEMBERSHIP, &join6, sizeof join6)));
	EQUAL(setsockopt(four, IPPROTO_IP, IP_ADD_MEMBERSHIP, &join, sizeof join), -1);
	EQUAL(errno, EADDRINUSE);
	EQUAL(setsockopt(six, IPPROTO_IPV6, IPV6_ADD_MEMBERSHIP, &join6, sizeof join6), -1);
	EQUAL(errno, EADDRINUSE);
	int from = socket(AF_INET, SOCK_DGRAM, 0);
	struct ip_mreqn by = { .imr_ifindex = join.imr_ifindex };
	OK(setsockopt(from, IPPROTO_IP, IP_MULTICAST_IF, &by, sizeof by));
	name = socket_name(four);
	name.v4.sin_addr = join.imr_multiaddr;
	EQUAL(sendto(from, "all", 3, 0, &name.any, sizeof name.v4), 3);
	struct pollfd look = { .fd = four, .events = POLLIN };
	EQUAL(poll(&look, 1, 5000), 1);
	socket_get(four, "all");
	PASS();
}
