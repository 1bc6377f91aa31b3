/* Memory from MAP_HUGETLB comes back as huge pages, private and shared. */
#include "check.h"

enum { HUGE = 2 << 20 };

int main(int argc, char **argv)
{
	check_init(argc, argv);
	char *private = mmap(NULL, 2 * HUGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1, 0);
	char *shared = mmap(NULL, HUGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_HUGETLB, -1, 0);
	if (private == MAP_FAILED || shared == MAP_FAILED)
		SKIP("no huge pages are reserved on this machine (vm.nr_hugepages)");
	check_fill(private, HUGE, 1);
	check_fill(shared, HUGE, 2);
	char head[256], flags[256];
	check_wait();
	DAMAGE(private[5] ^= 1);
	check_filled(private, HUGE, 1);
	check_filled(shared, HUGE, 2);
	check_zero(private + HUGE, HUGE);
	check_mapping(private, head, flags, sizeof flags);
	CHECK(strstr(flags, " ht"), "the flags are %s", flags);
	check_mapping(shared, head, flags, sizeof flags);
	CHECK(strstr(flags, " ht") && strncmp(head, "rw-s", 4) == 0, "the mapping is %s, flags %s", head, flags);
	PASS();
}
