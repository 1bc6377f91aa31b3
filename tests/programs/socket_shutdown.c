/* Ends that are shut down or gone: what is left to read, the end of file, EPIPE, ECONNRESET, ECONNREFUSED. */
#include "check.h"
#include <poll.h>
#include <sys/socket.h>

static char bytes[100];

static void pair(int type, int *ends)
{
	OK(socketpair(AF_UNIX, type | SOCK_NONBLOCK, 0, ends));
}

static void fails(long result, int error)
{
	EQUAL(result, -1);
	EQUAL(errno, error);
}

static short polled(int fd)
{
	struct pollfd one = { .fd = fd, .events = POLLIN | POLLOUT | POLLRDHUP };
	OK(poll(&one, 1, 0));
	return one.revents;
}

enum { STREAM, PACKET, KINDS };
static const int types[KINDS] = { SOCK_STREAM, SOCK_SEQPACKET };

int main(int argc, char **argv)
{
	check_init(argc, argv);
	signal(SIGPIPE, SIG_IGN);
	int send[KINDS][2], receive[KINDS][2], both[KINDS][2], gone[KINDS][2], reset[KINDS][2];
	int lonely[2], refused[2], half[2];
	short before[KINDS][5];
	for (int i = 0; i < KINDS; i++) {
		pair(types[i], send[i]);
		EQUAL(write(send[i][0], "last", 4), 4);
		EQUAL(write(send[i][1], "back", 4), 4);
		OK(shutdown(send[i][0], SHUT_WR));
		pair(types[i], receive[i]);
		EQUAL(write(receive[i][1], "before", 6), 6);
		OK(shutdown(receive[i][0], SHUT_RD));
		pair(types[i], both[i]);
		EQUAL(write(both[i][1], "both", 4), 4);
		OK(shutdown(both[i][0], SHUT_RDWR));
		pair(types[i], gone[i]);
		EQUAL(write(gone[i][1], "testament", 9), 9);
		close(gone[i][1]);
		pair(types[i], reset[i]);
		EQUAL(write(reset[i][0], "unread", 6), 6);
		if (types[i] == SOCK_STREAM)
			EQUAL(write(reset[i][1], "left", 4), 4);
		close(reset[i][1]);
		int *all[5] = { send[i], receive[i], both[i], gone[i], reset[i] };
		for (int j = 0; j < 5; j++)
			before[i][j] = polled(all[j][0]);
	}
	pair(SOCK_DGRAM, lonely);
	EQUAL(write(lonely[1], "datagram", 8), 8);
	close(lonely[1]);
	pair(SOCK_DGRAM, refused);
	close(refused[1]);
	fails(write(refused[0], "x", 1), ECONNREFUSED);
	pair(SOCK_DGRAM, half);
	OK(shutdown(half[0], SHUT_WR));
	check_wait();
	DAMAGE(read(gone[PACKET][0], bytes, 1));
	for (int i = 0; i < KINDS; i++) {
		int *all[5] = { send[i], receive[i], both[i], gone[i], reset[i] };
		for (int j = 0; j < 5; j++)
			EQUAL(polled(all[j][0]), before[i][j]);
		EQUAL(read(send[i][1], bytes, sizeof bytes), 4);
		EQUAL(read(send[i][1], bytes, sizeof bytes), 0);
		fails(write(send[i][0], "x", 1), EPIPE);
		EQUAL(write(send[i][1], "more", 4), 4);
		EQUAL(read(send[i][0], bytes, 4), 4);
		CHECK(memcmp(bytes, "back", 4) == 0, "%.4s", bytes);
		EQUAL(read(send[i][0], bytes, 4), 4);
		EQUAL(read(receive[i][0], bytes, sizeof bytes), 6);
		EQUAL(read(receive[i][0], bytes, sizeof bytes), 0);
		fails(write(receive[i][1], "x", 1), EPIPE);
		EQUAL(write(receive[i][0], "x", 1), 1);
		EQUAL(read(both[i][0], bytes, sizeof bytes), 4);
		EQUAL(read(both[i][0], bytes, sizeof bytes), 0);
		EQUAL(read(both[i][1], bytes, sizeof bytes), 0);
		fails(write(both[i][0], "x", 1), EPIPE);
		EQUAL(read(gone[i][0], bytes, sizeof bytes), 9);
		CHECK(memcmp(bytes, "testament", 9) == 0, "%.9s", bytes);
		EQUAL(read(gone[i][0], bytes, sizeof bytes), 0);
		fails(write(gone[i][0], "x", 1), EPIPE);
		if (types[i] == SOCK_STREAM)
			EQUAL(read(reset[i][0], bytes, sizeof bytes), 4);
		fails(read(reset[i][0], bytes, 1), ECONNRESET);
		EQUAL(read(reset[i][0], bytes, 1), 0);
	}
	EQUAL(read(lonely[0], bytes, sizeof bytes), 8);
	fails(write(lonely[0], "x", 1), ECONNREFUSED);
	fails(write(lonely[0], "x", 1), ENOTCONN);
	fails(write(refused[0], "x", 1), ENOTCONN);
	fails(write(half[0], "x", 1), EPIPE);
	EQUAL(write(half[1], "x", 1), 1);
	EQUAL(read(half[0], bytes, 2), 1);
	PASS();
}
