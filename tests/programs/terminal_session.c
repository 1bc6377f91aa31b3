/* A session keeps its controlling terminal, foreground group, and /dev/tty; a hung-up terminal stays hung up. */
#include "check.h"
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <termios.h>

static int master, report[2];

static void tell(const char *what)
{
	dprintf(report[1], "%s\n", what);
	_exit(1);
}
#define SURE(condition)                                                                                    \
	do {                                                                                           \
		if (!(condition))                                                                      \
			tell(#condition);                                                              \
	} while (0)

static void on_hang_up(int signal)
{
	(void)signal;
	tell("hung up");
}

static volatile sig_atomic_t interrupted;

static void on_interrupt(int signal)
{
	(void)signal;
	interrupted = 1;
}

/* A job of the shell: in the foreground, or not. */
static pid_t start_job(void)
{
	signal(SIGINT, on_interrupt);
	pid_t job = fork();
	if (job == 0) {
		setpgid(0, 0);
		while (!interrupted)
			check_sleep(0.01);
		_exit(77);
	}
	setpgid(job, job);
	return job;
}

/* Leads the session of the terminal, as a shell with two jobs. */
static void shell(const char *name)
{
	int status;
	SURE(setsid() == getpid());
	signal(SIGHUP, on_hang_up);
	signal(SIGTTOU, SIG_IGN);
	int slave = open(name, O_RDWR);
	SURE(slave >= 0 && ioctl(slave, TIOCSCTTY, 0) == 0);
	int tty = open("/dev/tty", O_RDWR);
	SURE(tty >= 0);
	pid_t front = start_job(), back = start_job();
	SURE(tcsetpgrp(tty, front) == 0);
	SURE(write(report[1], "ready\n", 6) == 6);
	while (!check_go())
		check_sleep(0.01);
	SURE(tcgetpgrp(slave) == front && tcgetsid(tty) == getpid());
	SURE(write(tty, "shell\n", 6) == 6);
	SURE(waitpid(front, &status, 0) == front && WEXITSTATUS(status) == 77);
	SURE(waitpid(back, &status, WNOHANG) == 0);
	SURE(kill(back, SIGINT) == 0 && waitpid(back, &status, 0) == back);
	SURE(write(report[1], "done\n", 5) == 5);
	_exit(0);
}

static void reported(const char *text)
{
	char line[256];
	ssize_t got = read(report[0], line, sizeof line - 1);
	CHECK(got > 0, "no report");
	line[got] = 0;
	CHECK(strcmp(line, text) == 0, "reported %s", line);
}

int main(int argc, char **argv)
{
	check_init(argc, argv);
	char name[64], line[64];
	OK(pipe(report));
	OK(master = open("/dev/ptmx", O_RDWR | O_NOCTTY));
	OK(unlockpt(master));
	OK(ptsname_r(master, name, sizeof name));
	pid_t leader = fork();
	if (leader == 0)
		shell(name);
	reported("ready\n");
	/* Two descriptors of a terminal whose master is closed. */
	int other, hung_up, twice;
	OK(other = open("/dev/ptmx", O_RDWR | O_NOCTTY));
	OK(unlockpt(other));
	OK(ptsname_r(other, line, sizeof line));
	OK(hung_up = open(line, O_RDWR | O_NOCTTY));
	OK(twice = open(line, O_RDONLY | O_NOCTTY));
	close(other);
	check_wait();
	DAMAGE(close(hung_up));
	memset(line, 0, sizeof line);
	CHECK(read(master, line, sizeof line) == 7 && strcmp(line, "shell\r\n") == 0, "%s", line);
	pid_t session;
	OK(ioctl(master, TIOCGSID, &session));
	EQUAL(session, leader);
	EQUAL(write(master, "\003", 1), 1);
	reported("done\n");
	EQUAL(waitpid(leader, NULL, 0), leader);
	EQUAL(read(hung_up, line, 1), 0);
	EQUAL(write(hung_up, line, 1), -1);
	EQUAL(errno, EIO);
	EQUAL(read(twice, line, 1), 0);
	PASS();
}
