/* TCP connections on their way to the end: shut down in one direction or both, closed with bytes that are not read yet,
 * reset, over. */
#include "socket.h"

static int listener;

static void make(int ends[2])
{
	ends[0] = socket_connect(AF_INET, false, listener);
	ends[1] = accept(listener, NULL, NULL);
	OK(ends[1]);
}

static void at_end(int fd)
{
	char byte;
	EQUAL(recv(fd, &byte, 1, 0), 0);
}

static void cannot_send(int fd, int error)
{
	EQUAL(send(fd, "x", 1, MSG_NOSIGNAL), -1);
	EQUAL(errno, error);
}

int main(int argc, char **argv)
{
	check_init(argc, argv);
	listener = socket_listen(AF_INET, 5);
	int half[2], closed[2], large[2], both[2], reset[2], deaf[2];
	make(half);
	socket_put(half[0], "last words");
	OK(shutdown(half[0], SHUT_WR));
	make(closed);
	socket_put(closed[1], "an answer");
	OK(close(closed[1]));
	make(large);
	static char many[1000000];
	memset(many, 'm', sizeof many);
	int sent = (int)send(large[1], many, sizeof many, MSG_DONTWAIT);
	CHECK(sent > 200000, "%d bytes sent", sent);
	OK(close(large[1]));
	make(both);
	socket_put(both[0], "there");
	socket_put(both[1], "back");
	OK(shutdown(both[0], SHUT_WR));
	OK(shutdown(both[1], SHUT_WR));
	union address name = socket_name(both[0]), peer = socket_peer(both[0]);
	make(reset);
	socket_put(reset[0], "not read");
	OK(close(reset[1]));
	make(deaf);
	OK(shutdown(deaf[1], SHUT_RD));
	check_sleep(0.05);
	check_wait();
	DAMAGE(socket_get(half[1], "last"));
	socket_get(half[1], "last words");
	at_end(half[1]);
	socket_put(half[1], "heard");
	socket_get(half[0], "heard");
	cannot_send(half[0], EPIPE);
	socket_get(closed[0], "an answer");
	at_end(closed[0]);
	for (int got = 0; got < sent;) {
		ssize_t count = recv(large[0], many, sizeof many, 0);
		CHECK(count > 0, "after %d bytes", got);
		for (ssize_t i = 0; i < count; i++)
			EQUAL(many[i], 'm');
		got += (int)count;
	}
	at_end(large[0]);
	socket_same(socket_name(both[0]), name);
	socket_same(socket_peer(both[0]), peer);
	socket_get(both[1], "there");
	at_end(both[1]);
	socket_get(both[0], "back");
	at_end(both[0]);
	cannot_send(both[0], EPIPE);
	cannot_send(both[1], EPIPE);
	struct pollfd look = { .fd = reset[0], .events = POLLIN };
	OK(poll(&look, 1, 0));
	CHECK(look.revents & POLLERR, "%#x", look.revents);
	char byte;
	EQUAL(recv(reset[0], &byte, 1, 0), -1);
	EQUAL(errno, ECONNRESET);
	at_end(deaf[1]);
	socket_put(deaf[1], "still speaks");
	socket_get(deaf[0], "still speaks");
	PASS();
}
