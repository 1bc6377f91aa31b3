/* signalfd: mask and flags stay, pending signals are read from it, new ones too. */
#include "check.h"
#include <sys/signalfd.h>

static void take(int fd, int signal, int value)
{
	struct signalfd_siginfo info = { 0 };
	EQUAL(read(fd, &info, sizeof info), (long)sizeof info);
	EQUAL(info.ssi_signo, signal);
	EQUAL(info.ssi_int, value);
}

int main(int argc, char **argv)
{
	check_init(argc, argv);
	sigset_t set, other;
	sigemptyset(&set);
	sigaddset(&set, SIGRTMIN + 2);
	sigaddset(&set, SIGUSR1);
	sigemptyset(&other);
	sigaddset(&other, SIGUSR2);
	sigprocmask(SIG_BLOCK, &set, NULL);
	sigprocmask(SIG_BLOCK, &other, NULL);
	int fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC), second = signalfd(-1, &other, SFD_NONBLOCK);
	OK(fd);
	OK(second);
	OK(sigqueue(getpid(), SIGRTMIN + 2, (union sigval){ .sival_int = 11 }));
	OK(sigqueue(getpid(), SIGRTMIN + 2, (union sigval){ .sival_int = 12 }));
	OK(sigqueue(getpid(), SIGUSR2, (union sigval){ .sival_int = 13 }));
	check_wait();
	DAMAGE(take(fd, SIGRTMIN + 2, 11));
	take(fd, SIGRTMIN + 2, 11);
	take(fd, SIGRTMIN + 2, 12);
	EQUAL(read(fd, &(struct signalfd_siginfo){ 0 }, sizeof(struct signalfd_siginfo)), -1);
	EQUAL(errno, EAGAIN);
	take(second, SIGUSR2, 13);
	OK(sigqueue(getpid(), SIGUSR1, (union sigval){ .sival_int = 14 }));
	take(fd, SIGUSR1, 14);
	EQUAL(fcntl(fd, F_GETFD), FD_CLOEXEC);
	PASS();
}
