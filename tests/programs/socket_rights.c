/* Descriptors in flight arrive, with the bytes that they were sent with: one that is still open, one that is open
 * nowhere else, both ends of a pipe, a socket that has descriptors in flight itself, and sockets in a circle. */
#include "unix.h"

static char bytes[64];

static void pair(int ends[2], int type)
{
	OK(socketpair(AF_UNIX, type | SOCK_NONBLOCK, 0, ends));
}

int main(int argc, char **argv)
{
	check_init(argc, argv);
	int stream[2], packet[2], inner[2], circle[2], ends[2], file = check_open("file", O_RDWR);
	pair(stream, SOCK_STREAM);
	pair(packet, SOCK_SEQPACKET);
	pair(inner, SOCK_DGRAM);
	pair(circle, SOCK_STREAM);
	OK(pipe(ends));
	EQUAL(write(file, "content", 7), 7);
	EQUAL(write(ends[1], "in it", 5), 5);
	/* A reader of the stream may get "first" alone, and then "second" with the file. */
	EQUAL(write(stream[0], "first", 5), 5);
	EQUAL(post(stream[0], "second", &file, 1, NULL), 6);
	EQUAL(write(stream[0], "third", 5), 5);
	EQUAL(post(stream[0], "fourth", (int[]){ file, stream[1] }, 2, NULL), 6);
	/* The pipe and the inner pair are open nowhere else. */
	EQUAL(post(inner[0], "pipe", ends, 2, NULL), 4);
	EQUAL(post(packet[0], "inner", &inner[1], 1, NULL), 5);
	close(ends[0]);
	close(ends[1]);
	close(inner[1]);
	for (int i = 0; i < 2; i++)
		EQUAL(post(circle[i], "turn", &circle[i], 1, NULL), 4);
	close(circle[1]);
	check_wait();
	DAMAGE(read(stream[1], bytes, 5));
	EQUAL(read(stream[1], bytes, 5), 5);
	CHECK(memcmp(bytes, "first", 5) == 0, "got %.5s", bytes);
	struct message second = take(stream[1]);
	EQUAL(second.length, 6);
	EQUAL(second.count, 1);
	EQUAL(pread(second.descriptors[0], bytes, 7, 0), 7);
	CHECK(memcmp(bytes, "content", 7) == 0, "another file came");
	/* It is the same open file: they have one offset. */
	EQUAL(lseek(second.descriptors[0], 3, SEEK_SET), 3);
	EQUAL(lseek(file, 0, SEEK_CUR), 3);
	EQUAL(read(stream[1], bytes, 5), 5);
	struct message fourth = take(stream[1]);
	EQUAL(fourth.length, 6);
	EQUAL(fourth.count, 2);
	exchange(fourth.descriptors[1], stream[0]);
	struct message carried = take(packet[1]);
	EQUAL(carried.count, 1);
	struct message piped = take(carried.descriptors[0]);
	EQUAL(piped.count, 2);
	EQUAL(read(piped.descriptors[0], bytes, sizeof bytes), 5);
	EQUAL(write(piped.descriptors[1], "more", 4), 4);
	EQUAL(read(piped.descriptors[0], bytes, sizeof bytes), 4);
	exchange(inner[0], carried.descriptors[0]);
	struct message turn = take(circle[0]);
	EQUAL(turn.count, 1);
	struct message back = take(turn.descriptors[0]);
	EQUAL(back.count, 1);
	exchange(back.descriptors[0], turn.descriptors[0]);
	int option = 1;
	socklen_t length = sizeof option;
	OK(getsockopt(stream[1], SOL_SOCKET, SO_PASSCRED, &option, &length));
	EQUAL(option, 0);
	OK(getsockopt(stream[1], SOL_SOCKET, SO_PEEK_OFF, &option, &length));
	EQUAL(option, -1);
	PASS();
}
