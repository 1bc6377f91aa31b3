/* TCP connections of which both ends are open: bytes in flight in both directions, addresses, options, of IPv4, IPv6 and
 * one in the other; the socket that listens goes on. */
#include "socket.h"

struct connection {
	int listener, client, server;
	union address names[4];
};

static struct connection make(int server_family, int client_family, bool mapped)
{
	struct connection one = { .listener = socket_listen(server_family, 7) };
	one.client = socket_connect(client_family, mapped, one.listener);
	one.server = accept(one.listener, NULL, NULL);
	OK(one.server);
	one.names[0] = socket_name(one.client);
	one.names[1] = socket_peer(one.client);
	one.names[2] = socket_name(one.server);
	one.names[3] = socket_peer(one.server);
	socket_put(one.client, "to the ");
	socket_put(one.client, "server");
	socket_put(one.server, "to the client");
	return one;
}

static void check(struct connection *one, int client_family, bool mapped)
{
	socket_same(socket_name(one->client), one->names[0]);
	socket_same(socket_peer(one->client), one->names[1]);
	socket_same(socket_name(one->server), one->names[2]);
	socket_same(socket_peer(one->server), one->names[3]);
	socket_get(one->server, "to the server");
	socket_get(one->client, "to the client");
	socket_put(one->client, "and on");
	socket_get(one->server, "and on");
	socket_put(one->server, "and back");
	socket_get(one->client, "and back");
	int another = socket_connect(client_family, mapped, one->listener);
	int accepted = accept(one->listener, NULL, NULL);
	OK(accepted);
	socket_put(another, "new");
	socket_get(accepted, "new");
	OK(close(one->client));
	char byte;
	EQUAL(read(one->server, &byte, 1), 0);
}

int main(int argc, char **argv)
{
	check_init(argc, argv);
	struct connection four = make(AF_INET, AF_INET, false);
	struct connection six = make(AF_INET6, AF_INET6, false);
	struct connection four_in_six = make(AF_INET6, AF_INET, false);
	struct connection mapped = make(AF_INET6, AF_INET6, true);
	socket_set(four.client, IPPROTO_TCP, TCP_NODELAY, 1);
	socket_set(four.client, SOL_SOCKET, SO_KEEPALIVE, 1);
	socket_set(four.client, IPPROTO_TCP, TCP_KEEPIDLE, 77);
	socket_set(four.server, IPPROTO_TCP, TCP_CORK, 1);
	struct linger linger = { 1, 5 };
	OK(setsockopt(four.server, SOL_SOCKET, SO_LINGER, &linger, sizeof linger));
	socket_set(four.server, SOL_SOCKET, SO_RCVBUF, 30000);
	int reuse = socket_option(four.server, SOL_SOCKET, SO_REUSEADDR);
	int quiet = fcntl(four.client, F_GETFL);
	check_wait();
	DAMAGE(socket_put(six.client, "!"));
	EQUAL(socket_option(four.client, IPPROTO_TCP, TCP_NODELAY), 1);
	EQUAL(socket_option(four.client, SOL_SOCKET, SO_KEEPALIVE), 1);
	EQUAL(socket_option(four.client, IPPROTO_TCP, TCP_KEEPIDLE), 77);
	EQUAL(socket_option(four.server, IPPROTO_TCP, TCP_CORK), 1);
	EQUAL(socket_option(four.server, SOL_SOCKET, SO_RCVBUF), 60000);
	EQUAL(socket_option(four.server, SOL_SOCKET, SO_REUSEADDR), reuse);
	EQUAL(fcntl(four.client, F_GETFL), quiet);
	struct linger now = { 0 };
	socklen_t length = sizeof now;
	OK(getsockopt(four.server, SOL_SOCKET, SO_LINGER, &now, &length));
	EQUAL(now.l_linger, 5);
	socket_set(four.server, IPPROTO_TCP, TCP_CORK, 0);
	check(&four, AF_INET, false);
	check(&six, AF_INET6, false);
	check(&four_in_six, AF_INET, false);
	check(&mapped, AF_INET6, true);
	PASS();
}
