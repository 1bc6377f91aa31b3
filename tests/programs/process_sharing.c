/* A child and a grandchild that share the descriptor table and the current folder with the parent (clone), and a thread
 * that has a current folder and a umask of its own (unshare). */
#include "check.h"
#include <sys/wait.h>

static int *steps; /* shared memory: who is to do what */
static _Atomic pid_t apart;
static _Atomic int thread_goes;

static pid_t clone_like_fork(int shared)
{
	pid_t pid = (pid_t)syscall(SYS_clone, shared | SIGCHLD, 0, 0, 0, 0);
	OK(pid);
	return pid;
}

static void wait_for_step(int step)
{
	while (*(volatile int *)steps < step)
		check_sleep(0.002);
}

static bool in_folder(const char *name)
{
	char path[PATH_MAX];
	CHECK(getcwd(path, sizeof path), "getcwd");
	return strcmp(path, name) == 0;
}

static int grandchild(void)
{
	steps[1]++;
	wait_for_step(2);
	/* What the parent has opened, and where its child has gone. */
	if (fcntl(90, F_GETFD) == -1 || !in_folder("/usr"))
		return 1;
	return close(90);
}

static int child(void)
{
	pid_t pid = clone_like_fork(CLONE_FILES | CLONE_FS);
	if (pid == 0)
		_exit(grandchild());
	steps[1]++;
	wait_for_step(1);
	if (fcntl(90, F_GETFD) == -1 || chdir("/usr") == -1 || umask(025) != 033)
		return 1;
	*(volatile int *)steps = 2;
	int status;
	return waitpid(pid, &status, 0) == pid ? status : 2;
}

static void *thread(void *unused)
{
	(void)unused;
	OK(unshare(CLONE_FS));
	OK(chdir("/etc"));
	umask(077);
	apart = gettid();
	while (!thread_goes)
		check_sleep(0.002);
	CHECK(in_folder("/etc"), "the thread is not in /etc");
	EQUAL(umask(0), 077);
	return NULL;
}

int main(int argc, char **argv)
{
	check_init(argc, argv);
	char start[PATH_MAX];
	CHECK(getcwd(start, sizeof start), "getcwd");
	steps = check_map(4096, PROT_READ | PROT_WRITE, MAP_SHARED);
	pthread_t other;
	check_create(&other, thread, NULL);
	while (!apart)
		check_sleep(0.001);
	pid_t pid = clone_like_fork(CLONE_FILES | CLONE_FS);
	if (pid == 0)
		_exit(child());
	while (((volatile int *)steps)[1] < 2)
		check_sleep(0.001);
	umask(033);
	check_wait();
	CHECK(in_folder(start), "the folder is another one");
	int fd = open("/dev/null", O_RDONLY);
	EQUAL(dup2(fd, 90), 90);
	DAMAGE(close(90));
	*(volatile int *)steps = 1;
	int status;
	EQUAL(waitpid(pid, &status, 0), pid);
	EQUAL(status, 0);
	EQUAL(fcntl(90, F_GETFD), -1);
	CHECK(in_folder("/usr"), "the child's chdir has no effect");
	EQUAL(umask(0), 025);
	thread_goes = 1;
	pthread_join(other, NULL);
	PASS();
}
