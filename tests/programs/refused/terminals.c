/* Pseudo-terminals that cannot be checkpointed. */
#include "refused.h"
#include <termios.h>

static int master;
static char slave_path[64];

static void open_master(void)
{
	OK(master = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC));
	OK(unlockpt(master));
	OK(ptsname_r(master, slave_path, sizeof slave_path));
}

static int open_slave(int flags)
{
	int fd = open(slave_path, flags | O_NOCTTY | O_CLOEXEC);
	OK(fd);
	return fd;
}

static void check_through(int slave)
{
	char bytes[8];
	EQUAL(write(master, "text\n", 5), 5);
	EQUAL(read(slave, bytes, sizeof bytes), 5);
}

/* In a child: a session with the terminal as its own, and /dev/tty open. */
static int lead_session(void)
{
	OK(setsid());
	int fd = open(slave_path, O_RDWR);
	OK(fd);
	OK(ioctl(fd, TIOCSCTTY, 0));
	int tty = open("/dev/tty", O_RDWR | O_CLOEXEC);
	OK(tty);
	OK(close(fd));
	return tty;
}

static void lead(void *unused)
{
	(void)unused;
	signal(SIGHUP, SIG_IGN);
	lead_session();
}

static void hung_up(const char *unused)
{
	(void)unused;
	open_master();
	pid_t child = child_that(lead, NULL);
	/* The child has it, too. */
	struct timespec moment = { 0, 50000000 };
	OK(close(master));
	nanosleep(&moment, NULL);
	check_wait();
	end_child(child);
}

static void close_master(void *unused)
{
	(void)unused;
	OK(close(master));
	lead(NULL);
}

/* The child has no master, so that it hangs up with ours. */
static void hung_up_as_tty(const char *unused)
{
	(void)unused;
	open_master();
	pid_t child = child_that(close_master, NULL);
	OK(close(master));
	check_wait();
	end_child(child);
}

static void leave(void *unused)
{
	(void)unused;
	int tty = lead_session();
	/* The session has no terminal any more, but the descriptor is of it. */
	signal(SIGHUP, SIG_IGN);
	OK(ioctl(tty, TIOCNOTTY));
}

static void not_own_any_more(const char *unused)
{
	(void)unused;
	open_master();
	pid_t child = child_that(leave, NULL);
	check_wait();
	end_child(child);
}

static void discipline(const char *unused)
{
	(void)unused;
	open_master();
	int slave = open_slave(O_RDWR), null = 27 /* N_NULL */, usual = 0;
	if (ioctl(slave, TIOCSETD, &null) == -1)
		SKIP("TIOCSETD: %s", strerror(errno));
	check_wait();
	OK(ioctl(slave, TIOCSETD, &usual));
	check_through(slave);
}

static void exclusive(const char *unused)
{
	(void)unused;
	open_master();
	int slave = open_slave(O_RDONLY);
	OK(ioctl(slave, TIOCEXCL));
	check_wait();
	check_through(slave);
}

static void control_byte(const char *unused)
{
	(void)unused;
	open_master();
	int slave = open_slave(O_RDWR), yes = 1;
	char byte;
	OK(ioctl(master, TIOCPKT, &yes));
	OK(tcflush(slave, TCIFLUSH));
	check_wait();
	EQUAL(read(master, &byte, 1), 1);
	EQUAL(byte, TIOCPKT_FLUSHREAD);
	check_through(slave);
}

/* The test starts a session on it. */
static void session_outside(const char *unused)
{
	(void)unused;
	open_master();
	int slave = open_slave(O_RDWR);
	check_publish("terminal", slave_path);
	check_wait();
	check_through(slave);
}

int main(int argc, char **argv)
{
	static const struct kind kinds[] = {
		{ "hung-up", hung_up },
		{ "hung-up-as-tty", hung_up_as_tty },
		{ "not-own-any-more", not_own_any_more },
		{ "discipline", discipline },
		{ "exclusive", exclusive },
		{ "control-byte", control_byte },
		{ "session-outside", session_outside },
	};
	return refused_main(argc, argv, kinds, LENGTH(kinds));
}
