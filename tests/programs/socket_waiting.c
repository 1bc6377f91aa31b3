/* Connections that were not accepted yet are accepted in their order, and both ends are whose they were. */
#include "unix.h"

static void is_bound(int fd, struct name *name, bool peer)
{
	struct name now = { .length = sizeof now.address };
	OK((peer ? getpeername : getsockname)(fd, (struct sockaddr *)&now.address, &now.length));
	CHECK(now.length >= name->length && memcmp(&now.address, &name->address, name->length) == 0, "another name");
}

static void check(int server, struct name *name, int clients[3], struct name *second)
{
	for (int i = 0; i < 3; i++) {
		int accepted = accept(server, NULL, NULL);
		OK(accepted);
		is_bound(accepted, name, false);
		is_bound(clients[i], name, true);
		if (i == 1)
			is_bound(accepted, second, true);
		if (i == 2) {
			char byte;
			EQUAL(read(accepted, &byte, 1), 0);
			EQUAL(write(accepted, "x", 1), 1);
			EQUAL(read(clients[i], &byte, 1), 1);
		} else {
			exchange(clients[i], accepted);
		}
	}
	EQUAL(accept(server, NULL, NULL), -1);
	EQUAL(errno, EAGAIN);
}

int main(int argc, char **argv)
{
	check_init(argc, argv);
	struct name names[] = { name_of("socket_waiting.relative"), abstract("packets"), at_path("deleted") };
	struct name seconds[] = { abstract("second-0"), at_path("second-1"), abstract("second-2") };
	int types[] = { SOCK_STREAM, SOCK_SEQPACKET, SOCK_STREAM }, servers[3], clients[3][3];
	unlink(names[0].address.sun_path);
	for (int i = 0; i < 3; i++) {
		servers[i] = listener(&names[i], types[i]);
		clients[i][0] = connected(&names[i], types[i]);
		clients[i][1] = bound(&seconds[i], types[i]);
		join(clients[i][1], &names[i]);
		clients[i][2] = connected(&names[i], types[i]);
		OK(shutdown(clients[i][2], SHUT_WR));
	}
	unlink(names[2].address.sun_path);
	check_wait();
	DAMAGE(close(servers[1]));
	for (int i = 0; i < 3; i++)
		check(servers[i], &names[i], clients[i], &seconds[i]);
	unlink(names[0].address.sun_path);
	PASS();
}
