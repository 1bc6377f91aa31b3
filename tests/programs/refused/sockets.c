/* Sockets that cannot be checkpointed. */
#include "refused.h"
#include "../socket.h"
#include "../unix.h"
#include <linux/bpf.h>
#include <linux/filter.h>
#include <linux/if_packet.h>
#include <linux/net_tstamp.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <netinet/udp.h>

static void raw(int family, int type, int protocol)
{
	int fd = socket(family, type | SOCK_CLOEXEC, protocol);
	if (fd == -1)
		SKIP("socket: %s", strerror(errno));
	held(fd);
}

static void packet(const char *unused)
{
	(void)unused;
	own_namespaces(CLONE_NEWNET);
	raw(AF_PACKET, SOCK_RAW, 0);
}

static void icmp(const char *unused)
{
	(void)unused;
	own_namespaces(CLONE_NEWNET);
	raw(AF_INET, SOCK_RAW, IPPROTO_ICMP);
}

static void vsock(const char *unused)
{
	(void)unused;
	raw(AF_VSOCK, SOCK_STREAM, 0);
}

static void other_family(const char *unused)
{
	(void)unused;
	static const int families[][2] = {
		{ AF_ALG, SOCK_SEQPACKET }, { AF_TIPC, SOCK_DGRAM }, { AF_RDS, SOCK_SEQPACKET }, { AF_KCM, SOCK_DGRAM }, { AF_SMC, SOCK_STREAM }
	};
	for (size_t i = 0; i < LENGTH(families); i++) {
		int fd = socket(families[i][0], families[i][1] | SOCK_CLOEXEC, 0);
		if (fd != -1)
			return held(fd);
	}
	SKIP("this kernel has no other families of sockets");
}

static void filter(const char *unused)
{
	(void)unused;
	struct bpf_insn code[] = {
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .imm = 65535 },
		{ .code = BPF_JMP | BPF_EXIT },
	};
	union bpf_attr attributes = { .prog_type = BPF_PROG_TYPE_SOCKET_FILTER, .insns = (uintptr_t)code,
				      .insn_cnt = LENGTH(code), .license = (uintptr_t) "GPL" };
	int program = (int)syscall(SYS_bpf, BPF_PROG_LOAD, &attributes, sizeof attributes);
	if (program == -1)
		SKIP("bpf: %s", strerror(errno));
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	OK(fd);
	OK(setsockopt(fd, SOL_SOCKET, SO_ATTACH_BPF, &program, sizeof program));
	OK(close(program));
	held(fd);
}

static int mptcp_listener(void)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, IPPROTO_MPTCP);
	if (fd == -1)
		SKIP("no MPTCP here: %s", strerror(errno));
	union address name = { .any.sa_family = AF_INET };
	OK(bind(fd, &name.any, sizeof name.v4));
	OK(listen(fd, 9));
	return fd;
}

static int mptcp_client(int server)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, IPPROTO_MPTCP);
	OK(fd);
	union address name = socket_loopback(AF_INET, false);
	name.v4.sin_port = socket_name(server).v4.sin_port;
	OK(connect(fd, &name.any, sizeof name.v4));
	return fd;
}

static void mptcp(const char *unused)
{
	(void)unused;
	int server = mptcp_listener(), client = mptcp_client(server), accepted = accept(server, NULL, NULL);
	OK(accepted);
	check_wait();
	socket_put(client, "text");
	socket_get(accepted, "text");
}

static void mptcp_waiting(const char *unused)
{
	(void)unused;
	int server = mptcp_listener(), client = socket_connect(AF_INET, false, server);
	check_wait();
	int accepted = accept(server, NULL, NULL);
	OK(accepted);
	socket_put(client, "text");
	socket_get(accepted, "text");
}

static void tcp_with_itself(const char *unused)
{
	(void)unused;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	union address name = socket_loopback(AF_INET, false);
	OK(bind(fd, &name.any, sizeof name.v4));
	name = socket_name(fd);
	OK(connect(fd, &name.any, sizeof name.v4));
	check_wait();
	socket_put(fd, "text");
	socket_get(fd, "text");
}

/* A time stamp of what was sent waits where errors do. */
static void tcp_error(const char *unused)
{
	(void)unused;
	int server = socket_listen(AF_INET, 5), client = socket_connect(AF_INET, false, server);
	int accepted = accept(server, NULL, NULL);
	socket_set(client, SOL_SOCKET, SO_TIMESTAMPING,
		   SOF_TIMESTAMPING_TX_SOFTWARE | SOF_TIMESTAMPING_SOFTWARE | SOF_TIMESTAMPING_OPT_TSONLY);
	socket_put(client, "text");
	struct pollfd poll_error = { .fd = client };
	EQUAL(poll(&poll_error, 1, 5000), 1);
	check_wait();
	socket_get(accepted, "text");
	char bytes[8];
	EQUAL(recv(client, bytes, sizeof bytes, MSG_ERRQUEUE | MSG_DONTWAIT), 0);
}

static void tcp_early(const char *unused)
{
	(void)unused;
	int server = socket_listen(AF_INET, 5), client = socket_connect(AF_INET, false, server);
	socket_put(client, "early");
	check_wait();
	socket_get(accept(server, NULL, NULL), "early");
}

