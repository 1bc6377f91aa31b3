/* A descriptor in flight cannot be checkpointed: it arrives all the same, and the options are as they were. */
#include "check.h"
#include <sys/socket.h>

union control {
	struct cmsghdr header;
	char bytes[CMSG_SPACE(sizeof(int))];
};

static struct msghdr message(struct iovec *data, union control *control)
{
	return (struct msghdr){
		.msg_iov = data, .msg_iovlen = 1, .msg_control = control->bytes, .msg_controllen = sizeof control->bytes
	};
}

int main(int argc, char **argv)
{
	check_init(argc, argv);
	int ends[2], file = check_open("file", O_RDWR), arrived, option = 1;
	OK(socketpair(AF_UNIX, SOCK_STREAM, 0, ends));
	EQUAL(write(file, "content", 7), 7);
	EQUAL(write(ends[0], "first", 5), 5);
	char bytes[16] = "second";
	struct iovec data = { bytes, 6 };
	union control control = { .header = { CMSG_LEN(sizeof file), SOL_SOCKET, SCM_RIGHTS } };
	struct msghdr sent = message(&data, &control), received = message(&data, &control);
	memcpy(CMSG_DATA(&control.header), &file, sizeof file);
	EQUAL(sendmsg(ends[0], &sent, 0), 6);
	close(file);
	check_wait();
	socklen_t length = sizeof option;
	OK(getsockopt(ends[1], SOL_SOCKET, SO_PASSCRED, &option, &length));
	EQUAL(option, 0);
	OK(getsockopt(ends[1], SOL_SOCKET, SO_PEEK_OFF, &option, &length));
	EQUAL(option, -1);
	EQUAL(read(ends[1], bytes, 5), 5);
	EQUAL(recvmsg(ends[1], &received, 0), 6);
	CHECK(received.msg_controllen >= CMSG_LEN(sizeof arrived), "no descriptor came");
	memcpy(&arrived, CMSG_DATA(&control.header), sizeof arrived);
	EQUAL(pread(arrived, bytes, 7, 0), 7);
	CHECK(memcmp(bytes, "content", 7) == 0, "another file came");
	PASS();
}
