/* Resource limits, lowered soft ones and lowered hard ones, are as before. */
#include "check.h"
#include <sys/resource.h>

int main(int argc, char **argv)
{
	check_init(argc, argv);
	struct rlimit before[RLIM_NLIMITS], now;
	OK(getrlimit(RLIMIT_NOFILE, &now));
	now.rlim_cur = 100;
	now.rlim_max = 200;
	OK(setrlimit(RLIMIT_NOFILE, &now));
	OK(setrlimit(RLIMIT_CORE, &(struct rlimit){ 0, 0 }));
	OK(setrlimit(RLIMIT_CPU, &(struct rlimit){ 5000, 6000 }));
	OK(getrlimit(RLIMIT_STACK, &now));
	now.rlim_cur = 4 << 20;
	OK(setrlimit(RLIMIT_STACK, &now));
	int high = fcntl(0, F_DUPFD, 99);
	EQUAL(high, 99);
	for (int i = 0; i < RLIM_NLIMITS; i++)
		OK(getrlimit((__rlimit_resource_t)i, &before[i]));
	check_wait();
	DAMAGE(setrlimit(RLIMIT_CPU, &(struct rlimit){ 5000, 5500 }));
	for (int i = 0; i < RLIM_NLIMITS; i++) {
		OK(getrlimit((__rlimit_resource_t)i, &now));
		CHECK(now.rlim_cur == before[i].rlim_cur && now.rlim_max == before[i].rlim_max,
		      "limit %d is %lu/%lu, was %lu/%lu", i, now.rlim_cur, now.rlim_max, before[i].rlim_cur,
		      before[i].rlim_max);
	}
	OK(fcntl(high, F_GETFD));
	EQUAL(fcntl(0, F_DUPFD, 100), -1);
	PASS();
}
