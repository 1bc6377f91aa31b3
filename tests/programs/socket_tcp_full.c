/* A TCP connection whose buffers are full in both directions: the window is closed, and most bytes still lie with their
 * senders. */
#include "socket.h"

static uint64_t fill(int fd, uint64_t seed)
{
	uint64_t words[512], sent = 0;
	for (;;) {
		for (size_t i = 0; i < LENGTH(words); i++)
			words[i] = (sent / 8 + i) * 0x9e3779b97f4a7c15u ^ seed;
		ssize_t bytes = send(fd, words, sizeof words, MSG_DONTWAIT);
		if (bytes == -1 && errno == EAGAIN)
			return sent;
		/* A piece of a block: the rest of its last word is lost with it, so it is sent by itself. */
		OK(bytes);
		sent += (uint64_t)bytes;
		if (bytes % 8)
			return sent;
	}
}

static void drain(int fd, uint64_t total, uint64_t seed)
{
	uint64_t got = 0;
	unsigned char bytes[65536];
	while (got < total) {
		size_t want = total - got < sizeof bytes ? (size_t)(total - got) : sizeof bytes;
		ssize_t count = recv(fd, bytes, want, 0);
		CHECK(count > 0, "after %llu of %llu bytes", (unsigned long long)got, (unsigned long long)total);
		for (ssize_t i = 0; i < count; i++, got++) {
			uint64_t word = (got / 8) * 0x9e3779b97f4a7c15u ^ seed;
			CHECK(bytes[i] == ((unsigned char *)&word)[got % 8], "byte %llu", (unsigned long long)got);
		}
	}
}

static void check(int client, int server, uint64_t there, uint64_t back)
{
	drain(server, there, 1);
	drain(client, back, 2);
	socket_put(client, "more");
	socket_get(server, "more");
}

int main(int argc, char **argv)
{
	check_init(argc, argv);
	int listener = socket_listen(AF_INET, 1), ends[2][2];
	uint64_t counts[2][2];
	for (int small = 0; small < 2; small++) {
		ends[small][0] = socket_connect(AF_INET, false, listener);
		ends[small][1] = accept(listener, NULL, NULL);
		OK(ends[small][1]);
		if (small) {
			socket_set(ends[small][1], SOL_SOCKET, SO_RCVBUF, 4096);
			socket_set(ends[small][0], SOL_SOCKET, SO_RCVBUF, 4096);
			socket_set(ends[small][0], SOL_SOCKET, SO_SNDBUF, 20000);
			socket_set(ends[small][1], SOL_SOCKET, SO_SNDBUF, 20000);
		}
		counts[small][0] = fill(ends[small][0], 1);
		counts[small][1] = fill(ends[small][1], 2);
		check_sleep(0.2);
	}
	int sizes[2] = { socket_option(ends[0][1], SOL_SOCKET, SO_RCVBUF), socket_option(ends[1][1], SOL_SOCKET, SO_RCVBUF) };
	int locks[2] = { socket_option(ends[0][1], SOL_SOCKET, SO_BUF_LOCK), socket_option(ends[1][1], SOL_SOCKET, SO_BUF_LOCK) };
	int mark = socket_option(ends[0][1], SOL_SOCKET, SO_RCVLOWAT);
	check_wait();
	DAMAGE(char byte; OK(read(ends[0][1], &byte, 1)); counts[0][0]--);
	EQUAL(socket_option(ends[1][1], SOL_SOCKET, SO_RCVBUF), sizes[1]);
	CHECK(socket_option(ends[0][1], SOL_SOCKET, SO_RCVBUF) >= sizes[0] / 2, "the receive buffer");
	EQUAL(socket_option(ends[0][1], SOL_SOCKET, SO_BUF_LOCK), locks[0]);
	EQUAL(socket_option(ends[1][1], SOL_SOCKET, SO_BUF_LOCK), locks[1]);
	EQUAL(socket_option(ends[0][1], SOL_SOCKET, SO_RCVLOWAT), mark);
	for (int small = 0; small < 2; small++)
		check(ends[small][0], ends[small][1], counts[small][0], counts[small][1]);
	PASS();
}
