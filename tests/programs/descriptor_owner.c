/* Who gets the signal of a descriptor, which one, and when: F_SETOWN, F_SETOWN_EX, F_SETSIG, O_ASYNC. */
#include "check.h"
#include <sys/socket.h>

static volatile sig_atomic_t got[65], from_descriptor;

static void on_signal(int signal, siginfo_t *info, void *context)
{
	(void)context;
	got[signal]++;
	from_descriptor = info->si_fd;
}

static void owned_by(int fd, int type, pid_t pid)
{
	struct f_owner_ex owner;
	OK(fcntl(fd, F_GETOWN_EX, &owner));
	EQUAL(owner.type, type);
	EQUAL(owner.pid, pid);
}

int main(int argc, char **argv)
{
	check_init(argc, argv);
	int pipes[2], sockets[2], group[2];
	struct sigaction action = { .sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_RESTART };
	sigaction(SIGIO, &action, NULL);
	sigaction(SIGRTMIN, &action, NULL);
	OK(pipe(pipes));
	OK(pipe(group));
	OK(socketpair(AF_UNIX, SOCK_STREAM, 0, sockets));
	/* What waits already is told once, and not again at a restart. */
	OK(fcntl(pipes[0], F_SETOWN, getpid()));
	OK(fcntl(pipes[0], F_SETSIG, SIGRTMIN));
	OK(fcntl(pipes[0], F_SETFL, O_ASYNC | O_NONBLOCK));
	EQUAL(write(pipes[1], "x", 1), 1);
	struct f_owner_ex thread = { F_OWNER_TID, gettid() };
	OK(fcntl(sockets[0], F_SETOWN_EX, &thread));
	OK(fcntl(sockets[0], F_SETFL, O_ASYNC));
	OK(setpgid(0, 0));
	struct f_owner_ex process_group = { F_OWNER_PGRP, getpgrp() };
	OK(fcntl(group[0], F_SETOWN_EX, &process_group));
	EQUAL(got[SIGRTMIN], 1);
	check_wait();
	EQUAL(got[SIGRTMIN], 1);
	EQUAL(got[SIGIO], 0);
	DAMAGE(fcntl(pipes[0], F_SETSIG, 0));
	EQUAL(fcntl(pipes[0], F_GETFL) & (O_ASYNC | O_NONBLOCK), O_ASYNC | O_NONBLOCK);
	owned_by(pipes[0], F_OWNER_PID, getpid());
	owned_by(sockets[0], F_OWNER_TID, gettid());
	owned_by(group[0], F_OWNER_PGRP, getpgrp());
	EQUAL(write(pipes[1], "y", 1), 1);
	EQUAL(got[SIGRTMIN], 2);
	EQUAL(from_descriptor, pipes[0]);
	EQUAL(write(sockets[1], "y", 1), 1);
	EQUAL(got[SIGIO], 1);
	EQUAL(write(group[1], "y", 1), 1);
	EQUAL(got[SIGIO], 1);
	PASS();
}
