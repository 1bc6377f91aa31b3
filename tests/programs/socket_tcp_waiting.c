/* TCP connections that are not accepted yet, of clients that wait and of one that has gone, and a connect(2) that has not
 * come to an end. */
#include "socket.h"

int main(int argc, char **argv)
{
	check_init(argc, argv);
	int listener = socket_listen(AF_INET, 8), full = socket_listen(AF_INET, 0);
	int first = socket_connect(AF_INET, false, listener);
	check_sleep(0.02);
	int second = socket_connect(AF_INET, false, listener);
	check_sleep(0.02);
	OK(close(socket_connect(AF_INET, false, listener)));
	/* The queue takes one more than its backlog says; the next one has to wait. */
	int fills = socket_connect(AF_INET, false, full);
	int waits = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
	OK(waits);
	union address address = socket_loopback(AF_INET, false);
	address.v4.sin_port = socket_name(full).v4.sin_port;
	EQUAL(connect(waits, &address.any, sizeof address.v4), -1);
	EQUAL(errno, EINPROGRESS);
	union address names[3] = { socket_name(first), socket_name(second), socket_name(waits) };
	check_wait();
	DAMAGE(OK(close(accept(listener, NULL, NULL))));
	for (int i = 0; i < 3; i++) {
		union address from = { 0 };
		socklen_t length = sizeof from;
		int accepted = accept(listener, &from.any, &length);
		OK(accepted);
		if (i == 2) {
			char byte;
			EQUAL(read(accepted, &byte, 1), 0);
			break;
		}
		int client = from.v4.sin_port == names[0].v4.sin_port ? first : second;
		socket_same(from, names[client == second]);
		socket_put(client, "here");
		socket_get(accepted, "here");
		socket_put(accepted, "and here");
		socket_get(client, "and here");
	}
	int accepted = accept(full, NULL, NULL);
	OK(accepted);
	socket_put(fills, "first");
	socket_get(accepted, "first");
	struct pollfd look = { .fd = waits, .events = POLLOUT };
	EQUAL(poll(&look, 1, 20000), 1);
	EQUAL(socket_option(waits, SOL_SOCKET, SO_ERROR), 0);
	socket_same(socket_name(waits), names[2]);
	accepted = accept(full, NULL, NULL);
	OK(accepted);
	socket_put(waits, "second");
	socket_get(accepted, "second");
	PASS();
}
