/* A process that is to be notified of a message in a POSIX message queue: with which value is not shown, refused. */
#include "check.h"
#include <mqueue.h>

int main(int argc, char **argv)
{
	check_init(argc, argv);
	char name[64];
	snprintf(name, sizeof name, "/rethaw-%d", getpid());
	mqd_t queue = mq_open(name, O_CREAT | O_EXCL | O_RDWR, 0600, NULL);
	if (queue < 0)
		SKIP("mq_open: %s", strerror(errno));
	OK(mq_unlink(name));
	OK(mq_send(queue, "hello", 5, 3));
	struct sigevent event = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1, .sigev_value.sival_int = 5 };
	OK(mq_notify(queue, &event));
	check_wait();
	EQUAL(mq_notify(queue, &event), -1);
	EQUAL(errno, EBUSY);
	PASS();
}
