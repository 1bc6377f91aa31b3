/* A netlink socket: its number, its groups, an option; it still asks and hears. */
#include "check.h"
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <sys/socket.h>

#define GROUPS (RTMGRP_LINK | RTMGRP_IPV4_ROUTE)

int main(int argc, char **argv)
{
	check_init(argc, argv);
	int fd = socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE), far = socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE);
	struct sockaddr_nl name = { .nl_family = AF_NETLINK, .nl_groups = GROUPS }, now = { 0 };
	socklen_t length = sizeof name;
	OK(bind(fd, (struct sockaddr *)&name, sizeof name));
	OK(getsockname(fd, (struct sockaddr *)&name, &length));
	int group = RTNLGRP_IPV4_NETCONF, yes = 1;
	OK(setsockopt(far, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &group, sizeof group));
	OK(setsockopt(fd, SOL_NETLINK, NETLINK_EXT_ACK, &yes, sizeof yes));
	check_wait();
	DAMAGE(group = RTNLGRP_LINK; OK(setsockopt(fd, SOL_NETLINK, NETLINK_DROP_MEMBERSHIP, &group, sizeof group)));
	OK(getsockname(fd, (struct sockaddr *)&now, &length));
	EQUAL(now.nl_pid, name.nl_pid);
	EQUAL(now.nl_groups, GROUPS);
	int ack = 0;
	length = sizeof ack;
	OK(getsockopt(fd, SOL_NETLINK, NETLINK_EXT_ACK, &ack, &length));
	EQUAL(ack, 1);
	unsigned int groups[8] = { 0 };
	length = sizeof groups;
	OK(getsockopt(far, SOL_NETLINK, NETLINK_LIST_MEMBERSHIPS, groups, &length));
	EQUAL(groups[(group - 1) / 32] >> (group - 1) % 32 & 1, 1);
	struct {
		struct nlmsghdr head;
		struct rtgenmsg message;
	} ask = { { sizeof ask, RTM_GETLINK, NLM_F_REQUEST | NLM_F_DUMP, 1, 0 }, { AF_UNSPEC } };
	EQUAL(send(fd, &ask, sizeof ask, 0), (ssize_t)sizeof ask);
	char answer[65536];
	CHECK(recv(fd, answer, sizeof answer, 0) > (ssize_t)sizeof ask, "an answer");
	EQUAL(((struct nlmsghdr *)answer)->nlmsg_type, RTM_NEWLINK);
	PASS();
}
