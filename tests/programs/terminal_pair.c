/* A pseudo-terminal keeps its number, modes, size, and what waits in it: lines, half a line, an end of file, output. */
#include "check.h"
#include <poll.h>
#include <sys/ioctl.h>
#include <termios.h>

struct pair {
	int master, slave, number;
	char name[64];
};

static struct pair open_pair(void)
{
	struct pair pair;
	OK(pair.master = open("/dev/ptmx", O_RDWR | O_NOCTTY));
	OK(grantpt(pair.master));
	OK(unlockpt(pair.master));
	OK(ioctl(pair.master, TIOCGPTN, &pair.number));
	OK(ptsname_r(pair.master, pair.name, sizeof pair.name));
	OK(pair.slave = open(pair.name, O_RDWR | O_NOCTTY));
	return pair;
}

static void set_local(int fd, tcflag_t clear, tcflag_t set)
{
	struct termios modes;
	OK(tcgetattr(fd, &modes));
	modes.c_lflag = (modes.c_lflag & ~clear) | set;
	OK(tcsetattr(fd, TCSANOW, &modes));
}

static void says(int fd, const char *text)
{
	char back[8192];
	struct pollfd ready = { fd, POLLIN, 0 };
	size_t got = 0;
	while (got < strlen(text)) {
		EQUAL(poll(&ready, 1, 5000), 1);
		ssize_t more = read(fd, back + got, sizeof back - got);
		OK(more);
		got += (size_t)more;
	}
	EQUAL(got, strlen(text));
	CHECK(memcmp(back, text, strlen(text)) == 0, "%.*s, not %s", (int)strlen(text), back, text);
}

static void silent(int fd)
{
	struct pollfd ready = { fd, POLLIN, 0 };
	EQUAL(poll(&ready, 1, 20), 0);
}

static void put(int fd, const char *text)
{
	EQUAL(write(fd, text, strlen(text)), (long)strlen(text));
}

int main(int argc, char **argv)
{
	check_init(argc, argv);
	struct pair unused = open_pair(), lines = open_pair(), raw = open_pair(), stopped = open_pair(), odd = open_pair();
	close(unused.master);
	close(unused.slave);
	/* Typed ahead, with an echo that nobody has read, half a line, and half of it erased. */
	put(lines.master, "first\nsecond\n\004end\004hald\177");
	check_sleep(0.1);
	put(lines.slave, "output\n");
	/* No lines: bytes. */
	set_local(raw.slave, ICANON | ECHO | ISIG, 0);
	put(raw.master, "\003bytes\004\n");
	struct winsize size = { 33, 77, 5, 6 }, now;
	OK(ioctl(raw.master, TIOCSWINSZ, &size));
	/* Output that was stopped by Ctrl-S. */
	set_local(stopped.slave, ECHO, 0);
	put(stopped.slave, "before\n");
	put(stopped.master, "\023");
	struct pollfd writable = { stopped.slave, POLLOUT, 0 };
	for (int tries = 0; poll(&writable, 1, 0) == 1 && tries < 1000; tries++)
		check_sleep(0.005);
	EQUAL(poll(&writable, 1, 0), 0);
	int on = 1, reader, packet;
	OK(reader = open(odd.name, O_RDONLY | O_NONBLOCK | O_NOCTTY));
	OK(ioctl(odd.master, TIOCPKT, &on));
	OK(ioctl(odd.slave, TIOCEXCL));
	OK(ioctl(odd.master, TIOCSPTLCK, &on));
	put(odd.slave, "packet\n");
	OK(fchmod(odd.slave, 0600));
	/* Its description has the flag, too, whatever its descriptors have. */
	int closed, kept;
	OK(closed = ioctl(lines.master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC));
	OK(kept = dup(closed));
	check_wait();
	DAMAGE(tcflush(lines.slave, TCIFLUSH));
	says(lines.master, "first\r\nsecond\r\nendhald\b \boutput\r\n");
	says(lines.slave, "first\n");
	says(lines.slave, "second\n");
	EQUAL(read(lines.slave, &now, 1), 0);
	says(lines.slave, "end");
	silent(lines.slave);
	EQUAL(fcntl(closed, F_GETFD), FD_CLOEXEC);
	for (int fd = lines.master; fd <= kept; fd++)
		if (fd != closed && fcntl(fd, F_GETFL) != -1)
			EQUAL(fcntl(fd, F_GETFD), 0);
	put(lines.master, "f\n");
	says(lines.slave, "half\n");
	struct stat file, open_file;
	char name[64];
	OK(ptsname_r(lines.master, name, sizeof name));
	CHECK(strcmp(name, lines.name) == 0, "%s was %s", name, lines.name);
	OK(ttyname_r(lines.slave, name, sizeof name));
	CHECK(strcmp(name, lines.name) == 0, "%s was %s", name, lines.name);
	OK(stat(lines.name, &file));
	OK(fstat(lines.slave, &open_file));
	EQUAL(file.st_ino, open_file.st_ino);
	says(raw.slave, "\003bytes\004\n");
	OK(ioctl(raw.slave, TIOCGWINSZ, &now));
	CHECK(memcmp(&now, &size, sizeof size) == 0, "size %d × %d", now.ws_row, now.ws_col);
	says(stopped.master, "before\r\n");
	EQUAL(poll(&writable, 1, 0), 0);
	put(stopped.master, "\021");
	EQUAL(poll(&writable, 1, 5000), 1);
	put(stopped.slave, "after\n");
	says(stopped.master, "after\r\n");
	OK(ioctl(odd.master, TIOCGPKT, &packet));
	EQUAL(packet, 1);
	OK(ioctl(odd.master, TIOCGPTLCK, &packet));
	EQUAL(packet, 1);
	OK(ioctl(odd.slave, TIOCGEXCL, &packet));
	EQUAL(packet, 1);
	char back[64];
	EQUAL(read(odd.master, back, sizeof back), 9);
	CHECK(memcmp(back, "\0packet\r\n", 9) == 0, "packet");
	EQUAL(fcntl(reader, F_GETFL) & (O_ACCMODE | O_NONBLOCK), O_RDONLY | O_NONBLOCK);
	OK(fstat(odd.slave, &open_file));
	EQUAL(open_file.st_mode & 0777, 0600);
	struct pair other = open_pair();
	put(other.slave, "new\n");
	says(other.master, "new\r\n");
	PASS();
}
