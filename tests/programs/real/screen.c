/* Fills the screen of the terminal that it is started on: its modes and its place in the foreground come back on
 * another one, and it is told to draw again. */
#include "../check.h"
#include <sys/ioctl.h>
#include <termios.h>

static volatile sig_atomic_t drawn;

static void draw(int signal)
{
	(void)signal;
	drawn++;
}

int main(int argc, char **argv)
{
	check_init(argc, argv);
	struct termios before, raw, now;
	signal(SIGWINCH, draw);
	signal(SIGTTOU, SIG_IGN);
	OK(tcgetattr(0, &before));
	raw = before;
	raw.c_lflag &= ~(tcflag_t)(ICANON | ECHO | ISIG);
	raw.c_cc[VMIN] = 3;
	OK(tcsetattr(0, TCSANOW, &raw));
	OK(setpgid(0, 0));
	OK(tcsetpgrp(0, getpid()));
	int tty = open("/dev/tty", O_RDWR);
	OK(tty);
	drawn = 0;
	check_wait();
	for (int tries = 0; drawn < 2 && tries < 500; tries++)
		check_sleep(0.01);
	CHECK(drawn >= 2, "told %d times", drawn);
	OK(tcgetattr(0, &now));
	EQUAL(now.c_lflag, raw.c_lflag);
	EQUAL(now.c_iflag, raw.c_iflag);
	EQUAL(now.c_cc[VMIN], 3);
	EQUAL(tcgetpgrp(tty), getpid());
	struct winsize size;
	OK(ioctl(tty, TIOCGWINSZ, &size));
	printf("%d rows\r\n", size.ws_row);
	fflush(stdout);
	PASS();
}
