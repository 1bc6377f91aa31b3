/* A TCP connection cannot be checkpointed: the program runs on with it. */
#include "check.h"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

int main(int argc, char **argv)
{
	check_init(argc, argv);
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t length = sizeof address;
	int listener = socket(AF_INET, SOCK_STREAM, 0), client = socket(AF_INET, SOCK_STREAM, 0);
	OK(bind(listener, (struct sockaddr *)&address, length));
	OK(listen(listener, 1));
	OK(getsockname(listener, (struct sockaddr *)&address, &length));
	OK(connect(client, (struct sockaddr *)&address, length));
	int server = accept(listener, NULL, NULL);
	OK(server);
	check_wait();
	char bytes[8];
	EQUAL(write(client, "on", 2), 2);
	EQUAL(read(server, bytes, sizeof bytes), 2);
	PASS();
}
