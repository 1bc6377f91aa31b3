/* What was sent before the connection is accepted cannot be looked at: it arrives all the same. */
#include "unix.h"

int main(int argc, char **argv)
{
	check_init(argc, argv);
	struct name name = abstract("listens");
	int server = listener(&name, SOCK_STREAM), client = connected(&name, SOCK_STREAM);
	EQUAL(write(client, "early", 5), 5);
	check_wait();
	char bytes[16];
	int accepted = accept(server, NULL, NULL);
	OK(accepted);
	EQUAL(read(accepted, bytes, sizeof bytes), 5);
	exchange(client, accepted);
	PASS();
}
