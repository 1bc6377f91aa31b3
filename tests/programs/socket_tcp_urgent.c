/* An urgent byte of TCP that is not read yet, among others and inline. */
#include "socket.h"

int main(int argc, char **argv)
{
	check_init(argc, argv);
	int listener = socket_listen(AF_INET, 3), ends[3][2];
	for (int i = 0; i < 3; i++) {
		ends[i][0] = socket_connect(AF_INET, false, listener);
		ends[i][1] = accept(listener, NULL, NULL);
		OK(ends[i][1]);
	}
	socket_put(ends[0][0], "before");
	EQUAL(send(ends[0][0], "!", 1, MSG_OOB), 1);
	socket_put(ends[0][0], "after");
	EQUAL(send(ends[1][0], "?", 1, MSG_OOB), 1);
	socket_set(ends[2][1], SOL_SOCKET, SO_OOBINLINE, 1);
	socket_put(ends[2][0], "in");
	EQUAL(send(ends[2][0], "l", 1, MSG_OOB), 1);
	socket_put(ends[2][0], "ine");
	check_sleep(0.05);
	check_wait();
	char byte = 0;
	DAMAGE(EQUAL(recv(ends[0][1], &byte, 1, MSG_OOB), 1));
	EQUAL(recv(ends[0][1], &byte, 1, MSG_OOB), 1);
	EQUAL(byte, '!');
	char text[64] = { 0 };
	EQUAL(recv(ends[0][1], text, sizeof text, 0), 6);
	CHECK(strcmp(text, "before") == 0, "%s", text);
	socket_get(ends[0][1], "after");
	EQUAL(recv(ends[1][1], &byte, 1, MSG_OOB), 1);
	EQUAL(byte, '?');
	EQUAL(recv(ends[2][1], text, sizeof text, 0), 2);
	int at_mark = 0;
	OK(ioctl(ends[2][1], SIOCATMARK, &at_mark));
	EQUAL(at_mark, 1);
	socket_get(ends[2][1], "line");
	PASS();
}
