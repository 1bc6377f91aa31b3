/* POSIX message queues: with a name and without, messages with their priorities and order, limits, modes, non-blocking and
 * one-way descriptors, a full queue, one that another process waits for. */
#include "check.h"
#include <mqueue.h>
#include <sys/epoll.h>
#include <sys/wait.h>

enum { LENGTH_MAX = 100 };

static mqd_t make(const char *name, long most, int flags)
{
	struct mq_attr attributes = { .mq_maxmsg = most, .mq_msgsize = LENGTH_MAX };
	mqd_t queue = mq_open(name, O_CREAT | O_EXCL | O_RDWR | flags, 0640, &attributes);
	if (queue < 0)
		SKIP("mq_open: %s", strerror(errno));
	return queue;
}

static void expect(mqd_t queue, const char *text, unsigned priority)
{
	char bytes[LENGTH_MAX] = "";
	unsigned found;
	EQUAL(mq_receive(queue, bytes, sizeof bytes, &found), (ssize_t)strlen(text));
	CHECK(!strncmp(bytes, text, strlen(text)), "%s instead of %s", bytes, text);
	EQUAL(found, priority);
}

int main(int argc, char **argv)
{
	check_init(argc, argv);
	char name[64], other[64];
	snprintf(name, sizeof name, "/rethaw-%d", getpid());
	snprintf(other, sizeof other, "/rethaw-%d-other", getpid());
	mqd_t queue = make(name, 5, O_NONBLOCK), copy = dup(queue), writer = mq_open(name, O_WRONLY);
	OK(copy);
	OK(writer);
	OK(fchmod(queue, 0604));
	mqd_t removed = make(other, 4, 0);
	OK(mq_unlink(other));
	mqd_t again = make(other, 3, 0);
	OK(mq_unlink(other));
	mqd_t empty = make(other, 2, 0);
	OK(mq_unlink(other));
	static const struct {
		const char *text;
		unsigned priority;
	} sent[] = { { "one", 3 }, { "two", 0 }, { "three", 32767 }, { "four", 3 }, { "", 0 } };
	for (size_t i = 0; i < LENGTH(sent); i++)
		OK(mq_send(writer, sent[i].text, strlen(sent[i].text), sent[i].priority));
	EQUAL(mq_send(queue, "x", 1, 1), -1);
	EQUAL(errno, EAGAIN);
	OK(mq_send(removed, "hidden", 6, 1));
	OK(mq_send(again, "other", 5, 2));
	int epoll = epoll_create1(0);
	OK(epoll);
	OK(epoll_ctl(epoll, EPOLL_CTL_ADD, removed, &(struct epoll_event){ .events = EPOLLIN }));
	pid_t child = fork();
	OK(child);
	if (child == 0) {
		expect(empty, "wake up", 9);
		_exit(0);
	}
	check_wait();
	DAMAGE(mq_send(removed, "more", 4, 1));
	struct mq_attr attributes;
	OK(mq_getattr(copy, &attributes));
	EQUAL(attributes.mq_flags, O_NONBLOCK);
	EQUAL(attributes.mq_maxmsg, 5);
	EQUAL(attributes.mq_msgsize, LENGTH_MAX);
	EQUAL(attributes.mq_curmsgs, 5);
	OK(mq_getattr(removed, &attributes));
	EQUAL(attributes.mq_curmsgs, 1);
	EQUAL(attributes.mq_flags, 0);
	struct stat stat;
	OK(fstat(queue, &stat));
	EQUAL(stat.st_mode & 0777, 0604);
	char byte[LENGTH_MAX];
	EQUAL(mq_receive(writer, byte, sizeof byte, NULL), -1);
	EQUAL(errno, EBADF);
	expect(copy, "three", 32767);
	expect(copy, "one", 3);
	mqd_t opened = mq_open(name, O_RDONLY);
	OK(opened);
	expect(opened, "four", 3);
	expect(opened, "two", 0);
	expect(opened, "", 0);
	EQUAL(mq_receive(queue, byte, sizeof byte, NULL), -1);
	EQUAL(errno, EAGAIN);
	struct epoll_event event;
	EQUAL(epoll_wait(epoll, &event, 1, 0), 1);
	expect(removed, "hidden", 1);
	expect(again, "other", 2);
	OK(mq_send(empty, "wake up", 7, 9));
	int status;
	EQUAL(waitpid(child, &status, 0), child);
	EQUAL(status, 0);
	OK(mq_unlink(name));
	PASS();
}
