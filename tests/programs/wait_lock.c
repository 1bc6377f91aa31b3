/* Threads blocked in flock and in an open-file-description lock get the lock when it is released. */
#include "check.h"
#include <sys/file.h>

static char path[PATH_MAX];
static _Atomic pid_t tids[2];
static _Atomic int done;

static int open_again(void)
{
	int fd = open(path, O_RDWR);
	CHECK(fd >= 0, "open %s", path);
	return fd;
}

static void *by_flock(void *tid)
{
	int fd = open_again();
	*(_Atomic pid_t *)tid = gettid();
	EQUAL(flock(fd, LOCK_EX), 0);
	done++;
	return NULL;
}

static void *by_fcntl(void *tid)
{
	int fd = open_again();
	*(_Atomic pid_t *)tid = gettid();
	EQUAL(fcntl(fd, F_OFD_SETLKW, &(struct flock){ .l_type = F_WRLCK, .l_len = 10 }), 0);
	done++;
	return NULL;
}

int main(int argc, char **argv)
{
	check_init(argc, argv);
	int fd = check_open("file", O_RDWR);
	check_path(path, "file");
	OK(flock(fd, LOCK_EX));
	OK(fcntl(fd, F_OFD_SETLK, &(struct flock){ .l_type = F_WRLCK, .l_len = 10 }));
	pthread_t threads[2];
	check_create_asleep(&threads[0], by_flock, &tids[0]);
	check_create_asleep(&threads[1], by_fcntl, &tids[1]);
	check_wait();
	DAMAGE(flock(fd, LOCK_UN); check_sleep(0.1));
	EQUAL(done, 0);
	for (size_t i = 0; i < LENGTH(threads); i++)
		check_asleep(tids[i]);
	OK(flock(fd, LOCK_UN));
	OK(fcntl(fd, F_OFD_SETLK, &(struct flock){ .l_type = F_UNLCK, .l_len = 10 }));
	for (size_t i = 0; i < LENGTH(threads); i++)
		pthread_join(threads[i], NULL);
	EQUAL(done, 2);
	PASS();
}
