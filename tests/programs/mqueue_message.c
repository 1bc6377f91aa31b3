/* A POSIX message queue with a message cannot be checkpointed: the message stays. */
#include "check.h"
#include <mqueue.h>

int main(int argc, char **argv)
{
	check_init(argc, argv);
	char name[64], bytes[64] = "";
	snprintf(name, sizeof name, "/rethaw-%d", getpid());
	struct mq_attr attributes = { .mq_maxmsg = 4, .mq_msgsize = sizeof bytes };
	mqd_t queue = mq_open(name, O_CREAT | O_EXCL | O_RDWR | O_NONBLOCK, 0600, &attributes);
	if (queue < 0)
		SKIP("mq_open: %s", strerror(errno));
	OK(mq_unlink(name));
	OK(mq_send(queue, "hello", 5, 3));
	check_wait();
	DAMAGE(mq_receive(queue, bytes, sizeof bytes, NULL));
	EQUAL(mq_receive(queue, bytes, sizeof bytes, NULL), 5);
	EQUAL(memcmp(bytes, "hello", 5), 0);
	PASS();
}
