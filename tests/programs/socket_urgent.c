/* The urgent byte of a stream stays where it is, out of line or in line, also when it is the next one. */
#include "unix.h"
#include <linux/sockios.h>

static char bytes[16];

static void sent(int pair[2], const char *before)
{
	OK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair));
	EQUAL(write(pair[0], before, strlen(before)), strlen(before));
	if (send(pair[0], "!", 1, MSG_OOB) < 0)
		SKIP("this kernel has no urgent bytes in Unix sockets");
	EQUAL(write(pair[0], "after", 5), 5);
}

int main(int argc, char **argv)
{
	check_init(argc, argv);
	int middle[2], first[2], line[2], one = 1, mark;
	sent(middle, "before");
	sent(first, "");
	sent(line, "before");
	OK(setsockopt(line[1], SOL_SOCKET, SO_OOBINLINE, &one, sizeof one));
	check_wait();
	DAMAGE(recv(middle[1], bytes, 1, MSG_OOB));
	EQUAL(read(middle[1], bytes, sizeof bytes), 6);
	OK(ioctl(middle[1], SIOCATMARK, &mark));
	EQUAL(mark, 1);
	EQUAL(recv(middle[1], bytes, 1, MSG_OOB), 1);
	EQUAL(bytes[0], '!');
	EQUAL(read(middle[1], bytes, sizeof bytes), 5);
	OK(ioctl(first[1], SIOCATMARK, &mark));
	EQUAL(mark, 1);
	EQUAL(recv(first[1], bytes, 1, MSG_OOB), 1);
	EQUAL(bytes[0], '!');
	EQUAL(read(first[1], bytes, sizeof bytes), 5);
	EQUAL(read(line[1], bytes, sizeof bytes), 6);
	OK(ioctl(line[1], SIOCATMARK, &mark));
	EQUAL(mark, 1);
	EQUAL(read(line[1], bytes, sizeof bytes), 6);
	EQUAL(bytes[0], '!');
	PASS();
}
