/* The capability bounding set is as it was, also in a thread and for a restart in namespaces. */
#include "check.h"
#include <sys/prctl.h>

static uint64_t bounding(void)
{
	uint64_t set = 0;
	for (int capability = 0; capability < 64; capability++)
		if (prctl(PR_CAPBSET_READ, capability) == 1)
			set |= 1ull << capability;
	return set;
}

static volatile int go;
static uint64_t before;

static void *thread(void *unused)
{
	(void)unused;
	while (!go)
		check_sleep(0.002);
	EQUAL(bounding(), before);
	return NULL;
}

int main(int argc, char **argv)
{
	check_init(argc, argv);
	before = bounding();
	pthread_t other;
	check_create(&other, thread, NULL);
	check_wait();
	DAMAGE(before ^= 1);
	EQUAL(bounding(), before);
	go = 1;
	pthread_join(other, NULL);
	PASS();
}
