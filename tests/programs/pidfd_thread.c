/* A pidfd of a single thread that is not the main one (PIDFD_THREAD) cannot be checkpointed: descriptors are made before
 * threads are. */
#include "check.h"

static _Atomic pid_t tid;

static void *sleeper(void *argument)
{
	*(_Atomic pid_t *)argument = gettid();
	pause();
	return NULL;
}

int main(int argc, char **argv)
{
	check_init(argc, argv);
	pthread_t thread;
	check_create(&thread, sleeper, (void *)&tid);
	while (!tid)
		check_sleep(0.001);
	int fd = (int)syscall(SYS_pidfd_open, tid, O_EXCL /* PIDFD_THREAD */);
	if (fd < 0)
		SKIP("pidfd_open: %s", strerror(errno));
	check_wait();
	DAMAGE(close(fd));
	EQUAL(syscall(SYS_pidfd_send_signal, fd, 0, NULL, 1 << 0 /* PIDFD_SIGNAL_THREAD */), 0);
	PASS();
}
