/* oom_score_adj is as before. */
#include "check.h"

static long read_score(void)
{
	char line[32];
	check_read_line("/proc/self/oom_score_adj", line, sizeof line);
	return atol(line);
}

int main(int argc, char **argv)
{
	check_init(argc, argv);
	int fd = open("/proc/self/oom_score_adj", O_WRONLY);
	OK(fd);
	EQUAL(write(fd, "345", 3), 3);
	close(fd);
	check_wait();
	DAMAGE(fd = open("/proc/self/oom_score_adj", O_WRONLY); EQUAL(write(fd, "400", 3), 3));
	EQUAL(read_score(), 345);
	PASS();
}