static void tcp_early_and_closed(const char *unused)
{
	(void)unused;
	int server = socket_listen(AF_INET, 5), client = socket_connect(AF_INET, false, server);
	socket_put(client, "early");
	OK(close(client));
	check_wait();
	socket_get(accept(server, NULL, NULL), "early");
}

/* Tells the test where it listens, which connects. */
static void tcp_from_outside(const char *unused)
{
	(void)unused;
	char port[16];
	int server = socket_listen(AF_INET, 5);
	snprintf(port, sizeof port, "%d", ntohs(socket_name(server).v4.sin_port));
	check_publish("port", port);
	check_wait();
	OK(accept(server, NULL, NULL));
}

static void udp_incomplete(const char *unused)
{
	(void)unused;
	union address name = socket_loopback(AF_INET, false);
	int receiver = socket(AF_INET, SOCK_DGRAM, 0), sender = socket(AF_INET, SOCK_DGRAM, 0);
	OK(bind(receiver, &name.any, sizeof name.v4));
	name = socket_name(receiver);
	OK(connect(sender, &name.any, sizeof name.v4));
	EQUAL(send(sender, "one", 3, MSG_MORE), 3);
	check_wait();
	socket_put(sender, "two");
	socket_get(receiver, "onetwo");
}

static void multicast(const char *unused)
{
	(void)unused;
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	OK(fd);
	struct ip_mreq_source some = { .imr_multiaddr.s_addr = htonl(0xe8010203),
				       .imr_interface.s_addr = htonl(INADDR_LOOPBACK),
				       .imr_sourceaddr.s_addr = htonl(INADDR_LOOPBACK) };
	if (setsockopt(fd, IPPROTO_IP, IP_ADD_SOURCE_MEMBERSHIP, &some, sizeof some) == -1)
		SKIP("IP_ADD_SOURCE_MEMBERSHIP: %s", strerror(errno));
	check_wait();
	OK(setsockopt(fd, IPPROTO_IP, IP_DROP_SOURCE_MEMBERSHIP, &some, sizeof some));
}

static void netlink(const char *unused)
{
	(void)unused;
	struct {
		struct nlmsghdr head;
		struct rtgenmsg body;
	} question = { { sizeof question, RTM_GETLINK, NLM_F_REQUEST | NLM_F_DUMP, 1, 0 }, { AF_UNSPEC } };
	char answer[8192];
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
	OK(fd);
	OK(send(fd, &question, sizeof question, 0));
	check_wait();
	CHECK(recv(fd, answer, sizeof answer, MSG_DONTWAIT) > 0, "no answer");
}

/* Its partner has turned to another one, and what was sent to that is lost: the next read fails. */
static void unix_error_with(const char *text)
{
	int pair[2];
	char bytes[8];
	OK(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0, pair));
	struct name name = abstract("other");
	bound(&name, SOCK_DGRAM);
	if (text[0])
		EQUAL(write(pair[0], text, strlen(text)), (ssize_t)strlen(text));
	EQUAL(write(pair[1], "lost", 4), 4);
	join(pair[0], &name);
	check_wait();
	EQUAL(read(pair[1], bytes, sizeof bytes), -1);
	EQUAL(errno, ECONNRESET);
	if (text[0])
		EQUAL(read(pair[1], bytes, sizeof bytes), (ssize_t)strlen(text));
}

static void unix_error(const char *unused)
{
	(void)unused;
	unix_error_with("");
}

static void unix_error_before_message(const char *unused)
{
	(void)unused;
	unix_error_with("text");
}

static void unix_closed_early(const char *unused)
{
	(void)unused;
	struct name name = abstract("listens");
	int server = listener(&name, SOCK_STREAM);
	OK(close(connected(&name, SOCK_STREAM)));
	check_wait();
	char byte;
	EQUAL(read(accept(server, NULL, NULL), &byte, 1), 0);
}

/* The test connects. */
static void unix_from_outside(const char *unused)
{
	(void)unused;
	struct name name = at_path("socket");
	int server = listener(&name, SOCK_STREAM);
	check_wait();
	OK(accept(server, NULL, NULL));
}

static void unix_of_other_network(const char *unused)
{
	(void)unused;
	int pair[2];
	own_namespaces(CLONE_NEWNET);
	OK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
	check_wait();
	exchange(pair[0], pair[1]);
}

int main(int argc, char **argv)
{
	static const struct kind kinds[] = {
		{ "packet", packet },
		{ "icmp", icmp },
		{ "vsock", vsock },
		{ "other-family", other_family },
		{ "filter", filter },
		{ "mptcp", mptcp },
		{ "mptcp-waiting", mptcp_waiting },
		{ "tcp-with-itself", tcp_with_itself },
		{ "tcp-error", tcp_error },
		{ "tcp-early", tcp_early },
		{ "tcp-early-and-closed", tcp_early_and_closed },
		{ "tcp-from-outside", tcp_from_outside },
		{ "udp-incomplete", udp_incomplete },
		{ "multicast", multicast },
		{ "netlink", netlink },
		{ "unix-error", unix_error },
		{ "unix-error-before-message", unix_error_before_message },
		{ "unix-closed-early", unix_closed_early },
		{ "unix-from-outside", unix_from_outside },
		{ "unix-of-other-network", unix_of_other_network },
	};
	return refused_main(argc, argv, kinds, LENGTH(kinds));
}
