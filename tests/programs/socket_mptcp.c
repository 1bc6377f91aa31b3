/* A socket of MPTCP that listens, as servers in Go have it, with a client of ordinary TCP. */
#include "socket.h"

int main(int argc, char **argv)
{
	check_init(argc, argv);
	int listener = socket(AF_INET, SOCK_STREAM, IPPROTO_MPTCP);
	if (listener == -1)
		SKIP("no MPTCP here: %s", strerror(errno));
	socket_set(listener, SOL_SOCKET, SO_REUSEADDR, 1);
	union address name = { .any.sa_family = AF_INET };
	OK(bind(listener, &name.any, sizeof name.v4));
	OK(listen(listener, 9));
	name = socket_name(listener);
	int client = socket_connect(AF_INET, false, listener), server = accept(listener, NULL, NULL);
	OK(server);
	socket_put(client, "waits");
	check_wait();
	DAMAGE(socket_get(server, "wait"); socket_put(client, "xxxx"));
	socket_same(socket_name(listener), name);
	EQUAL(socket_option(listener, SOL_SOCKET, SO_PROTOCOL), IPPROTO_MPTCP);
	socket_get(server, "waits");
	client = socket_connect(AF_INET, false, listener), server = accept(listener, NULL, NULL);
	OK(server);
	socket_put(server, "new");
	socket_get(client, "new");
	PASS();
}
