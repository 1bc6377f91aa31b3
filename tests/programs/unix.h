/* Unix sockets for the test programs: names, messages with descriptors and credentials. */
#ifndef UNIX_H
#define UNIX_H
#include "check.h"
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/ioctl.h>
#include <sys/wait.h>

struct name {
	struct sockaddr_un address;
	socklen_t length;
};

static UNUSED struct name name_of(const char *path)
{
	struct name name = { .address = { .sun_family = AF_UNIX } };
	if (strlen(path) >= sizeof name.address.sun_path)
		SKIP("the path of the folder is too long for a socket");
	strcpy(name.address.sun_path, path);
	name.length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(path) + 1);
	return name;
}

/* Where the program was told to put its files, relative or not. */
static UNUSED struct name at_path(const char *suffix)
{
	char path[PATH_MAX];
	check_path(path, suffix);
	unlink(path);
	return name_of(path);
}

static UNUSED struct name abstract(const char *suffix)
{
	struct name name = { .address = { .sun_family = AF_UNIX } };
	int length = snprintf(name.address.sun_path + 1, 100, "check-%d-%s", getpid(), suffix);
	name.length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)length);
	return name;
}

static UNUSED int fresh(int type)
{
	int fd = socket(AF_UNIX, type | SOCK_NONBLOCK, 0);
	OK(fd);
	return fd;
}

static UNUSED int bound(struct name *name, int type)
{
	int fd = fresh(type);
	OK(bind(fd, (struct sockaddr *)&name->address, name->length));
	return fd;
}

static UNUSED int listener(struct name *name, int type)
{
	int fd = bound(name, type);
	OK(listen(fd, 5));
	return fd;
}

static UNUSED void join(int fd, struct name *name)
{
	OK(connect(fd, (struct sockaddr *)&name->address, name->length));
}

static UNUSED int connected(struct name *name, int type)
{
	int fd = fresh(type);
	join(fd, name);
	return fd;
}

static UNUSED void exchange(int a, int b)
{
	char bytes[16];
	EQUAL(write(a, "there", 5), 5);
	EQUAL(read(b, bytes, sizeof bytes), 5);
	EQUAL(write(b, "and back", 8), 8);
	EQUAL(read(a, bytes, sizeof bytes), 8);
}

/* A message with what came along. */
struct message {
	char bytes[64];
	ssize_t length;
	int descriptors[8];
	int count;
	struct ucred credentials;
	bool has_credentials;
	struct name from;
};

static UNUSED ssize_t post(int fd, const char *bytes, const int *descriptors, int count, const struct ucred *credentials)
{
	char control[256] = { 0 };
	struct iovec data = { (char *)bytes, strlen(bytes) };
	struct msghdr header = { .msg_iov = &data, .msg_iovlen = 1, .msg_control = control };
	struct cmsghdr *next = (struct cmsghdr *)control;
	if (count) {
		next->cmsg_level = SOL_SOCKET;
		next->cmsg_type = SCM_RIGHTS;
		next->cmsg_len = CMSG_LEN((size_t)count * sizeof(int));
		memcpy(CMSG_DATA(next), descriptors, (size_t)count * sizeof(int));
		header.msg_controllen += CMSG_SPACE((size_t)count * sizeof(int));
		next = (struct cmsghdr *)(control + header.msg_controllen);
	}
	if (credentials) {
		next->cmsg_level = SOL_SOCKET;
		next->cmsg_type = SCM_CREDENTIALS;
		next->cmsg_len = CMSG_LEN(sizeof *credentials);
		memcpy(CMSG_DATA(next), credentials, sizeof *credentials);
		header.msg_controllen += CMSG_SPACE(sizeof *credentials);
	}
	if (!header.msg_controllen)
		header.msg_control = NULL;
	return sendmsg(fd, &header, 0);
}

static UNUSED struct message take(int fd)
{
	struct message got = { .from.length = sizeof got.from.address };
	char control[256];
	struct iovec data = { got.bytes, sizeof got.bytes };
	struct msghdr header = { &got.from.address, got.from.length, &data, 1, control, sizeof control, 0 };
	got.length = recvmsg(fd, &header, MSG_DONTWAIT);
	OK(got.length);
	CHECK(!(header.msg_flags & MSG_CTRUNC), "control messages were cut");
	got.from.length = header.msg_namelen;
	for (struct cmsghdr *next = CMSG_FIRSTHDR(&header); next; next = CMSG_NXTHDR(&header, next)) {
		if (next->cmsg_type == SCM_RIGHTS) {
			got.count = (int)((next->cmsg_len - CMSG_LEN(0)) / sizeof(int));
			memcpy(got.descriptors, CMSG_DATA(next), (size_t)got.count * sizeof(int));
		} else if (next->cmsg_type == SCM_CREDENTIALS) {
			memcpy(&got.credentials, CMSG_DATA(next), sizeof got.credentials);
			got.has_credentials = true;
		}
	}
	return got;
}

static UNUSED void is_from(struct message *message, struct name *name)
{
	size_t length = name->length - (name->address.sun_path[0] ? 1 : 0);
	CHECK(message->from.length >= length && memcmp(&message->from.address, &name->address, length) == 0,
	      "a message is from another sender, %s", message->from.address.sun_path);
}
#endif
