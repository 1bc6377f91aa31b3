/* Datagram sockets that many write to: what waits in them is from whom it was, whether that is still there or not.
 * Names that are relative, deleted or replaced; connections in one direction, in circles, and to oneself. */
#include "unix.h"

static void is(int fd, const char *text, struct name *from)
{
	struct message message = take(fd);
	EQUAL(message.length, strlen(text));
	CHECK(memcmp(message.bytes, text, strlen(text)) == 0, "got %.*s, not %s", (int)message.length, message.bytes, text);
	if (from)
		is_from(&message, from);
	else
		EQUAL(message.from.length, 0);
}

static void post_to(int fd, const char *text, struct name *to)
{
	EQUAL(sendto(fd, text, strlen(text), 0, (struct sockaddr *)&to->address, to->length), strlen(text));
}

int main(int argc, char **argv)
{
	check_init(argc, argv);
	struct name box = at_path("box"), lost = at_path("lost"), relative = name_of("socket_mailbox.relative");
	struct name hidden = abstract("hidden"), ended = abstract("ended"), writer = at_path("writer");
	unlink(relative.address.sun_path);
	int mail = bound(&box, SOCK_DGRAM), hole = bound(&lost, SOCK_DGRAM), near = bound(&relative, SOCK_DGRAM);
	int secret = bound(&hidden, SOCK_DGRAM), author = bound(&writer, SOCK_DGRAM), late = bound(&ended, SOCK_DGRAM);
	int anybody = fresh(SOCK_DGRAM), to_hole = connected(&lost, SOCK_DGRAM), to_secret = connected(&hidden, SOCK_DGRAM);
	post_to(author, "from a file", &box);
	post_to(late, "from one that has ended", &box);
	post_to(anybody, "from nobody", &box);
	post_to(secret, "from a name", &box);
	post_to(author, "", &box);
	post_to(author, "near", &relative);
	EQUAL(write(to_hole, "deep", 4), 4);
	close(late);
	/* The file of the hole is gone, and another socket has its name: nobody finds the hole but who was connected. */
	unlink(lost.address.sun_path);
	int other_hole = bound(&lost, SOCK_DGRAM);
	/* A writer that is gone. */
	unlink(writer.address.sun_path);
	/* In a circle, and with oneself. */
	join(secret, &box);
	struct name alone = abstract("alone");
	int self = bound(&alone, SOCK_DGRAM);
	join(self, &alone);
	EQUAL(write(self, "echo", 4), 4);
	/* Two that only listen to each other, with names. */
	struct name left = abstract("left"), right = at_path("right");
	int pair[2] = { bound(&left, SOCK_DGRAM), bound(&right, SOCK_DGRAM) };
	post_to(anybody, "before", &left);
	join(pair[0], &right);
	join(pair[1], &left);
	EQUAL(write(pair[1], "after", 5), 5);
	EQUAL(sendto(anybody, "refused", 7, 0, (struct sockaddr *)&left.address, left.length), -1);
	/* One whose other end is closed, with a last letter. */
	int widow[2];
	OK(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0, widow));
	EQUAL(write(widow[0], "last", 4), 4);
	close(widow[0]);
	check_wait();
	DAMAGE(take(mail));
	is(mail, "from a file", &writer);
	is(mail, "from one that has ended", &ended);
	is(mail, "from nobody", NULL);
	is(mail, "from a name", &hidden);
	is(mail, "", &writer);
	is(near, "near", &writer);
	is(hole, "deep", NULL);
	is(self, "echo", &alone);
	is(pair[0], "before", NULL);
	is(pair[0], "after", &right);
	is(widow[1], "last", NULL);
	EQUAL(write(widow[1], "no", 2), -1);
	EQUAL(errno, ECONNREFUSED);
	EQUAL(access(writer.address.sun_path, F_OK), -1);
	EQUAL(access(relative.address.sun_path, F_OK), 0);
	post_to(anybody, "near again", &relative);
	is(near, "near again", NULL);
	EQUAL(write(to_hole, "deeper", 6), 6);
	is(hole, "deeper", NULL);
	post_to(anybody, "other", &lost);
	is(other_hole, "other", NULL);
	EQUAL(write(to_secret, "no", 2), -1);
	EQUAL(errno, EPERM);
	EQUAL(write(secret, "round", 5), 5);
	is(mail, "round", &hidden);
	EQUAL(write(pair[0], "and back", 8), 8);
	is(pair[1], "and back", &left);
	EQUAL(sendto(anybody, "refused", 7, 0, (struct sockaddr *)&left.address, left.length), -1);
	unlink(relative.address.sun_path);
	unlink(lost.address.sun_path);
	PASS();
}
