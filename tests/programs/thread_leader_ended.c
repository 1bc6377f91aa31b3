/* The main thread has ended, another runs on: the process, its number, descriptors and memory stay. */
#include "check.h"
#include <sys/wait.h>

static int pipe_ends[2];
static pid_t main_tid;

static char state_of(pid_t tid)
{
	char path[64], text[512] = { 0 };
	snprintf(path, sizeof path, "/proc/self/task/%d/stat", tid);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || read(fd, text, sizeof text - 1) <= 0)
		return '?';
	close(fd);
	return strrchr(text, ')')[2];
}

static void *run(void *unused)
{
	(void)unused;
	while (state_of(main_tid) != 'Z')
		check_sleep(0.001);
	check_wait();
	DAMAGE(main_tid++);
	EQUAL(getpid(), main_tid);
	while (state_of(main_tid) != 'Z') {
		CHECK(state_of(main_tid) != '?', "no main thread");
		check_sleep(0.001);
	}
	char text[6] = { 0 };
	EQUAL(read(pipe_ends[0], text, 5), 5);
	CHECK(strcmp(text, "hello") == 0, "%s is in the pipe", text);
	pid_t child = fork();
	OK(child);
	if (child == 0)
		_exit(getppid() == main_tid ? 7 : 1);
	int status;
	EQUAL(waitpid(child, &status, 0), child);
	EQUAL(WEXITSTATUS(status), 7);
	PASS();
}

int main(int argc, char **argv)
{
	check_init(argc, argv);
	main_tid = getpid();
	OK(pipe(pipe_ends));
	EQUAL(write(pipe_ends[1], "hello", 5), 5);
	pthread_t thread;
	CHECK(pthread_create(&thread, NULL, run, NULL) == 0, "no thread");
	pthread_exit(NULL);
}
