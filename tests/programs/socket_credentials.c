/* Who made the other end, who listens, and who sent a message that waits: also when that process has ended. */
#include "unix.h"

static const int one = 1;

static pid_t peer(int fd)
{
	struct ucred by;
	socklen_t length = sizeof by;
	OK(getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &by, &length));
	if (by.pid)
		EQUAL(by.uid, geteuid());
	return by.pid;
}

/* The number of a sender that has ended is not known outside of its pid namespace. */
static void is_by(int fd, pid_t pid, int bytes)
{
	struct message message = take(fd);
	if (pid && message.credentials.pid == 0 && kill(pid, 0) == -1)
		message.credentials.pid = pid;
	EQUAL(message.length, bytes);
	EQUAL(message.has_credentials, true);
	EQUAL(message.credentials.pid, pid);
	EQUAL(message.credentials.uid, pid ? geteuid() : 65534);
}

int main(int argc, char **argv)
{
	check_init(argc, argv);
	struct name name = abstract("listens");
	int pair[2], box[2], stop[2], server = listener(&name, SOCK_STREAM);
	OK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair));
	OK(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0, box));
	OK(pipe(stop));
	/* Nobody is noted yet. */
	EQUAL(write(box[0], "nobody", 6), 6);
	OK(setsockopt(box[1], SOL_SOCKET, SO_PASSCRED, &one, sizeof one));
	OK(setsockopt(pair[1], SOL_SOCKET, SO_PASSCRED, &one, sizeof one));
	EQUAL(write(pair[0], "parent", 6), 6);
	pid_t child = fork();
	OK(child);
	if (child == 0) {
		char byte;
		int connection = connected(&name, SOCK_STREAM);
		EQUAL(write(pair[0], "child", 5), 5);
		EQUAL(write(box[0], "child", 5), 5);
		close(stop[1]);
		(void)!read(stop[0], &byte, 1);
		EQUAL(peer(connection), getppid());
		_exit(0);
	}
	struct timespec tick = { 0, 1000000 };
	int accepted;
	while ((accepted = accept(server, NULL, NULL)) < 0)
		nanosleep(&tick, NULL);
	int waiting = 0;
	while (waiting < 11)
		OK(ioctl(pair[1], FIONREAD, &waiting));
	pid_t gone = fork();
	OK(gone);
	if (gone == 0) {
		EQUAL(write(pair[0], "ended", 5), 5);
		EQUAL(write(box[0], "ended", 5), 5);
		_exit(0);
	}
	EQUAL(waitpid(gone, NULL, 0), gone);
	struct ucred own = { getpid(), geteuid(), getegid() };
	EQUAL(post(box[0], "explicit", NULL, 0, &own), 8);
	check_wait();
	DAMAGE(take(pair[1]));
	EQUAL(peer(pair[0]), getpid());
	EQUAL(peer(server), getpid());
	EQUAL(peer(accepted), child);
	EQUAL(peer(fresh(SOCK_STREAM)), 0);
	is_by(pair[1], getpid(), 6);
	is_by(pair[1], child, 5);
	is_by(pair[1], gone, 5);
	is_by(box[1], 0, 6);
	is_by(box[1], child, 5);
	is_by(box[1], gone, 5);
	is_by(box[1], getpid(), 8);
	int status;
	close(stop[1]);
	EQUAL(waitpid(child, &status, 0), child);
	EQUAL(status, 0);
	PASS();
}
